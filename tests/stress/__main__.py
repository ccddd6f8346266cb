"""Stress: damaged files, kills, full disks and long runs; half an hour or more on 2 cores.

Example:
  python tests/stress --seed 7
  python tests/stress --only files --files 500
"""

import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parents[2])]
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [sys.path[1], os.environ.get("PYTHONPATH")]))

import click  # noqa: E402
import kills  # noqa: E402
import mutations  # noqa: E402
from report import table  # noqa: E402

BACKENDS = ("torch", "tensorflow", "jax")
PARTS = ("files", "kills", "disk", "soak")


@click.command(help=__doc__.replace("Example:", "\b\nExample:"))
@click.option("--seed", type=int, help="Chooses damage and moments; by default another each time.")
@click.option("--only", type=click.Choice(PARTS), multiple=True, help="Parts to run; default: all.")
@click.option("--files", default=5000, show_default=True, help="Damaged files.")
@click.option("--runs", default=6, show_default=True, help="Killed runs of each kind, on each backend.")
@click.option("--backend", "backends", type=click.Choice(BACKENDS), multiple=True, help="Of the kills; default: all.")
@click.option("--program", "programs", type=click.Choice([*kills.PROGRAMS]), multiple=True, help="What to kill.")
@click.option("--steps", default=1000, show_default=True, help="Steps of the long run.")
def main(seed, only, files, runs, backends, programs, steps):
    """Run the parts and print one table; exit code 1 if anything was wrong."""
    seed = int(time.time()) % 100_000 if seed is None else seed
    folder = Path(tempfile.mkdtemp(prefix="stress-"))
    print(f"seed {seed}, files kept in {folder}", flush=True)
    parts = {
        "files": lambda place: mutations.run(files, seed, place),
        "kills": lambda place: kills.kills(runs, seed, place, backends or BACKENDS, programs or [*kills.PROGRAMS]),
        "disk": lambda place: kills.full_disk(seed, place),
        "soak": lambda place: kills.soak(steps, place),
    }
    rows = []
    for name in only or PARTS:
        (folder / name).mkdir()
        begin = time.monotonic()
        rows += parts[name](folder / name)
        print(f"{name}: {time.monotonic() - begin:.0f} s\n{table(rows)}", flush=True)  # a later part may fail
    sys.exit(any(row.counts[name] for row in rows for name in ("wrong", "trace", "hang")))


if __name__ == "__main__":
    main()

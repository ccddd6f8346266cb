"""Seconds per training step and peak memory of the methods on all backends.

\b
Example:
  python benchmarks step --backend all --out step_time.json

Each method runs in its own process, which imports only its backend's framework. The processes of one backend take
turns, step by step, so that a machine that slows down slows all of them; ratios are medians over neighboring steps.
A step gets a random batch that is already in memory.

\b
forward    forward passes and losses, as a fraction of the step
backward   what the backward passes add
optimizer  what the update adds
data       what the input pipeline adds when it makes batches of the embedded sample scenes at the same time
peak       memory of the process, or of the tensors on a GPU, without an input pipeline
plain      the same network and the passes of a UniMatch step in plain PyTorch (benchmarks/plain_torch.py)

With --processes 2 it measures instead how two replicas scale: each has the images of one and half of the cores.
"""

import contextlib
import datetime
import importlib.metadata
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click

MEASURE = Path(__file__).with_name("step_measure.py")
BACKENDS = ("tensorflow", "torch", "jax")
METHODS = ("SupervisedOnly", "FixMatch", "UniMatch", "RankMatch")
PACKAGES = ("rankmatch-keras", "keras", "tensorflow", "tensorflow-cpu", "torch", "jax", "numpy")
WARM_UP = 2


class Words(click.ParamType):
    """Words separated by commas; "all" stands for all known words."""

    name = "a,b,..."

    def __init__(self, known=None):
        self.known = known

    def convert(self, value, param, ctx):
        """Split the words and check each."""
        words = tuple(value.split(",")) if isinstance(value, str) else value
        if self.known and words == ("all",):
            return self.known
        for word in words:
            if self.known and word not in self.known:
                self.fail(f"{word!r} is not one of all, {', '.join(self.known)}.", param, ctx)
        return words


@click.command(help=__doc__)
@click.option("--backend", default="all", type=Words(BACKENDS), show_default=True)
@click.option("--backbone", default="mobilenet_v2,resnet50", type=Words(), show_default=True)
@click.option("--crop", default="161,321", type=Words(), show_default=True, help="Side of the crop in pixels.")
@click.option("--methods", default="UniMatch,RankMatch", type=Words(METHODS), show_default=True)
@click.option("--precision", default="float32", type=Words(("float32", "tf32", "mixed_bfloat16")), show_default=True)
@click.option("--jit", default="auto", type=Words(("auto", "on", "off")), show_default=True)
@click.option(
    "--batch", default=2, show_default=True, type=click.IntRange(1), help="Labeled and unlabeled images, each."
)
@click.option("--steps", default=5, show_default=True, type=click.IntRange(2), help="Measured steps of each method.")
@click.option("--num-agents", default=128, show_default=True, type=click.IntRange(4))
@click.option("--box-source", default="in_batch", show_default=True, type=click.Choice(("in_batch", "second_view")))
@click.option("--shares/--no-shares", default=True, show_default=True, help="Whether to measure parts of a step too.")
@click.option("--plain/--no-plain", default=True, show_default=True, help="Whether to measure plain PyTorch too.")
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 2))
@click.option("--out", type=click.Path(path_type=Path), help="JSON file for every single measurement.")
def main(backend, backbone, crop, methods, precision, jit, out, processes, **options):
    """Measure and print the table."""
    about = describe()
    click.echo(
        f"{about['date']}, {about['machine']}, {about['versions']}, {options['batch']} + {options['batch']} images"
    )
    measure, show = (scale, scaling_row) if processes > 1 else (take_turns, step_row)
    results: list[dict] = []
    for size, network, kind, compiled, name in itertools.product(crop, backbone, precision, jit, backend):
        settings = {
            "backend": name,
            "backbone": network,
            "crop": int(size),
            "precision": kind,
            "jit": compiled,
            **options,
        }
        for result in measure({**settings, "replicas": 1, "cores": 0}, methods):
            if not results:
                click.echo(show(None))
            results.append(result)
            click.echo(show(result))
    if out:
        out.write_text(json.dumps({**about, "options": options, "results": results}, indent=1), encoding="utf-8")


def describe():
    """Return date, machine and versions."""
    versions = []
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = names[0] if names else platform.processor()
    cores = len(os.sched_getaffinity(0))
    return {
        "date": datetime.date.today().isoformat(),
        "machine": f"{cpu}, {cores} cores",
        "versions": ", ".join([f"Python {platform.python_version()}", *versions]),
    }


class Child:
    """Process that measures one method on demand."""

    def __init__(self, settings):
        self.settings = settings
        self.errors = tempfile.TemporaryFile("w+")
        command = [sys.executable, str(MEASURE), json.dumps(settings)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.errors, "text": True}
        self.process = subprocess.Popen(command, **pipes)

    def ask(self, command):
        """Return the answer to one command.

        Raises:
            ChildProcessError: The process has ended; the message is the last line that it printed.
        """
        with contextlib.suppress(BrokenPipeError):
            print(command, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline()
        if not answer:
            self.process.wait()
            self.errors.seek(0)
            raise ChildProcessError(self.errors.read().strip().rpartition("\n")[2] or "no message")
        return json.loads(answer)

    def end(self):
        """End the process."""
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.errors.close()


def take_turns(settings, methods):
    """Yield the measurements of each method on one backend."""
    names = list(methods)
    if settings["plain"] and (settings["backend"], settings["backbone"], settings["precision"]) == (
        "torch",
        "resnet50",
        "float32",
    ):
        names.append("plain")
    children = {name: Child({**settings, "method": name}) for name in names}
    results = {name: {**settings, "method": name, "step": []} for name in names}
    try:
        for command, count in rounds(settings):
            for number in range(count):
                for name, child in children.items():
                    if "failed" in results[name] or (name == "plain" and command in ("fed", "busy")):
                        continue
                    try:
                        answer = child.ask(command)
                    except ChildProcessError as error:
                        results[name]["failed"] = str(error)
                        continue
                    note(results[name], command, answer, number)
    finally:
        for child in children.values():
            child.end()
    base = results.get("UniMatch", {}).get("step", [])
    for result in results.values():
        pairs = [a / b for a, b in zip(result["step"], base, strict=False)]
        yield {**result, "ratio": statistics.median(pairs) if pairs else None}


def rounds(settings):
    """Yield the commands of one round and how often to give each; the first answers do not count."""
    steps = settings["steps"]
    yield "about", 1
    yield "step", WARM_UP
    yield "peak", 1
    yield "step", WARM_UP + steps
    if settings["shares"]:
        yield from ((command, WARM_UP + steps) for command in ("forward", "gradient", "fed"))
        yield "busy", 1


def note(result, command, answer, number):
    """Keep an answer, except for the warm-up answers of repeated commands."""
    if command in ("about", "peak", "busy"):
        result[command] = answer
    elif number >= WARM_UP:
        result.setdefault(command, []).append(answer)


def scale(settings, methods):
    """Yield how each method scales from one replica on half of the cores to two on all of them."""
    replicas = 2
    cores = max(1, len(os.sched_getaffinity(0)) // replicas)
    for method in methods:
        single = {**settings, "method": method, "cores": cores}
        several = {**settings, "method": method, "replicas": replicas}
        launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={replicas}"]
        result = {**several, "one": run_alone(single, [], cores)}
        result["several"] = run_alone(several, launcher if settings["backend"] == "torch" else [], cores)
        yield result


def run_alone(settings, launcher, threads):
    """Return the seconds of each step of a process measured alone, or its last line of errors."""
    command = [sys.executable, *launcher, str(MEASURE), json.dumps(settings), "replicated"]
    environment = {**os.environ, "KERAS_BACKEND": settings["backend"]}
    if settings["backend"] == "torch":
        environment["OMP_NUM_THREADS"] = str(threads)
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    return json.loads(lines[-1]) if done.returncode == 0 and lines else done.stderr.strip().rpartition("\n")[2]


def step_row(result):
    """Return one row of the step table, or its header for None."""
    if result is None:
        return table_head(
            "backend network crop precision jit method s/step range /UniMatch forward backward optimizer data peak,GB"
        )
    cells = [str(result[key]) for key in ("backend", "backbone", "crop", "precision", "jit", "method")]
    if result.get("about"):
        cells[0] += f" on {result['about']}"
    if "failed" in result:
        return line([*cells, f"failed: {result['failed']}", *[""] * 7])
    step = statistics.median(result["step"])
    cells += [f"{step:.3f}", f"{min(result['step']):.3f} to {max(result['step']):.3f}"]
    cells.append("" if result["ratio"] is None else f"{result['ratio']:.3f}")
    cells += [f"{100 * part:.0f} %" if part is not None else "" for part in fractions_of(result, step)]
    cells.append(f"{result['peak'] / 1e9:.2f}")
    if result.get("busy") is not None:
        cells[-1] += f", GPU busy {100 * result['busy']:.0f} %"
    return line(cells)


def fractions_of(result, step):
    """Return the fractions of forward, backward and optimizer in a step, and of data in a step with the pipeline."""
    if "gradient" not in result:
        return [None] * 4
    forward, gradient = (min(statistics.median(result[key]), step) for key in ("forward", "gradient"))
    gradient = max(forward, gradient)
    data = None
    if "fed" in result:
        fed = statistics.median(result["fed"])
        data = max(0.0, 1 - step / fed)
    return [forward / step, (gradient - forward) / step, (step - gradient) / step, data]


def scaling_row(result):
    """Return one row of the scaling table, or its header for None."""
    if result is None:
        return table_head("backend network crop method 1_replica,s 2_replicas,s efficiency")
    cells = [str(result[key]) for key in ("backend", "backbone", "crop", "method")]
    times = [result["one"], result["several"]]
    if not all(isinstance(value, list) for value in times):
        return line([*cells, f"failed: {next(v for v in times if isinstance(v, str))}", "", ""])
    one, several = map(statistics.median, times)
    return line([*cells, f"{one:.3f}", f"{several:.3f}", f"{100 * one / several:.0f} %"])


def table_head(names):
    """Return the header of a Markdown table and the line below it."""
    words = [name.replace("_", " ").replace(",", ", ") for name in names.split()]
    return f"{line(words)}\n{line(['---'] * len(words))}"


def line(cells):
    """Return one row of a Markdown table."""
    return f"| {' | '.join(cells)} |"

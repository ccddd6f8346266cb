"""Child process: reads the files that it is told of, one a line, and says for each what came of it."""

import importlib
import json
import sys
import time
import warnings
from pathlib import Path

from corpus import KINDS, digest, small_method

NEEDED = ("rankmatch_keras.data", "rankmatch_keras.methods", "rankmatch_keras.comparison.records")


def outcome(kind: str, path: Path) -> dict:
    """Read a file and return `{"outcome": "read" | "refused" | "trace", ...}`."""
    from rankmatch_keras.errors import UserError

    try:
        return {"outcome": "read", "digest": digest(KINDS[kind].read(path))}
    except UserError as error:
        text = str(error)
        clean = "\n" not in text and text.isprintable()
        return {"outcome": "refused"} if clean else {"outcome": "trace", "error": f"unclean message {text[:200]!r}"}
    except BaseException as error:
        return {"outcome": "trace", "error": f"{type(error).__name__}: {error}"[:300]}


def peak_mb(start: bool = False) -> float:
    """Return the largest resident memory since the last start, in MB."""
    if start:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main():
    """Say that it is ready, then serve one `{"kind": ..., "path": ...}` a line until the input ends."""
    warnings.simplefilter("ignore")
    answers = sys.stdout
    sys.stdout = sys.stderr
    for name in NEEDED:  # so that the first files are not charged with it
        importlib.import_module(name)
    small_method()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        before, begin = peak_mb(start=True), time.process_time()
        answer = outcome(asked["kind"], Path(asked["path"]))
        answer |= {"seconds": time.process_time() - begin, "megabytes": peak_mb() - before}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()

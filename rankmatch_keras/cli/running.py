"""Error boundary of the command line: a person's mistake ends with one line and exit code 2, never with a trace.

So do the limits of the machine: what it ran out of, where, what is safe and how to go on.
"""

import errno
import itertools
import os
import re
import signal
import sys
from collections.abc import Iterator, Sequence

import click

from rankmatch_keras.errors import Interrupted, NonFiniteLoss, UserError, WorkerLost
from rankmatch_keras.texts import say

SAFE = "A training run keeps its last whole epoch: continue with --resume."
# What stays of the work of each command.
KEPT = {"train": SAFE, "compare": SAFE, "predict": "The images that are done stay: continue with --resume."}
# What to do, by the number of the system's error.
REMEDIES = {
    errno.ENOSPC: "Free some space.",
    errno.EDQUOT: "Free some space.",
    errno.EFBIG: "Raise the limit on the size of files (ulimit -f), or choose another place.",
    errno.EACCES: "Change its permissions, or choose another place.",
    errno.EPERM: "Change its permissions, or choose another place.",
    errno.EROFS: "Choose a place that can be written.",
    errno.ENAMETOOLONG: "Choose a shorter name.",
    errno.EMFILE: "Raise the limit on open files (ulimit -n).",
    errno.ENOENT: "Check the path.",
    errno.EIO: "Check the disk.",
}
# A library may raise an error of its own where one of these is the cause; others it has dealt with.
RESOURCES = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EMFILE, errno.EIO, errno.ENOMEM}
# Names and words of the frameworks' errors.
_NO_MEMORY = ("OutOfMemoryError", "ResourceExhaustedError")
_NO_MEMORY_TEXT = re.compile(r"RESOURCE_EXHAUSTED|out of memory|can't allocate memory|Cannot allocate memory", re.I)


def run(command: click.Command, arguments: list[str] | None = None, name: str | None = None) -> None:
    """Run a command and turn the errors that a person can mend into one line each.

    Args:
        command: the command.
        arguments: the command line; that of the program by default.
        name: name of the program in usage lines.
    """
    try:
        _run(command, arguments, name)
    except (KeyboardInterrupt, Terminated):  # once more, while the first one was dealt with
        os._exit(130)


def _run(command, arguments, name):
    signal.signal(signal.SIGTERM, _terminate)
    words = asking_for_help(sys.argv[1:] if arguments is None else arguments)
    safe = KEPT.get(words[0], "") if words and isinstance(command, click.Group) else SAFE
    stays = f"; {safe[0].lower()}{safe[1:]}" if safe else "."
    try:
        command.main(words, name, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        raise SystemExit(2) from None
    except (NonFiniteLoss, WorkerLost) as error:
        _end(f"Error: {error}", 1)
    except Terminated:
        _end_at_once_next_time(143)
        _end(f"Stopped from outside{stays}", 143)
    except (click.Abort, KeyboardInterrupt) as error:
        if isinstance(error.__cause__, EOFError):  # which click takes for Ctrl-D
            _end(f"Error: {_too_short(error.__cause__, safe)}", 2)
        _end_at_once_next_time(130)
        saved = next((cause for cause in (error, error.__cause__) if isinstance(cause, Interrupted)), None)
        _end(f"Interrupted{stays}" if saved is None else f"Interrupted; {saved}", 130)
    except SystemExit as stop:
        if stop.code == 130:  # a command has its own words for an interrupt
            _end_at_once_next_time(130)
        raise
    except Exception as error:
        explained = explain(error, safe)
        if explained is None:
            raise
        _end(f"Error: {explained}", 2)


def _end(line, code):
    say(line, error=True)
    raise SystemExit(code) from None


def _end_at_once_next_time(code):
    """Make another signal end the process without a trace, as Python and the frameworks may take long to shut down."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: os._exit(code))


def explain(error: Exception, safe: str = SAFE) -> UserError | None:
    """Return what went wrong, where and how to go on; `None` for an error that only a programmer can mend.

    Args:
        error: what a command raised.
        safe: what stays of its work.
    """
    if isinstance(error, UserError):
        return error
    if isinstance(error, RecursionError):
        return UserError(
            "files and options of few levels", "more than Python can follow", f"Simplify them. {safe}".strip()
        )
    if isinstance(error, EOFError):
        return _too_short(error, safe)
    for cause in _chain(error):
        if _is_out_of_memory(cause):
            reason = " ".join(str(cause).split())[:160] or type(cause).__name__
            return UserError(
                "enough memory",
                f"none left ({reason})",
                f"Take a smaller --batch or --crop, or sliding windows for large images. {safe}".strip(),
            )
        if isinstance(cause, OSError) and (cause is error or cause.errno in RESOURCES):
            return _explain_system_error(cause, safe)
    return None


def _explain_system_error(error: OSError, safe: str) -> UserError:
    reason = error.strerror or str(error) or type(error).__name__
    # HDF5 puts the system's error into a long text.
    inner = re.search(r"errno = (\d+), error message = '([^']*)'", reason)
    code, reason = (int(inner[1]), inner[2]) if inner else (error.errno, " ".join(reason.split())[:200])
    place = "" if error.filename is None else f" at {str(error.filename)[:300]!r}"
    remedy = REMEDIES.get(code or 0, "Mend that.")
    return UserError("files that can be read and written", f"{reason}{place}", f"{remedy} {safe}".strip())


def _too_short(error: EOFError, safe: str) -> UserError:
    reason = " ".join(str(error).split())[:160] or "EOFError"
    return UserError("whole files", f"one that ends too early ({reason})", f"Check the newest files. {safe}".strip())


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or type(error).__name__ in _NO_MEMORY:
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and _NO_MEMORY_TEXT.search(str(error)) is not None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and those that it was raised from or during."""
    following: BaseException | None = error
    while following is not None:
        yield following
        following = following.__cause__ or following.__context__


def asking_for_help(words: Sequence[str]) -> list[str]:
    """Return the command line without its flags where one of the words asks for help.

    A flag before `--help` would take it for its value.

    Args:
        words: the command line, without the program.
    """
    if not {"-h", "--help"} & {*words}:
        return list(words)
    return [*itertools.takewhile(lambda word: not word.startswith("-"), words), "--help"]


class Terminated(BaseException):
    """Request to end, e.g. from a launcher of several processes of which one has failed."""


def _terminate(signum, frame):
    raise Terminated

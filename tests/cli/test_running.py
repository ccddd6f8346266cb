"""What the machine runs out of, and what people interrupt, ends with one line."""

import errno
import os
import resource
import signal
import subprocess
import sys

import click
import pytest

from rankmatch_keras.cli.running import explain, run
from rankmatch_keras.errors import UserError
from rankmatch_keras.files import replacing

pytestmark = pytest.mark.once


class OutOfMemoryError(RuntimeError):
    """As PyTorch and TensorFlow call theirs."""


HDF5 = (
    "Can't synchronously write data (file write failed: time = Fri Nov 27, filename = 'x.h5', file descriptor = 3, "
    "errno = 28, error message = 'No space left on device', buf = 0x1)"
)
FAILURES = {
    "full disk": (OSError(errno.ENOSPC, "No space left on device", "a/state.npz"), "device at 'a/state.npz'. Free"),
    "HDF5's full disk": (OSError(None, HDF5, "a/last.keras"), "No space left on device at 'a/last.keras'. Free some"),
    "read-only": (OSError(errno.EROFS, "Read-only file system", "a"), "Read-only file system at 'a'. Choose a place"),
    "permissions": (PermissionError(errno.EACCES, "Permission denied", "a"), "Permission denied at 'a'. Change its"),
    "long name": (OSError(errno.ENAMETOOLONG, "File name too long", "x" * 999), "too long at 'xxx"),
    "missing": (FileNotFoundError(errno.ENOENT, "No such file or directory", "a"), "at 'a'. Check the path."),
    "of a library": (OSError("cannot write mode F as PNG\nbecause"), "found cannot write mode F as PNG because. Mend"),
    "memory": (MemoryError(), "Expected enough memory; found none left (MemoryError). Take a smaller --batch"),
    "memory of an array": (MemoryError("Unable to allocate 9 GiB"), "none left (Unable to allocate 9 GiB)"),
    "memory of a device": (OutOfMemoryError("CUDA"), "none left (CUDA)"),
    "memory of PyTorch": (RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"), "none left (Default"),
    "memory of JAX": (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes"), "none left (RESOURCE_"),
    "depth": (RecursionError("maximum recursion depth exceeded"), "more than Python can follow. Simplify"),
    "cut-off file": (EOFError("No data left in file"), "one that ends too early (No data left in file)"),
    "mistake": (UserError("a crop", "none", "Give it."), "Error: Expected a crop; found none. Give it."),
}


def failing(error):
    @click.command()
    def command():
        raise error

    return command


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_one_line_and_exit_code_2(name, capsys):
    error, phrase = FAILURES[name]
    with pytest.raises(SystemExit) as stop:
        run(failing(error), [])
    err = capsys.readouterr().err.lstrip("\n")  # click begins a line after what it takes for Ctrl-D
    assert stop.value.code == 2 and phrase in err and err.startswith("Error: ") and err.count("\n") == 1
    assert len(err) < 600 and ("--resume" in err) == (name != "mistake")


@pytest.mark.parametrize(
    ("name", "stays"),
    [
        ("train", "whole epoch: continue with --resume."),
        ("predict", "done stay: continue with --resume."),
        ("check", ""),
    ],
)
@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (OSError(errno.ENOSPC, "No space", "a"), 2)])
def test_what_stays_is_said_of_each_command(name, stays, error, code, capsys):
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with pytest.raises(SystemExit) as stop:
            run(click.Group(commands={name: failing(error)}), [name])
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    err = capsys.readouterr().err
    assert stop.value.code == code and err.endswith(f"{stays}\n") and ("--resume" in err) == bool(stays)


def test_a_cause_within_another_error_is_told_and_a_program_error_is_not_hidden():
    def chained(cause):
        try:
            try:
                raise cause
            except OSError as error:
                raise ValueError("I/O operation on closed file") from error
        except ValueError as error:
            return error

    assert "No space left" in str(explain(chained(OSError(errno.ENOSPC, "No space left on device"))))
    assert explain(chained(FileNotFoundError(errno.ENOENT, "dealt with"))) is None
    with pytest.raises(KeyError):
        run(failing(KeyError("a program error")), [])


def test_a_limit_of_the_system_as_it_comes(tmp_path, capsys):
    @click.command()
    def command():
        with replacing(tmp_path / "big.bin") as temporary:
            temporary.write_bytes(bytes(100_000))

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        with pytest.raises(SystemExit) as stop:
            run(command, [])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert stop.value.code == 2 and "File too large at" in (err := capsys.readouterr().err) and "big.bin'. Raise" in err
    assert not [*tmp_path.iterdir()]


INTERRUPTED = """
import atexit, click, signal, sys, time
from rankmatch_keras.cli.running import run

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background

@click.command()
def command():
    atexit.register(wait, "end")
    try:
        wait("work")
    finally:
        if sys.argv[1] == "cleaning":
            wait("cleaning")

def wait(what):
    print(what, flush=True)
    time.sleep(30)

run(command, [])
"""


@pytest.mark.parametrize("moment", ["cleaning", "end"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_second_interrupt_ends_without_a_trace(moment, number, checkout):
    command = [sys.executable, "-c", INTERRUPTED, moment]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes, env={**os.environ, "PYTHONPATH": str(checkout)}) as process:
        for line in ("work", *(["cleaning"] if moment == "cleaning" else []), "end"):
            assert process.stdout.readline().strip() == line
            process.send_signal(number)
        out, err = process.communicate(timeout=20)
    assert process.returncode == (130 if number == signal.SIGINT else 143) and "Traceback" not in err
    assert err.count("keeps its last whole epoch") == 1

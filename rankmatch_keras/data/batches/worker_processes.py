"""Worker processes: fresh interpreters that get jobs through a pipe, each served by a thread.

Not `multiprocessing`: its fresh processes run the main script again, which would import Keras and a framework into each
of them and needs a `__main__` guard in every script, and its workers outlive a parent that is killed. A worker here
imports what a job needs and nothing else, and ends when its pipe is closed, however the main process ends.
"""

import os
import pickle
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import IO, Any, cast

from rankmatch_keras.errors import UserError

_ENVIRONMENT = {
    # One worker is one thread: as many of them run as there are CPUs to spare.
    **{f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")},
    # glibc keeps freed arrays for the next ones: mapping their pages anew doubled the time of an image.
    "MALLOC_MMAP_THRESHOLD_": str(1 << 25),
    "MALLOC_TRIM_THRESHOLD_": str(1 << 28),
}
_START = "import sys; sys.path[:] = {path!r}; from rankmatch_keras.data.batches.worker_processes import work; work()"


class Pool:
    """Worker processes that end with `close`, with the pool, or with the main process.

    Args:
        function: what the workers call; sent to each of them.
        count: number of workers.
    """

    def __init__(self, function: Callable[..., Any], count: int):
        self._jobs: SimpleQueue = SimpleQueue()
        workers = [_Worker() for _ in range(count)]
        arguments = [(worker, function, self._jobs) for worker in workers]
        threads = [threading.Thread(target=_serve, args=each, daemon=True) for each in arguments]
        for thread in threads:
            thread.start()
        self.close = weakref.finalize(self, _stop, os.getpid(), self._jobs, workers, threads)

    def submit(self, *arguments: Any) -> Future:
        """Have `function(*arguments)` called by the next free worker.

        Returns:
            The future result, or the UserError that was raised, or a RuntimeError that shows any other.

        Raises:
            RuntimeError: the pool is closed.
        """
        future: Future = Future()
        self._jobs.put((future, arguments))
        # Asked last: a caller would wait forever for a job of a closed pool.
        if not self.close.alive:
            raise RuntimeError("The worker processes are closed.")
        return future


class _Worker:
    """The main process's end of a worker."""

    def __init__(self):
        path = [entry for entry in sys.path if isinstance(entry, str)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _START.format(path=path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | _ENVIRONMENT,
            start_new_session=True,  # an interrupt from the keyboard is for the main process, which ends the others
        )
        self._jobs, self._results = cast(IO[bytes], self._process.stdin), cast(IO[bytes], self._process.stdout)

    def send(self, value: Any) -> None:
        try:
            message = pickle.dumps(value, protocol=5)
        except Exception as error:  # which type depends on what the object is
            raise _not_portable(error) from error
        try:
            self._jobs.write(message)
            self._jobs.flush()
        except (OSError, ValueError) as error:
            raise self._ended() from error

    def receive(self) -> Any:
        try:
            kind, value = pickle.load(self._results)
        except (EOFError, OSError, ValueError, pickle.UnpicklingError) as error:
            raise self._ended() from error
        if kind == "result":
            return value
        if kind == "limit":
            raise value
        raise UserError(*value) if kind == "user error" else RuntimeError(f"In a worker process:\n{value}")

    def kill(self) -> None:
        self._process.kill()

    def close(self) -> None:
        for stream in (self._jobs, self._results):
            try:
                stream.close()
            except OSError:  # what was left to send
                pass
        self._process.wait()

    def _ended(self) -> UserError:
        try:
            code = self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:  # it lives, but its answers make no sense
            self.kill()
            code = self._process.wait()
        return UserError(
            "the worker processes of the input pipeline to stay alive",
            f"one that ended with exit code {code}",
            "If memory ran out, take fewer workers, a smaller batch or a smaller crop.",
        )


def _serve(worker: _Worker, function: Callable[..., Any], jobs: SimpleQueue) -> None:
    """Give jobs to one worker, one at a time, until there is None."""
    known = False
    for future, arguments in iter(jobs.get, None):
        if not future.set_running_or_notify_cancel():
            continue
        try:
            if not known:
                worker.send(function)
                known = True
            worker.send(arguments)
            future.set_result(worker.receive())
        except Exception as error:
            future.set_exception(error)
        del future, arguments  # the last result would stay in memory until the next job


def _stop(owner: int, jobs: SimpleQueue, workers: list[_Worker], threads: list[threading.Thread]) -> None:
    if os.getpid() != owner:  # a fork of the main process, which owns no workers, ends
        return
    # Jobs are functions of their arguments alone: nothing is lost with a killed worker.
    for worker in workers:
        worker.kill()
    for _ in threads:
        jobs.put(None)
    for thread in threads:
        if thread is not threading.current_thread():  # garbage is collected in any thread
            thread.join()
    for worker in workers:
        worker.close()


def _not_portable(error: Exception) -> UserError:
    return UserError(
        "samples that can be sent to worker processes",
        f"{type(error).__name__}: {error}",
        "Define their classes in a module, not in a script or notebook, or make batches without workers "
        "(parallel_calls=0).",
    )


def work() -> None:
    """Run a worker: read the function, then jobs, from standard input, and answer until that is closed."""
    requests = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    # Whatever is printed must not get among the answers.
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    try:
        function = pickle.load(requests)
        while True:
            pickle.dump(_answer(function, pickle.load(requests)), answers, protocol=5)
            answers.flush()
    except (EOFError, BrokenPipeError):
        pass
    except Exception as error:  # the stream is lost after half an object
        pickle.dump(_failed(_not_portable(error)), answers)
        answers.flush()
    os._exit(0)  # closing `answers` would fail once more on a broken pipe


def _answer(function: Callable[..., Any], arguments: tuple) -> tuple[str, Any]:
    try:
        return "result", function(*arguments)
    except UserError as error:
        return _failed(error)
    except (OSError, MemoryError) as error:  # a limit of the machine, which the command line says in one line
        return "limit", error
    except Exception:
        return "error", traceback.format_exc()


def _failed(error: UserError) -> tuple[str, Any]:
    return "user error", (error.expected, error.found, error.remedy)

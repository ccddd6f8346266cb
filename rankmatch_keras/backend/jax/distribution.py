"""Data parallelism by `keras.distribution`: one program over the devices of one process or of many.

The program sees whole batches, of which every device holds its rows, and weights that every device holds. So sums,
random numbers and batch statistics are those of the whole batch without further work.
"""

import atexit
import collections
import contextlib
import functools
import os
import subprocess
import sys
import time

import jax
import keras
import numpy as np
from jax.experimental import multihost_utils

from rankmatch_keras.backend.engine import Distribution, launcher_variables, whole_number
from rankmatch_keras.errors import UserError, WorkerLost

VARIABLES = ADDRESSES, PROCESSES, PROCESS = (
    "KERAS_DISTRIBUTION_JOB_ADDRESSES",
    "KERAS_DISTRIBUTION_NUM_PROCESSES",
    "KERAS_DISTRIBUTION_PROCESS_ID",
)
HEARTBEAT_SECONDS = 30  # without a sign of life a process is considered lost
GRACE_SECONDS = 2  # for the other processes to meet the same error
LOST = ("gloo", "nccl", "peer", "heartbeat", "coordination")


class LastWords:
    """A last line for a process that a library ends by `abort()`, which Python code cannot catch.

    A shell beside this process waits for its end and then prints the words that it was given last.

    Example:
        >>> words = LastWords()
        >>> words.set("Error: the library has aborted this process.")
        >>> words.close()  # all went well: nothing to say
    """

    def __init__(self):
        script = 'while read -r line; do words=$line; done; test -z "$words" || echo "$words" >&2'
        self._shell = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
        # An abort runs no such functions.
        atexit.register(self.close)

    def set(self, words: str) -> None:
        """Set the line that is printed to standard error when this process ends; nothing if empty."""
        assert self._shell.stdin is not None
        self._shell.stdin.write(f"{words}\n".encode())
        self._shell.stdin.flush()

    def close(self) -> None:
        """End the shell silently; an interpreter that ends in order does so too."""
        atexit.unregister(self.close)
        self._shell.communicate(b"\n")


def start(strategy: str, replicas: int | None) -> Distribution:
    """Join the other processes that the launcher's variables name, and take the devices of all.

    Args:
        strategy: "auto" or "data-parallel".
        replicas: devices of each process, all by default; the CPU is divided into so many.

    Returns:
        `DataParallel`, or `Distribution` if all processes together have one device.

    Raises:
        UserError: wrong variables, missing processes, or too few devices.
    """
    if replicas is not None:
        # JAX refuses this once the devices are made; they are counted below.
        with contextlib.suppress(RuntimeError):
            jax.config.update("jax_num_cpu_devices", replicas)
    variables = launcher_variables(VARIABLES)
    last_words = None if variables is None else join(variables)
    devices = choose_devices(replicas)
    return DataParallel(devices, last_words) if len(devices) > 1 else Distribution()


def join(variables: dict[str, str], seconds: int = 300) -> LastWords | None:
    """Meet the other processes.

    Args:
        variables: the launcher's, by name.
        seconds: time to wait for them; then JAX aborts this process.

    Returns:
        The last words for the abort of this process after the loss of another; None without others.

    Raises:
        UserError: a variable is wrong, or this process cannot serve as the first.
    """
    processes = whole_number(variables, PROCESSES, 1)
    process = whole_number(variables, PROCESS, 0, processes - 1)
    addresses = variables[ADDRESSES].split(",")
    host, _, port = addresses[0].strip().rpartition(":")
    if not host or not port.isdigit() or len(addresses) not in (1, processes):
        raise UserError(
            f"{ADDRESSES} as host:port of the first process, or of all {processes}",
            f"{variables[ADDRESSES]!r}",
            "Start by the launcher, or unset it.",
        )
    if processes == 1:
        return None
    missing = UserError(
        f"{processes} processes that meet at {host}:{port} within {seconds} s",
        "fewer, or an address that is in use",
        f"Start all with the same {ADDRESSES} and each with its {PROCESS}.",
    )
    last_words = LastWords()
    last_words.set(f"Error: {missing}")
    try:
        jax.distributed.initialize(
            f"{host}:{port}",
            processes,
            process,
            initialization_timeout=seconds,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except jax.errors.JaxRuntimeError as error:
        last_words.close()
        raise missing from error
    last_words.set(f"Error: {WorkerLost('or this one was killed')}")
    return last_words


def choose_devices(replicas: int | None) -> list[jax.Device]:
    """Return the devices of all processes, those of one process side by side.

    Args:
        replicas: devices of each process; all by default.

    Raises:
        UserError: a process has fewer, or their numbers differ.
    """
    of_process = collections.defaultdict(list)
    for device in jax.devices():
        of_process[device.process_index].append(device)
    counts = [len(devices) for devices in of_process.values()]
    if replicas is None and len(set(counts)) > 1:
        raise UserError("as many devices in each process", f"{counts}", f"Give --replicas {min(counts)}.")
    if replicas is not None and min(counts) < replicas:
        platform = jax.default_backend()
        raise UserError(
            f"{replicas} devices in each process", f"{min(counts)} of {platform}", f"Give --replicas {min(counts)}."
        )
    return [device for process in sorted(of_process) for device in of_process[process][:replicas]]


class DataParallel(Distribution):
    """This process's part of Keras' DataParallel.

    Args:
        devices: the devices of all processes.
        last_words: last words for an abort of this process; None without other processes.
    """

    name = "data-parallel"

    def __init__(self, devices: list[jax.Device], last_words: LastWords | None = None):
        self.process, self.processes = jax.process_index(), jax.process_count()
        self.replicas = len(devices)
        self._devices = keras.distribution.DataParallel(devices=devices, auto_shard_dataset=False)
        self._last_words = last_words
        self._exit_code: int | None = None
        # The processes connect at their first exchange, where none may be 30 s later than another; here none is.
        self.gather(np.zeros(1))

    def rows(self, batch_size):
        """See `Distribution`: rows side by side, as JAX puts the parts of the processes together."""
        each = batch_size // self.processes
        return np.arange(self.process * each, (self.process + 1) * each)

    def scope(self):
        """See `Distribution`."""
        return self._together()

    def prepare(self, method, sync_batch_norm=True):
        """See `Distribution`: divides the batches of `fit` and `train_on_batch` over the devices."""
        if not sync_batch_norm:
            raise UserError(
                "batch normalization over all replicas on JAX", "--no-sync-batch-norm", "Leave the flag out."
            )
        for name in ("fit", "train_on_batch"):
            setattr(method, name, self._together()(getattr(method, name)))

    def local(self, predictor):
        """See `Distribution`."""
        return _alone(predictor)

    def gather(self, values):
        """See `Distribution`: exchanges bytes, since JAX would narrow 64 bits to 32."""
        if self.processes == 1:
            return super().gather(values)
        own = np.asarray(values)
        with self._together():
            everyone = multihost_utils.process_allgather(np.frombuffer(own.tobytes(), np.uint8))
        return np.frombuffer(everyone.tobytes(), own.dtype).reshape(self.processes, *own.shape).copy()

    def describe(self, batch_size):
        """See `Distribution`."""
        processes = f"{self.processes} processes" if self.processes > 1 else "1 process"
        each = batch_size // self.replicas
        return f"data-parallel: {self.replicas} devices of {processes} with {each} of {batch_size} images each, jax"

    def close(self):
        """See `Distribution`; after an error this ends the process, which would otherwise wait for all others."""
        if self._last_words is None:
            return
        if self._exit_code is None:
            jax.distributed.shutdown()
        self._last_words.close()
        self._last_words = None
        if self._exit_code is not None:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self._exit_code)

    @contextlib.contextmanager
    def _together(self):
        """Make variables on, and divide batches over all devices.

        Raises:
            WorkerLost: another process does not answer.
        """
        try:
            with self._devices.scope():
                yield
        except Exception as error:
            self._exit_code = 2 if isinstance(error, UserError) else 1
            if self.processes > 1 and is_lost(error):
                raise WorkerLost(first_line(error)) from error
            time.sleep(GRACE_SECONDS if self.processes > 1 else 0)
            raise


class _Alone:
    """A predictor that runs on the first device of this process, with the weights stored there.

    Args:
        predictor: the wrapped predictor, which answers everything else.
    """

    def __init__(self, predictor: keras.Model):
        self._predictor = predictor
        self._call = jax.jit(functools.partial(predictor.stateless_call, training=False))

    def __getattr__(self, name):
        return getattr(self._predictor, name)

    def predict_on_batch(self, images):
        """Predict: (B, H, W, C) -> numpy (B, H, W, K)."""
        groups = self._predictor.trainable_variables, self._predictor.non_trainable_variables
        weights = [[variable.value.addressable_data(0) for variable in group] for group in groups]
        return np.asarray(self._call(*weights, images)[0])


# Cached, so that each is compiled once.
_alone = functools.lru_cache(maxsize=2)(_Alone)


def is_lost(error: BaseException) -> bool:
    """Tell whether an error of JAX means that another process is gone."""
    said = str(error).lower()
    return isinstance(error, jax.errors.JaxRuntimeError) and any(word in said for word in LOST)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]

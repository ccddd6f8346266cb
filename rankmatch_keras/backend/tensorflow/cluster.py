"""Devices and processes of a TensorFlow program: choosing them, reading TF_CONFIG, noticing a lost one."""

import contextlib
import functools
import json
import os
from collections.abc import Iterator
from typing import Any, NamedTuple

import tensorflow as tf

from rankmatch_keras.errors import UserError, WorkerLost

LAUNCH = (
    "Start each process with e.g. TF_CONFIG="
    '\'{"cluster": {"worker": ["host1:12345", "host2:12345"]}, "task": {"type": "worker", "index": 0}}\'.'
)


class Cluster(NamedTuple):
    """This process's place among the others."""

    process: int
    processes: int


def read_cluster() -> Cluster | None:
    """Read TF_CONFIG: a cluster of workers and perhaps a chief, which is the first process.

    Returns:
        This process's place; None if the variable is not set.

    Raises:
        UserError: it is not JSON, incomplete or contradicts itself.
    """
    text = os.environ.get("TF_CONFIG", "").strip()
    if not text:
        return None
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong("as JSON", f"something else ({error})") from error
    cluster, task = (_entry(config, name) for name in ("cluster", "task"))
    chiefs, workers = _addresses(cluster)
    sizes = {"chief": len(chiefs), "worker": len(workers)}
    kind = task.get("type")
    if not isinstance(kind, str) or not sizes.get(kind):
        raise _wrong(f"with a task type of {', '.join(name for name in sizes if sizes[name])}", f"{kind!r}")
    index = task.get("index")
    if type(index) is not int or not 0 <= index < sizes[kind]:
        raise _wrong(f"with a task index of 0 to {sizes[kind] - 1}", f"{index!r}")
    return Cluster(index + (len(chiefs) if kind == "worker" else 0), len(chiefs) + len(workers))


def _addresses(cluster: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Return the addresses of the chief, if any, and of the workers."""
    others = sorted({*cluster} - {"chief", "worker"})
    if others:
        raise _wrong("with a cluster of 'worker' and perhaps 'chief'", f"{', '.join(map(repr, others))}")
    for kind, addresses in cluster.items():
        if not isinstance(addresses, list) or not addresses or not all(_is_address(each) for each in addresses):
            raise _wrong(f"with a list of host:port for {kind!r}", json.dumps(addresses))
    chiefs, workers = cluster.get("chief", []), cluster.get("worker", [])
    if len(chiefs) > 1:
        raise _wrong("with one chief", f"{len(chiefs)}")
    if not chiefs and not workers:
        raise _wrong("with the addresses of the workers", "none")
    if len({*chiefs, *workers}) < len(chiefs) + len(workers):
        raise _wrong("with an address of its own for each process", f"one twice in {', '.join(chiefs + workers)}")
    return chiefs, workers


def _is_address(value: Any) -> bool:
    host, _, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    return bool(host) and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536


def _entry(config: Any, name: str) -> dict[str, Any]:
    """Return a named object of the variable."""
    value = config.get(name) if isinstance(config, dict) else None
    if not isinstance(value, dict):
        raise _wrong(f"with an object {name!r}", "none" if value is None else json.dumps(value))
    return value


def _wrong(expected: str, found: str) -> UserError:
    return UserError(f"TF_CONFIG {expected}", found[:200], LAUNCH)


@contextlib.contextmanager
def or_lost() -> Iterator[None]:
    """Translate errors of code that communicates with the other processes.

    Raises:
        WorkerLost: one of them does not answer.
    """
    try:
        yield
    except tf.errors.OpError as error:
        if is_lost(error):
            raise WorkerLost(reason(error)) from error
        raise


def is_lost(error: BaseException) -> bool:
    """Tell whether an error of TensorFlow means that another process is gone."""
    gone = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)
    said = str(error).lower()
    return isinstance(error, gone) or "collective ops is aborted" in said or "nccl" in said


def reason(error: BaseException) -> str:
    """Return the line of an error's message that says why."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    aborted = [line.partition("aborted by: ")[2] for line in lines if "aborted by: " in line]
    return (aborted or lines)[0]


def choose_devices(replicas: int | None) -> int:
    """Give this process the devices of its replicas: GPUs, or logical CPU devices if there are none.

    Args:
        replicas: number of devices; by default all GPUs, or one CPU device.

    Returns:
        The number of devices.

    Raises:
        UserError: there are fewer GPUs, or TensorFlow already runs on other devices.
    """
    gpus = tf.config.list_physical_devices("GPU")
    count = replicas or len(gpus) or 1
    if gpus and count > len(gpus):
        raise UserError(
            f"at most one replica per GPU, {len(gpus)}", f"--replicas {count}", "Take fewer, or more processes."
        )
    try:
        if count < len(gpus):
            tf.config.set_visible_devices(gpus[:count], "GPU")
        if count > 1 and not gpus:
            cpu = tf.config.list_physical_devices("CPU")[0]
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:
        raise too_late(error) from error
    return count


@functools.cache
def mirrored_strategy(count: int) -> tf.distribute.Strategy:
    """Return the program's only strategy: TensorFlow would mix up the exchanges of two of them."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices[:count]])


def too_late(error: Exception) -> UserError:
    """Make the error for devices chosen after TensorFlow has begun to compute."""
    what = "to choose devices and processes before TensorFlow makes its first tensor"
    return UserError(what, f"it has begun ({reason(error)})", "Call `distribute` first.")

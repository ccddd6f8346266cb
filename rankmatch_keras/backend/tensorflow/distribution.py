"""`tf.distribute`: MirroredStrategy for the devices of one process, MultiWorkerMirroredStrategy for many processes."""

import contextlib
import functools
import weakref
from typing import Any

import numpy as np
import tensorflow as tf

from rankmatch_keras.backend.engine import Distribution
from rankmatch_keras.backend.replicas import Replicas, own_rows, set_replicas
from rankmatch_keras.backend.tensorflow import step
from rankmatch_keras.backend.tensorflow.cluster import (
    LAUNCH,
    choose_devices,
    mirrored_strategy,
    or_lost,
    read_cluster,
    reason,
    too_late,
)
from rankmatch_keras.backend.tensorflow.replicas import (
    StrategyReplicas,
    everyone,
    mean,
    use_own_updates,
    use_synchronized_batch_norm,
)
from rankmatch_keras.errors import UserError


def start(strategy: str, replicas: int | None) -> Distribution:
    """Choose the devices of this process, and join the others that TF_CONFIG names.

    Raises:
        UserError: TF_CONFIG is incomplete or contradicts the strategy, or there are fewer devices than `replicas`.
    """
    cluster = read_cluster()
    processes = 1 if cluster is None else cluster.processes
    if strategy == "multi-worker" or (strategy == "auto" and processes > 1):
        if cluster is None:
            raise UserError("the addresses of all processes in TF_CONFIG", "no TF_CONFIG", LAUNCH)
        return MultiWorker(*cluster, replicas)
    if processes > 1:
        raise UserError(
            f"one process for --distribute {strategy}",
            f"TF_CONFIG with {processes} processes",
            "Take --distribute multi-worker, or unset TF_CONFIG.",
        )
    count = choose_devices(replicas)
    return Distribution() if strategy == "auto" and count == 1 else Mirrored(count)


class Mirrored(Distribution):
    """All replicas in this process, each on a device of its own.

    Args:
        count: number of replicas: the first GPUs, or logical CPU devices.
    """

    name = "mirrored"

    def __init__(self, count):
        self._use(mirrored_strategy(count))

    def _use(self, strategy):
        self.strategy = strategy
        self.replicas = strategy.num_replicas_in_sync
        self._fed = self.replicas // self.processes
        self._copies: Any = weakref.WeakKeyDictionary()
        # All batches are whole: asking every replica at each step is not needed, and would lose the static batch size.
        strategy.extended.experimental_enable_get_next_as_optional = False
        set_replicas(StrategyReplicas(self.replicas))

    def rows(self, batch_size):
        """See `Distribution`: mirrored pairs of rows, one replica after the other."""
        first = self.process * self._fed
        parts = [own_rows(batch_size, self.replicas, index) for index in range(first, first + self._fed)]
        return np.concatenate(parts)

    def scope(self):
        """See `Distribution`."""
        return self.strategy.scope()

    def prepare(self, method, sync_batch_norm=True):
        """See `Distribution`: lets `fit` run the step on all replicas.

        Raises:
            UserError: the step is to be compiled by XLA, which works on one device only.
        """
        if method.jit_compile:
            raise UserError("no XLA on several devices", "--jit on", "Take --jit auto, or --distribute none.")
        if sync_batch_norm:
            for network in (*method.students, *method.teachers, *method.heads):
                use_synchronized_batch_norm(network)
        with self.scope():
            for variable in (*method.variables, *method.metrics_variables):
                # The running means are equal on all replicas. Keras' variables would be summed whenever they are read,
                # which hangs where one process reads alone.
                if variable.synchronization == "on_read":
                    variable._initialize(tf.Variable(variable.value, trainable=False))
        use_own_updates(getattr(method.optimizer, "inner_optimizer", method.optimizer))
        method.use_step(functools.partial(step.train_step, mean=mean))
        # Keras would average a batch, masks included, to build a model that is built already.
        method._maybe_symbolic_build = lambda **_: None
        method.make_train_function = lambda force=False: self._make_train_function(method, force)

    def _make_train_function(self, method, force):
        """Replace Keras' own, which averages the logs over axis 0 and fails for scalars with many processes."""
        if method.train_function is not None and not force:
            return

        def replicated_step(iterator):
            logs = self.strategy.run(method.train_step, args=(iterator.get_next(),))
            # The logs are equal on all replicas.
            return {name: self.strategy.experimental_local_results(value)[0] for name, value in logs.items()}

        method.train_function = self._guarded(
            replicated_step if method.run_eagerly else tf.function(replicated_step, autograph=False)
        )

    def _guarded(self, function):
        """Return the function with its errors translated."""
        return function

    def batches(self, batches):
        """See `Distribution`: deals the rows of this process to its replicas, in order."""
        dataset = batches if isinstance(batches, tf.data.Dataset) else _dataset(batches)
        if self._fed > 1:
            dataset = dataset.map(self._divide).unbatch()
        return self.strategy.distribute_datasets_from_function(lambda _: dataset)

    def _divide(self, batch):
        """Reshape arrays (B, ...) to (replicas of this process, B / replicas, ...)."""
        return {
            name: tf.reshape(value, (self._fed, value.shape[0] // self._fed, *value.shape[1:]))
            for name, value in batch.items()
        }

    def local(self, predictor):
        """See `Distribution`: a copy on one device, since a model of the scope predicts on all of them together."""
        if getattr(predictor, "_distribute_strategy", None) is None:
            return predictor
        if predictor not in self._copies:
            self._copies[predictor] = type(predictor).from_config(predictor.get_config())
        copy = self._copies[predictor]
        for target, source in zip(copy.variables, predictor.variables, strict=True):
            target.assign(source.numpy())
        return copy

    def describe(self, batch_size):
        """See `Distribution`."""
        each = batch_size // self.replicas
        return f"mirrored: {self.replicas} replicas with {each} of {batch_size} images each, tensorflow"

    def close(self):
        """See `Distribution`."""
        set_replicas(Replicas())


class MultiWorker(Mirrored):
    """This process's replicas among those of all processes of TF_CONFIG.

    Args:
        process: number of this process, the chief first.
        processes: number of processes.
        replicas: GPUs of this process; all by default.
    """

    name = "multi-worker"

    def __init__(self, process, processes, replicas=None):
        self.process = process
        self.processes = processes
        if replicas not in (None, 1) and not tf.config.list_physical_devices("GPU"):
            raise UserError("one replica per process where there is no GPU", f"--replicas {replicas}", "Leave it out.")
        choose_devices(replicas)
        try:
            self._use(tf.distribute.MultiWorkerMirroredStrategy())
        except tf.errors.OpError as error:
            raise UserError("to join the processes of TF_CONFIG", f"that it fails ({reason(error)})", LAUNCH) from error
        except RuntimeError as error:
            raise too_late(error) from error

    @contextlib.contextmanager
    def scope(self):
        """See `Distribution`."""
        with or_lost(), super().scope():
            yield

    def _guarded(self, function):
        def guarded(iterator):
            with or_lost():
                return function(iterator)

        return guarded

    def gather(self, values):
        """See `Distribution`."""
        values = np.asarray(values)
        content = values.tobytes()
        # As 32-bit integers, which all devices can exchange whatever the values are.
        words = np.frombuffer(content.ljust(-(-len(content) // 4) * 4, b"\0"), np.int32)
        with or_lost():
            rows = self._exchange(tf.constant(words)).numpy()[:: self._fed]
        arrays = [np.frombuffer(row.tobytes()[: len(content)], values.dtype) for row in rows]
        return np.stack([array.reshape(values.shape) for array in arrays])

    @tf.function(reduce_retracing=True)
    def _exchange(self, words):
        """Return what every replica has, on each of them."""
        return self.strategy.experimental_local_results(self.strategy.run(everyone, args=(words,)))[0]

    def describe(self, batch_size):
        """See `Distribution`."""
        each = batch_size // self.replicas
        parts = f"{self.replicas} replicas with {each} of {batch_size} images each"
        return f"multi-worker: {self.processes} processes, {parts}, tensorflow"


def _dataset(batches):
    """Make a dataset of batches that can be iterated repeatedly, with the shapes of the first one."""
    first = next(iter(batches))
    signature = {name: tf.TensorSpec(value.shape, value.dtype) for name, value in first.items()}
    return tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature)

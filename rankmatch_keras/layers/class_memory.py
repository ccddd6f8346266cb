"""Memories of earlier steps, per class: moving averages, prototypes, banks of vectors."""

import os

import keras
from keras import ops

from rankmatch_keras.backend.replicas import replicas
from rankmatch_keras.errors import UserError
from rankmatch_keras.layers.base import Float32Layer
from rankmatch_keras.layers.pixels import unit_length
from rankmatch_keras.layers.sampling import sample_places


def class_members(label, num_classes: int, counted):
    """Which pixels belong to each class.

    Args:
        label: `(N,)` int.
        num_classes: number of classes C.
        counted: `(N,)` bool, the pixels that belong to any.

    Returns:
        `(C, N)` bool.
    """
    classes = ops.arange(num_classes, dtype="int32")[:, None]
    return ops.logical_and(ops.cast(label, "int32")[None] == classes, counted[None])


def mean_vectors(vectors, members):
    """The mean vector of each class over all replicas, without gradient.

    Args:
        vectors: `(N, D)` float32.
        members: `(C, N)` bool.

    Returns:
        means: `(C, D)` float32, zeros for classes without pixels.
        present: `(C,)` bool.
    """
    weights = ops.cast(members, "float32")
    totals = replicas().sum(ops.matmul(weights, ops.stop_gradient(vectors)))
    counts = replicas().sum(ops.sum(weights, axis=1))
    return totals / ops.maximum(counts, 1.0)[:, None], counts > 0.0


def class_means(value, label, valid, num_classes: int):
    """The mean over the pixels of each class, of all replicas together, without gradient.

    Args:
        value: `(B, H, W)` float.
        label: `(B, H, W)` int; other values than 0 up to K - 1 belong to no class.
        valid: `(B, H, W)` bool: other pixels do not count.
        num_classes: K.

    Returns:
        means: `(K,)` float32, 0 where the class is absent.
        counts: `(K,)` float32, its pixels.
    """
    value = ops.stop_gradient(ops.cast(value, "float32"))
    belongs = ops.cast(label, "int32")[..., None] == ops.arange(num_classes, dtype="int32")
    belongs = ops.logical_and(belongs, ops.cast(valid, "bool")[..., None])  # (B, H, W, K)
    counts = replicas().sum(ops.sum(ops.cast(belongs, "float32"), axis=(0, 1, 2)))
    sums = replicas().sum(ops.sum(ops.where(belongs, value[..., None], 0.0), axis=(0, 1, 2)))
    return sums / ops.maximum(counts, 1.0), counts


@keras.saving.register_keras_serializable("rankmatch_keras")
class ClassAverages(Float32Layer):
    """A moving average for each class, saved with the method.

    Args:
        num_classes: number of classes K.
        momentum: share of the old average, 0 to 1.
        initial: the averages before the first batch.
        absent: what a batch without a class says of it: `"keep"` leaves its average, `"zero"` counts as a mean of 0.

    Raises:
        ValueError: an argument is out of range.
    """

    def __init__(self, num_classes: int, momentum: float = 0.99, initial: float = 1.0, absent: str = "keep", **kwargs):
        super().__init__(**kwargs)
        if not 0.0 <= momentum <= 1.0 or absent not in ("keep", "zero"):
            raise ValueError(
                "Expected a momentum from 0 to 1 and absent 'keep' or 'zero'. "
                f"Received: momentum={momentum}, absent={absent!r}"
            )
        self.num_classes = num_classes
        self.momentum = momentum
        self.initial = initial
        self.absent = absent
        self.averages = self.add_state("averages", (num_classes,), initial)

    def values(self):
        """The averages `(K,)` float32."""
        return ops.convert_to_tensor(self.averages)

    def update(self, value, label, valid):
        """Takes in one batch; arguments as of `class_means`."""
        means, counts = class_means(value, label, valid, self.num_classes)
        moved = self.momentum * self.values() + (1.0 - self.momentum) * means
        if self.absent == "keep":
            moved = ops.where(counts > 0, moved, self.values())
        self.averages.assign(ops.stop_gradient(moved))


UNKNOWN = -1e4  # the similarity to a class that was never seen; exp of it is 0


@keras.saving.register_keras_serializable("rankmatch_keras")
class ClassPrototypes(Float32Layer):
    """Moving averages of class means: `p = decay * p + (1 - decay) * mean`, the first mean as it is.

    Args:
        num_classes: number of classes C.
        channels: length D of a vector.
        decay: 0 to 1.
    """

    def __init__(self, num_classes: int, channels: int, decay: float = 0.99, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.channels = channels
        self.decay = decay
        self.vectors = self.add_state("vectors", (num_classes, channels))
        self.seen = self.add_state("seen", (num_classes,), dtype="int32")

    def known(self):
        """Which classes were ever seen: `(C,)` bool."""
        return ops.convert_to_tensor(self.seen) > 0

    def update(self, means, present):
        """Moves the prototypes of the classes that are present.

        Args:
            means: `(C, D)` float32, alike on all replicas.
            present: `(C,)` bool.
        """
        old, known = ops.convert_to_tensor(self.vectors), self.known()
        keep = ops.where(known, self.decay, 0.0)[:, None]
        moved = keep * old + (1.0 - keep) * ops.stop_gradient(means)
        self.vectors.assign(ops.where(present[:, None], moved, old))
        self.seen.assign(ops.cast(ops.logical_or(known, present), "int32"))

    def similarity(self, vectors, temperature: float):
        """Cosine similarity to each prototype over the temperature.

        Args:
            vectors: `(..., D)` float32.
            temperature: above 0.

        Returns:
            `(..., C)` float32; -10000 for classes that were never seen.
        """
        prototypes = unit_length(ops.convert_to_tensor(self.vectors))
        cosine = ops.matmul(unit_length(vectors), ops.transpose(prototypes))
        return ops.where(self.known(), cosine / temperature, UNKNOWN)


MEMORY_SHARE = 0.25  # of the machine's memory, for one bank


def machine_memory() -> int | None:
    """The machine's memory in bytes, or `None` where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


@keras.saving.register_keras_serializable("rankmatch_keras")
class ClassBank(Float32Layer):
    """First-in-first-out memory of vectors for each class, without gradient; saved with the method.

    Args:
        num_classes: number of classes C.
        capacity: vectors per class.
        channels: length D of a vector.
        option: what the capacity is called where a person can lower it.
        memory: bytes of the machine's memory, of which the bank takes no more than a quarter; asked by default.
        seed: int or `None`, for `sample`.

    Raises:
        UserError: the bank would be larger.
    """

    def __init__(
        self,
        num_classes: int,
        capacity: int,
        channels: int,
        option: str = "capacity",
        memory: int | None = None,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if capacity < 1:
            raise ValueError(f"Expected a bank of at least 1 vector per class. Received: {option}={capacity}")
        _check_size(num_classes, capacity, channels, option, memory or machine_memory())
        self.num_classes = num_classes
        self.capacity = capacity
        self.channels = channels
        self.option = option
        self.memory = memory
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.vectors = self.add_state("vectors", (num_classes, capacity, channels))
        self.count = self.add_state("count", (num_classes,), dtype="int32")
        self.next = self.add_state("next", (num_classes,), dtype="int32")

    def push(self, vectors, chosen):
        """Stores vectors over the oldest ones.

        Args:
            vectors: `(C, P, D)` float, P at most the capacity; alike on all replicas.
            chosen: `(C, P)` bool, those that are stored.
        """
        marks = ops.cast(chosen, "int32")
        stored = ops.cumsum(marks, axis=1)  # (C, P)
        total = stored[:, -1]
        # The others come after them, so that all places differ, and keep what is there.
        order = ops.where(chosen, stored, total[:, None] + ops.cumsum(1 - marks, axis=1)) - 1
        start = ops.convert_to_tensor(self.next)
        places = (start[:, None] + order) % self.capacity
        bank = ops.convert_to_tensor(self.vectors)
        old = ops.take_along_axis(bank, places[..., None], axis=1)
        new = ops.where(chosen[..., None], ops.stop_gradient(ops.cast(vectors, "float32")), old)
        rows = ops.zeros_like(places) + ops.arange(self.num_classes, dtype="int32")[:, None]
        indices = ops.reshape(ops.stack([rows, places], axis=-1), (-1, 2))
        self.vectors.assign(ops.scatter_update(bank, indices, ops.reshape(new, (-1, self.channels))))
        self.next.assign((start + total) % self.capacity)
        self.count.assign(ops.minimum(ops.convert_to_tensor(self.count) + total, self.capacity))

    def filled(self):
        """Which places hold a vector: `(C, capacity)` bool."""
        return ops.arange(self.capacity, dtype="int32")[None] < ops.convert_to_tensor(self.count)[:, None]

    def sample(self, number: int):
        """Draws vectors of each class with replacement, alike on all replicas.

        Args:
            number: how many, M.

        Returns:
            vectors: `(C, M, D)` float32.
            counted: `(C, M)` bool, False in classes without any.
        """
        draws = keras.random.uniform((self.num_classes, number), seed=self.seed_generator)
        count = ops.convert_to_tensor(self.count)[:, None]
        vectors = ops.take_along_axis(
            ops.convert_to_tensor(self.vectors), sample_places(count, draws)[..., None], axis=1
        )
        return vectors, ops.logical_and(draws >= 0.0, count > 0)


def _check_size(num_classes, capacity, channels, option, memory):
    each = 4 * num_classes * channels
    size, limit = each * capacity, None if memory is None else int(MEMORY_SHARE * memory)
    if limit is not None and size > limit:
        raise UserError(
            f"memory banks of at most {limit / 1e9:.2f} GB, {MEMORY_SHARE:.0%} of this machine's memory",
            f"{size / 1e9:.2f} GB for {num_classes} classes with {capacity} vectors of {channels} channels",
            f"Lower {option}, e.g. --set {option}={max(1, limit // each)}.",
        )

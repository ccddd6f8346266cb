"""Memories of earlier steps, per class: moving averages, prototypes, banks of vectors."""

import os

import keras
from keras import ops

from rankmatch_keras.backend.replicas import replicas
from rankmatch_keras.errors import UserError
from rankmatch_keras.layers.base import Float32Layer
from rankmatch_keras.layers.pixels import class_maps, unit_length
from rankmatch_keras.layers.sampling import sample_places

UNKNOWN = -1e4  # similarity to a class never seen; its exp is 0
MEMORY_FRACTION = 0.25  # of the machine's memory, for one bank


def mean_vectors(vectors, members):
    """Average the vectors of each class over all replicas, without gradient.

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
    """Average over the pixels of each class and all replicas, without gradient.

    Args:
        value: `(B, H, W)` float.
        label: `(B, H, W)` int; values other than 0 to K - 1 belong to no class.
        valid: `(B, H, W)` bool, False on pixels to leave out.
        num_classes: K.

    Returns:
        means: `(K,)` float32, 0 where the class is absent.
        counts: `(K,)` float32, the number of its pixels.
    """
    value = ops.stop_gradient(ops.cast(value, "float32"))
    belongs = class_maps(label, num_classes, valid)
    counts = replicas().sum(ops.sum(ops.cast(belongs, "float32"), axis=(0, 1, 2)))
    sums = replicas().sum(ops.sum(ops.where(belongs, value[..., None], 0.0), axis=(0, 1, 2)))
    return sums / ops.maximum(counts, 1.0), counts


@keras.saving.register_keras_serializable("rankmatch_keras")
class ClassAverages(Float32Layer):
    """Per-class moving averages, saved with the method.

    Args:
        num_classes: number of classes K.
        momentum: weight of the old average, 0 to 1.
        initial: the averages before the first batch.
        absent: what a batch without the class does: `"keep"` leaves its average, `"zero"` counts as a mean of 0.

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
        """Return the averages, `(K,)` float32."""
        return ops.convert_to_tensor(self.averages)

    def update(self, value, label, valid):
        """Update with one batch; the arguments are those of `class_means`."""
        means, counts = class_means(value, label, valid, self.num_classes)
        moved = self.momentum * self.values() + (1.0 - self.momentum) * means
        if self.absent == "keep":
            moved = ops.where(counts > 0, moved, self.values())
        self.averages.assign(ops.stop_gradient(moved))


@keras.saving.register_keras_serializable("rankmatch_keras")
class ClassPrototypes(Float32Layer):
    """Moving averages of class means, `p = decay * p + (1 - decay) * mean`, starting from the first mean.

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
        """Return which classes were ever seen, `(C,)` bool."""
        return ops.convert_to_tensor(self.seen) > 0

    def update(self, means, present):
        """Update the prototypes of the classes that are present.

        Args:
            means: `(C, D)` float32, equal on all replicas.
            present: `(C,)` bool.
        """
        old, known = ops.convert_to_tensor(self.vectors), self.known()
        keep = ops.where(known, self.decay, 0.0)[:, None]
        moved = keep * old + (1.0 - keep) * ops.stop_gradient(means)
        self.vectors.assign(ops.where(present[:, None], moved, old))
        self.seen.assign(ops.cast(ops.logical_or(known, present), "int32"))

    def similarity(self, vectors, temperature: float):
        """Compute the cosine similarity to each prototype, divided by the temperature.

        Args:
            vectors: `(..., D)` float32.
            temperature: above 0.

        Returns:
            `(..., C)` float32; -10000 for classes never seen.
        """
        prototypes = unit_length(ops.convert_to_tensor(self.vectors))
        cosine = ops.matmul(unit_length(vectors), ops.transpose(prototypes))
        return ops.where(self.known(), cosine / temperature, UNKNOWN)


def machine_memory() -> int | None:
    """Return the machine's memory in bytes, or `None` where the system does not tell."""
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
        option: name of the option that lowers the capacity, for the error.
        memory: bytes of memory, of which the bank may take a quarter; those of the machine by default.
        seed: int or `None`, for `sample`.

    Raises:
        UserError: the bank would take more.
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
        """Store vectors over the oldest ones.

        Args:
            vectors: `(C, P, D)` float, P at most the capacity; equal on all replicas.
            chosen: `(C, P)` bool, those that are stored.
        """
        marks = ops.cast(chosen, "int32")
        stored = ops.cumsum(marks, axis=1)  # (C, P)
        total = stored[:, -1]
        # The others come after them, so that all places differ, and keep their old contents.
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
        """Return which places hold a vector, `(C, capacity)` bool."""
        return ops.arange(self.capacity, dtype="int32")[None] < ops.convert_to_tensor(self.count)[:, None]

    def sample(self, number: int):
        """Sample vectors of each class with replacement, the same on all replicas.

        Args:
            number: vectors per class, M.

        Returns:
            vectors: `(C, M, D)` float32.
            exist: `(C, M)` bool, False in classes without vectors.
        """
        numbers = keras.random.uniform((self.num_classes, number), seed=self.seed_generator)
        count = ops.convert_to_tensor(self.count)[:, None]
        vectors = ops.take_along_axis(
            ops.convert_to_tensor(self.vectors), sample_places(count, numbers)[..., None], axis=1
        )
        return vectors, ops.logical_and(numbers >= 0.0, count > 0)


def _check_size(num_classes, capacity, channels, option, memory):
    each = 4 * num_classes * channels
    size, limit = each * capacity, None if memory is None else int(MEMORY_FRACTION * memory)
    if limit is not None and size > limit:
        raise UserError(
            f"memory banks of at most {limit / 1e9:.2f} GB, {MEMORY_FRACTION:.0%} of this machine's memory",
            f"{size / 1e9:.2f} GB for {num_classes} classes with {capacity} vectors of {channels} channels",
            f"Lower {option}, e.g. --set {option}={max(1, limit // each)}.",
        )

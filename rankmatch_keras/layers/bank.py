"""Memory of the pixels of earlier steps: per class the newest vectors, in tensors whose shapes never change."""

import os

import keras
from keras import ops

from rankmatch_keras.errors import UserError
from rankmatch_keras.layers.base import Float32Layer
from rankmatch_keras.layers.sampling import draw_place

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
        vectors = ops.take_along_axis(ops.convert_to_tensor(self.vectors), draw_place(count, draws)[..., None], axis=1)
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

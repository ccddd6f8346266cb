"""The endless order in which the samples of one list are seen."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.errors import UserError


class SampleOrder:
    """Sample number n of a list that is reshuffled for every pass; a pure function of seed and n.

    Args:
        samples: the list.
        seed: whole numbers that decide the order.
    """

    def __init__(self, samples: Sequence[Sample], seed: tuple[int, ...]):
        self.samples = tuple(samples)
        self.seed = seed
        # Workers ask for neighboring numbers: at most two passes are needed at a time.
        self._order = lru_cache(maxsize=4)(self._permutation)

    def __getitem__(self, n: int) -> Sample:
        """Return sample number n >= 0; every pass of len(samples) numbers holds each sample once."""
        turn, place = divmod(int(n), len(self.samples))
        return self.samples[self._order(turn)[place]]

    def _permutation(self, turn: int) -> np.ndarray:
        return np.random.default_rng((*self.seed, turn)).permutation(len(self.samples))


def require_masks(samples: Sequence[Sample]) -> None:
    """Raise a UserError if there is no labeled sample, or one lacks its mask."""
    if not samples:
        raise UserError("at least one labeled image", "none", "Check the folders or the split.")
    for sample in samples:
        if sample.mask is None:
            raise UserError(
                "a mask for every labeled image",
                f"none for '{sample.image}'",
                "Pass images without masks as unlabeled.",
            )

"""Slices of volumes as samples: which of them are labeled, and which are held out together."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.data.readers.folders import natural_order
from rankmatch_keras.data.readers.slices import slices_of
from rankmatch_keras.data.sets.samples import Sample, seeded_order
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import counted

IGNORED, EMPTY, MISSING = UNLABELED_SLICES = ("ignored", "empty", "missing")

Samples = tuple[Sample, ...]


def labeled_and_unlabeled(samples: Sequence[Sample], which: str = IGNORED) -> tuple[Samples, Samples]:
    """Tell the labeled slices of volumes from those that nobody labeled, by their masks.

    Args:
        samples: the samples. Unless `which` says otherwise, only masks that are pages of a stack are looked at.
        which: what the mask of an unlabeled slice is: "ignored", 255 everywhere; "empty", 255 or class 0 everywhere,
            which may also be a slice with background alone; "missing", it has none.

    Returns:
        The labeled samples, with those whose mask cannot be read, and the others without their masks.

    Raises:
        UserError: none is labeled, or `which` is something else.
    """
    if which not in UNLABELED_SLICES:
        raise UserError(f"unlabeled slices that are {', '.join(UNLABELED_SLICES)}", f"{which!r}", "Choose one of them.")
    nothing = [IGNORE_INDEX, 0] if which == EMPTY else [IGNORE_INDEX]

    def is_unlabeled(sample: Sample) -> bool:
        if sample.mask is None:
            return which == MISSING
        if which != EMPTY and getattr(sample.mask, "page", None) is None:
            return False
        try:
            mask = sample.read_mask()
        except UserError:  # the check names it
            return False
        return bool(np.isin(mask, nothing).all())

    with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as executor:
        bare = list(executor.map(is_unlabeled, samples))
    if samples and all(bare):
        raise UserError(
            "a labeled slice",
            f"{counted(len(samples), 'slice')}, all {which}: the first is {samples[0].mask or samples[0].image}",
            "Label some, or leave out --unlabeled-slices.",
        )
    labeled = tuple(sample for sample, is_bare in zip(samples, bare, strict=True) if not is_bare)
    others = (sample for sample, is_bare in zip(samples, bare, strict=True) if is_bare)
    return labeled, tuple(Sample(sample.name, sample.image) for sample in others)


def are_slices(samples: Sequence[Sample]) -> bool:
    """Return whether all images are known to be slices of volumes: pages of stacks, or read with their neighbors."""
    return all(getattr(sample.image, "page", None) is not None or slices_of(sample.image) > 1 for sample in samples)


def block(names: Sequence[str], count: int, seed: int) -> set[str]:
    """Choose `count` neighbors in natural order; the seed decides where they begin."""
    start = int(seeded_order(map(str, range(len(names) - count + 1)), seed)[0])
    return set(natural_order(names)[start : start + count])

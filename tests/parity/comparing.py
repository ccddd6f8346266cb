"""Comparison of what two backends computed, by `step/kind/name` in the order of computation."""

from collections.abc import Iterator, Mapping

import numpy as np

TOLERANCE = 1e-4

# A tensor's largest difference is divided by its largest magnitude, but by no less than this share of the largest in
# the whole network: some gradients are zeros of exact arithmetic, as that of a shift which the next normalization takes
# away, so that nothing but rounding is left of them. What this hides is below 1e-6 of the largest gradient. A move of a
# weight is rounded to the weight's own precision, however small it is, and divided by the largest move.
LEAST_SCALE = {"gradients": 1e-2, "velocities": 1e-2, "moves of the weights": 1.0}

Arrays = Mapping[str, np.ndarray]


def differences(first: Arrays, second: Arrays) -> Iterator[tuple[str, float]]:
    """Yields each tensor's name and its relative difference; infinite where the two have not the same shape."""
    scale = scales(first)
    for name in [*first, *(name for name in second if name not in first)]:
        if not _comparable(name, first, second):
            yield name, np.inf
            continue
        gap = _gaps(name, first, second).max(initial=0.0)
        yield name, gap / scale[name] if scale[name] else gap


def first_difference(first: Arrays, second: Arrays, labels: tuple[str, str]) -> str | None:
    """Says which tensor is the first to differ by more than the tolerance, and how; `None` where all agree."""
    for name, difference in differences(first, second):
        if not difference <= TOLERANCE:  # nor where it is no number
            one, other = _seen(name, first, second)
            seen = f"{labels[0]} has {one}, {labels[1]} has {other}"
            return f"{name} differs by {difference:.1e}, more than {TOLERANCE:.0e}: {seen}"
    return None


def scales(arrays: Arrays) -> dict[str, float]:
    """What the differences of each tensor are divided by."""
    own = {name: float(np.abs(np.float64(array)).max(initial=0.0)) for name, array in arrays.items()}
    largest: dict[str, float] = {}
    for name, value in own.items():
        largest[kind_of(name)] = max(largest.get(kind_of(name), 0.0), value)
    return {
        name: max(value, LEAST_SCALE.get(kind_of(name), 0.0) * largest[kind_of(name)]) for name, value in own.items()
    }


def kind_of(name: str) -> str:
    """The kind of a tensor by its name."""
    return name.split("/")[1]


def _comparable(name, first, second):
    return name in first and name in second and first[name].shape == second[name].shape


def _gaps(name, first, second):
    return np.abs(np.float64(first[name]) - np.float64(second[name]))


def _seen(name, first, second):
    """Of both, the value where they are furthest apart, or the shape."""
    if not _comparable(name, first, second):
        return [f"shape {arrays[name].shape}" if name in arrays else "no such tensor" for arrays in (first, second)]
    gaps = _gaps(name, first, second)
    place = np.unravel_index(np.argmax(gaps), gaps.shape)
    return [f"{arrays[name][place]:.9g} at {[int(i) for i in place]}" for arrays in (first, second)]

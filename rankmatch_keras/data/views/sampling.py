"""The random numbers of an example, sampled once in NumPy: both pipelines take them from here.

Everything random about an example is a function of the run's seed, the stream, the example's number and its image's
size. No generator advances from one example to the next, so that the numbers depend neither on how many examples are
made in parallel nor on where a run started.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from rankmatch_keras.data.views.policies import Policy, StrongFactors, unchanging

# Keys of the random streams. SECOND_VIEW is a second look at the unlabeled images.
LABELED, UNLABELED, SECOND_VIEW = 1, 2, 3
# Keys within an example; strong views and boxes count from 1.
_GEOMETRY, _STRONG, _BOX = 0, 0, 10

# A candidate fits about one time in three, so that 64 of them fail together about once in 10^11 boxes.
CANDIDATES = 64


class WeakGeometry(NamedTuple):
    """Where a weak view lies.

    The image is resized to `height` x `width`, padded right and bottom where that is smaller than the crop,
    cut from row `top` and column `left`, and mirrored where `flip`.
    """

    height: int
    width: int
    top: int
    left: int
    flip: bool


class Context(NamedTuple):
    """Which part of an image at its own size surrounds a weak view, and where the view lies in it.

    The part is cut from row `top` and column `left`, and padded right and bottom where the image is smaller.
    """

    top: int
    left: int
    rows: np.ndarray  # float32 (crop height,), the place of each row of the view, in pixels of the part
    columns: np.ndarray  # float32 (crop width,)


class ViewFactors(NamedTuple):
    """Everything random about one weak view and the strong views made from it."""

    geometry: WeakGeometry
    strong: tuple[StrongFactors, ...]


class ExampleFactors(NamedTuple):
    """Everything random about one example."""

    view: ViewFactors
    cutmix_boxes: tuple[np.ndarray, ...]  # int32 (4,), one per strong view
    second_view: tuple[ViewFactors, ...]  # one or none
    context: tuple[Context, ...] = ()  # one or none


@dataclass(frozen=True)
class ViewSettings:
    """Ranges of the random numbers.

    Attributes:
        seed: decides everything random, >= 0.
        crop: height and width of the views.
        scale: range of the random resize.
        policy: how strong views are made.
        strong_views: strong views per unlabeled image.
        second_view: whether the unlabeled images are looked at a second time.
        strong_labeled: whether every second labeled view is made a strong one.
        context: height and width of the part of each unlabeled image that surrounds its view, or `None` for none.
    """

    seed: int
    crop: tuple[int, int]
    scale: tuple[float, float]
    policy: Policy
    strong_views: int
    second_view: bool
    strong_labeled: bool = False
    context: tuple[int, int] | None = None


def sample_example(settings: ViewSettings, labeled: bool, number: int, size: tuple[int, int]) -> ExampleFactors:
    """Sample everything random about one example.

    Args:
        settings: ranges and seed.
        labeled: whether it is an example of the labeled stream, which has one view: a weak one, or, with
            `strong_labeled`, a strong one where its number is odd.
        number: number of the example in its stream.
        size: height and width of the image.
    """
    if labeled:
        # Weak ones get factors that change nothing: a graph has the same ones for all examples.
        policy = settings.policy if number % 2 else unchanging(settings.policy)
        views = int(settings.strong_labeled)
        return ExampleFactors(_sample_view(settings, LABELED, number, size, views, policy), (), ())
    strong = settings.strong_views
    rngs = [generator(settings.seed, UNLABELED, number, _BOX + k) for k in range(1, strong + 1)]
    view = _sample_view(settings, UNLABELED, number, size, strong)
    return ExampleFactors(
        view,
        tuple(sample_box(rng, settings.crop) for rng in rngs),
        (_sample_view(settings, SECOND_VIEW, number, size, strong),) if settings.second_view else (),
        (context_of(view.geometry, size, settings.crop, settings.context),) if settings.context else (),
    )


def _sample_view(
    settings: ViewSettings,
    stream: int,
    number: int,
    size: tuple[int, int],
    strong_views: int,
    policy: Policy | None = None,
) -> ViewFactors:
    rngs = [generator(settings.seed, stream, number, _STRONG + k) for k in range(1, strong_views + 1)]
    rng = generator(settings.seed, stream, number, _GEOMETRY)
    geometry = sample_geometry(rng, size, settings.crop, settings.scale)
    return ViewFactors(geometry, tuple((policy or settings.policy).sample(rng) for rng in rngs))


def generator(seed: int, stream: int, number: int, view: int) -> np.random.Generator:
    """Return the generator of one view of one example.

    Args:
        seed: seed of the run, >= 0.
        stream: key of the stream.
        number: number of the example.
        view: key of the view or box within the example.
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, stream, number, view))))


def sample_geometry(
    rng: np.random.Generator, size: tuple[int, int], crop: tuple[int, int], scale: tuple[float, float] = (0.5, 2.0)
) -> WeakGeometry:
    """Sample the geometry of one weak view.

    Args:
        rng: the view's generator.
        size: height and width of the image.
        crop: height and width of the view.
        scale: the long side becomes a whole number of pixels, uniform between these multiples of it.
    """
    long = max(size)
    new_long = max(1, int(rng.integers(int(long * scale[0]), int(long * scale[1]), endpoint=True)))
    # Rounded in whole numbers: half a pixel goes up.
    height, width = (max(1, (2 * side * new_long + long) // (2 * long)) for side in size)
    top = int(rng.integers(max(height - crop[0], 0), endpoint=True))
    left = int(rng.integers(max(width - crop[1], 0), endpoint=True))
    return WeakGeometry(height, width, top, left, bool(rng.random() < 0.5))


def context_of(
    geometry: WeakGeometry, size: tuple[int, int], crop: tuple[int, int], context: tuple[int, int]
) -> Context:
    """Place the part of an image that surrounds a weak view: the view in its middle, as far as the image reaches.

    Args:
        geometry: of the view.
        size: height and width of the image.
        crop: height and width of the view.
        context: height and width of the part.
    """
    rows = _places(geometry.top, crop[0], geometry.height, size[0])
    columns = _places(geometry.left, crop[1], geometry.width, size[1])
    if geometry.flip:
        columns = columns[::-1]
    top, left = (
        int(np.clip(round((places.min() + places.max() - length + 1) / 2), 0, max(0, whole - length)))
        for places, whole, length in zip((rows, columns), size, context, strict=True)
    )
    return Context(top, left, (rows - top).astype(np.float32), (columns - left).astype(np.float32))


def _places(start: int, length: int, new: int, old: int) -> np.ndarray:
    """Return where pixels from `start` on of an axis resized from `old` to `new` pixels lie on it before, float64."""
    return np.clip((np.arange(length) + start + 0.5) * old / new - 0.5, 0, old - 1)


def sample_box(
    rng: np.random.Generator,
    size: tuple[int, int],
    probability: float = 0.5,
    area: tuple[float, float] = (0.02, 0.4),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
) -> np.ndarray:
    """Sample one CutMix box (Yang et al., Revisiting Weak-to-Strong Consistency, CVPR 2023).

    Area and aspect ratio are uniform, the corner is uniform over the view, and all of them are sampled again
    until the box fits: the first of a fixed number of candidates that does is taken.

    Args:
        rng: the box's generator.
        size: height and width of the view.
        probability: how often there is a box.
        area: range of the box's fraction of the view.
        aspect: range of height / width.

    Returns:
        int32 (4,): y0, x0, y1, x1 with 0 <= y0 <= y1 <= height; all zero (nothing is mixed) otherwise.
    """
    wanted = rng.random() < probability
    areas = rng.uniform(*area, CANDIDATES) * size[0] * size[1]
    ratios = rng.uniform(*aspect, CANDIDATES)
    # (CANDIDATES, 2) each.
    corners = rng.integers(0, size, (CANDIDATES, 2))
    ends = corners + np.stack([np.sqrt(areas * ratios), np.sqrt(areas / ratios)], axis=1).astype(np.int64)
    fits = (ends <= size).all(axis=1)
    if not (wanted and fits.any()):
        return np.zeros(4, np.int32)
    first = fits.argmax()
    return np.concatenate([corners[first], ends[first]]).astype(np.int32)

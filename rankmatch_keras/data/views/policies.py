"""Strong-view policies: what a strong view may change in an image, and the sampling of its factors.

8-bit color images follow one of the named `POLICIES`; all other images have `ChannelJitter`. The distributions are
those of torchvision and PIL, which the papers use: brightness and contrast multiply, contrast blends with the mean
gray, saturation blends with the gray image.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from rankmatch_keras.errors import UserError

if TYPE_CHECKING:  # the options read the policies' names, and help must print at once
    import numpy as np

# Operations of one view at most.
MOST_OPERATIONS = 3
OPERATIONS = (
    "identity",
    "autocontrast",
    "equalize",
    "blur",
    "contrast",
    "brightness",
    "saturation",
    "sharpness",
    "posterize",
    "solarize",
    "hue",
)


class JitterFactors(NamedTuple):
    """Everything random about one strong view of `ColorJitter`."""

    jitter: bool  # whether the colors are jittered
    order: tuple[int, ...]  # a permutation of 0 brightness, 1 contrast, 2 saturation, 3 hue
    brightness: float
    contrast: float
    saturation: float
    hue: float  # fraction of the color circle
    gray: bool
    blur: bool
    sigma: float  # pixels


class ChannelFactors(NamedTuple):
    """Everything random about one strong view of `ChannelJitter`."""

    jitter: bool  # whether the channels are jittered
    contrast_first: bool
    brightness: np.ndarray  # float32 (C,)
    contrast: np.ndarray  # float32 (C,)
    blur: bool
    sigma: float  # pixels


class OperationFactors(NamedTuple):
    """Everything random about one strong view of `RandomOperations`."""

    number: int  # how many of the following are applied
    operations: tuple[int, ...]  # three positions in OPERATIONS
    strengths: tuple[float, ...]  # one number for each, in the units of its operation


StrongFactors = JitterFactors | ChannelFactors | OperationFactors


@dataclass(frozen=True)
class ColorJitter:
    """Color jitter, gray and blur (Yang et al., Revisiting Weak-to-Strong Consistency, CVPR 2023).

    Attributes:
        brightness: factor uniform in 1 -+ this.
        contrast: factor uniform in 1 -+ this.
        saturation: factor uniform in 1 -+ this.
        hue: shift uniform in -+ this fraction of the color circle, at most 0.5.
        jitter_probability: how often the four are applied, in random order.
        gray_probability: how often the image becomes gray.
        blur_probability: how often it is blurred.
        sigma: range of the blur's standard deviation in pixels, at most 2.
    """

    brightness: float = 0.5
    contrast: float = 0.5
    saturation: float = 0.5
    hue: float = 0.25
    jitter_probability: float = 0.8
    gray_probability: float = 0.2
    blur_probability: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)

    def sample(self, rng: np.random.Generator) -> JitterFactors:
        """Sample the factors of one view."""
        return JitterFactors(
            jitter=rng.random() < self.jitter_probability,
            order=tuple(rng.permutation(4).tolist()),
            brightness=rng.uniform(1 - self.brightness, 1 + self.brightness),
            contrast=rng.uniform(1 - self.contrast, 1 + self.contrast),
            saturation=rng.uniform(1 - self.saturation, 1 + self.saturation),
            hue=rng.uniform(-self.hue, self.hue),
            gray=rng.random() < self.gray_probability,
            blur=rng.random() < self.blur_probability,
            sigma=rng.uniform(*self.sigma),
        )


@dataclass(frozen=True)
class ChannelJitter:
    """Brightness and contrast per channel, and blur, for images of any number of channels.

    Hue, saturation and gray have no meaning for electron microscopy, infrared bands or 16-bit counts. What the color
    jitter does to single channels remains, with separate factors for every channel; for one channel it is the papers'
    jitter of a gray image.

    Attributes:
        channels: number of channels C.
        bounded: whether values are 0..255 and stay there; otherwise they have no bounds.
        brightness: every channel is multiplied by a factor uniform in 1 -+ this.
        contrast: every channel's distance from its mean is multiplied by a factor uniform in 1 -+ this.
        jitter_probability: how often the two are applied, in random order.
        blur_probability: how often the image is blurred.
        sigma: range of the blur's standard deviation in pixels, at most 2.
    """

    channels: int
    bounded: bool
    brightness: float = 0.5
    contrast: float = 0.5
    jitter_probability: float = 0.8
    blur_probability: float = 0.5
    sigma: tuple[float, float] = (0.1, 2.0)

    def sample(self, rng: np.random.Generator) -> ChannelFactors:
        """Sample the factors of one view."""
        return ChannelFactors(
            jitter=rng.random() < self.jitter_probability,
            contrast_first=rng.random() < 0.5,
            brightness=rng.uniform(1 - self.brightness, 1 + self.brightness, self.channels).astype("float32"),
            contrast=rng.uniform(1 - self.contrast, 1 + self.contrast, self.channels).astype("float32"),
            blur=rng.random() < self.blur_probability,
            sigma=rng.uniform(*self.sigma),
        )


@dataclass(frozen=True)
class RandomOperations:
    """A random number of intensity operations, sampled with replacement (Zhao et al., AugSeg, CVPR 2023).

    Attributes:
        least: smallest number of operations, at least 0.
        most: largest number of operations, at most 3.
    """

    least: int = 1
    most: int = MOST_OPERATIONS

    def sample(self, rng: np.random.Generator) -> OperationFactors:
        """Sample the factors of one view."""
        number = int(rng.integers(self.least, self.most + 1))
        operations = tuple(rng.integers(0, len(OPERATIONS), MOST_OPERATIONS).tolist())
        magnitudes = rng.random(MOST_OPERATIONS).tolist()
        strengths = (strength(OPERATIONS[each], m) for each, m in zip(operations, magnitudes, strict=True))
        return OperationFactors(number, operations, tuple(strengths))


def strength(operation: str, magnitude: float) -> float:
    """Map a magnitude uniform in [0, 1) to the number that an operation takes; its meaning is PIL's.

    Returns:
        "blur": sigma in pixels; "contrast", "brightness", "saturation", "sharpness": the enhancement factor;
        "posterize": the distance between levels; "solarize": the threshold; "hue": the fraction of the color circle;
        0 for an operation that takes no number.
    """
    match operation:
        case "blur":
            return 0.1 + 1.9 * magnitude
        case "contrast" | "brightness" | "saturation" | "sharpness":
            return 0.05 + 0.9 * magnitude
        case "posterize":  # keeps 4 to 7 bits
            return float(2 ** (4 - int(4 * magnitude)))
        case "solarize":
            return 1 + 255 * magnitude
        case "hue":
            return magnitude - 0.5
    return 0.0


Policy = ColorJitter | ChannelJitter | RandomOperations

POLICIES: dict[str, ColorJitter | RandomOperations] = {
    # Strong views differ from weak ones by their boxes alone.
    "none": ColorJitter(jitter_probability=0.0, gray_probability=0.0, blur_probability=0.0),
    # UniMatch.
    "jitter": ColorJitter(),
    # CutMix-Seg (French et al., BMVC 2020).
    "light_jitter": ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, blur_probability=0.0),
    # ReCo and those that build on it: CSS, Dual Teacher.
    "soft_jitter": ColorJitter(
        brightness=0.25, contrast=0.25, saturation=0.25, hue=0.25, gray_probability=0.0, sigma=(0.15, 1.15)
    ),
    # AugSeg.
    "intensity": RandomOperations(1, 3),
    # iMAS.
    "two_intensities": RandomOperations(2, 2),
}


def unchanging(policy: Policy) -> Policy:
    """Return a policy with the same kind of factors, which change nothing."""
    if isinstance(policy, RandomOperations):
        return RandomOperations(0, 0)
    if isinstance(policy, ColorJitter):
        return dataclasses.replace(policy, jitter_probability=0.0, gray_probability=0.0, blur_probability=0.0)
    return dataclasses.replace(policy, jitter_probability=0.0, blur_probability=0.0)


def require_policy(name: str) -> None:
    """Raise a UserError if there is no policy of that name."""
    if name not in POLICIES:
        raise UserError(f"strong views of {', '.join(POLICIES)}", f"{name!r}", "Choose one of them.")


def strong_policy(
    name: str, channels: int, dtype: str, hue: float | None = None, in_color: bool | None = None
) -> Policy:
    """Return the policy for images of a format.

    Args:
        name: which of `POLICIES` 8-bit color images follow. Other images have `ChannelJitter`, or nothing
            with "none".
        channels: number of channels of the images.
        dtype: "uint8" or "float32".
        hue: shift of hue of a color jitter in place of the policy's own.
        in_color: whether these are 8-bit color images; None: if they have three channels of 8 bits.
    """
    policy = POLICIES[name]
    if in_color or (in_color is None and channels == 3 and dtype == "uint8"):
        return policy if hue is None or not isinstance(policy, ColorJitter) else dataclasses.replace(policy, hue=hue)
    if name == "none":
        return ChannelJitter(channels, bounded=dtype == "uint8", jitter_probability=0.0, blur_probability=0.0)
    return ChannelJitter(channels, bounded=dtype == "uint8")

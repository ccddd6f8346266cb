"""How strong views of 8-bit colour images are made, by name; other images have one way of their own."""

from typing import Any

from rankmatch_keras.errors import UserError

# Arguments of the colour jitter, grey and blur that differ from UniMatch's.
JITTERS: dict[str, dict[str, Any]] = {
    "jitter": {},
    # CutMix-Seg (French et al., BMVC 2020).
    "light_jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "blur_probability": 0.0},
    # ReCo and those that build on it: CSS, Dual Teacher.
    "soft_jitter": {
        "brightness": 0.25,
        "contrast": 0.25,
        "saturation": 0.25,
        "hue": 0.25,
        "grey_probability": 0.0,
        "sigma": (0.15, 1.15),
    },
}
# Least and largest number of random intensity operations: AugSeg's, iMAS'.
INTENSITIES: dict[str, tuple[int, int]] = {"intensity": (1, 3), "two_intensities": (2, 2)}
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
POLICIES = (*JITTERS, *INTENSITIES)


def require_policy(name: str) -> None:
    """Raise a UserError where there is no policy of that name."""
    if name not in POLICIES:
        raise UserError(f"strong views of {', '.join(POLICIES)}", f"{name!r}", "Choose one of them.")

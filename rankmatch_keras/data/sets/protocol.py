"""Evaluation protocol: mode, crop, flip and scales, as a record that travels with every score."""

from dataclasses import dataclass, replace
from typing import Any

from rankmatch_keras.errors import UserError

MODES = ("whole", "center_crop", "sliding_window")
BORDERS = ("clip", "shift")


@dataclass(frozen=True)
class Protocol:
    """Rules for showing images to the network when scores are measured.

    Attributes:
        mode: "whole": the image at its own size; "center_crop": only the central `crop` x `crop` pixels are predicted
            and scored; "sliding_window": overlapping windows whose probabilities are summed.
        crop: side of the window or center crop in pixels; None with "whole".
        border: windows at the bottom and right border are cut off ("clip", as in UniMatch) or moved back inside
            ("shift", as in U2PL). Only with "sliding_window".
        flip: whether probabilities of the mirrored image are added.
        scales: the image is shown at these multiples of its size; probabilities are summed.

    Raises:
        UserError: mode or border is unknown; the crop is missing, not positive or given with "whole"; there are no
            scales, or not all are positive.
    """

    mode: str = "whole"
    crop: int | None = None
    border: str = "clip"
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    def __post_init__(self):
        if self.mode not in MODES:
            raise UserError(f"an evaluation mode of {', '.join(MODES)}", f"{self.mode!r}", "Choose one of them.")
        if self.border not in BORDERS:
            raise UserError("border 'clip' or 'shift'", f"{self.border!r}", "Choose one of them.")
        if (self.mode == "whole") != (self.crop is None) or (self.crop is not None and self.crop < 1):
            raise UserError(
                "a crop of at least 1 pixel with center_crop and sliding_window, none with whole",
                f"crop {self.crop} with {self.mode}",
                "Give the crop that the mode needs.",
            )
        object.__setattr__(self, "scales", tuple(float(scale) for scale in self.scales))
        if not self.scales or min(self.scales) <= 0:
            raise UserError("scales above 0", f"{self.scales}", "Give e.g. 0.75, 1.0, 1.25.")

    def changed(
        self,
        mode: str | None = None,
        crop: int | None = None,
        border: str | None = None,
        flip: bool = False,
        scales: str | None = None,
        training_crop: int | None = None,
    ) -> "Protocol":
        """Return this protocol with what a person asks for in place.

        Args:
            mode: evaluation mode; `None`: as it is, and so for the others.
            crop: side of window or center crop in pixels.
            border: "clip" or "shift".
            flip: whether to add mirrored images.
            scales: numbers separated by commas.
            training_crop: side for a mode that needs a crop where neither the person nor this protocol gives one.

        Raises:
            UserError: the values contradict each other, or `scales` is something else.
        """
        changes: dict[str, Any] = {"flip": True} if flip else {}
        if mode is not None:
            changes["mode"] = mode
        if crop is not None:
            changes["crop"] = crop
        elif mode is not None:
            changes["crop"] = None if mode == "whole" else self.crop or training_crop
        if border is not None:
            changes["border"] = border
        if scales is not None:
            changes["scales"] = read_scales(scales)
        return replace(self, **changes)

    def __str__(self) -> str:
        """Return one phrase for tables, e.g. `sliding_window, crop 801, border clip, flip`."""
        facts = [self.mode]
        if self.crop is not None:
            facts.append(f"crop {self.crop}")
        if self.mode == "sliding_window":
            facts.append(f"border {self.border}")
        if self.flip:
            facts.append("flip")
        if self.scales != (1.0,):
            facts.append("scales " + "/".join(f"{scale:g}" for scale in self.scales))
        return ", ".join(facts)


def read_scales(text: str) -> tuple[float, ...]:
    """Read scales: `"0.75, 1"` -> `(0.75, 1.0)`.

    Raises:
        UserError: these are no numbers.
    """
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise UserError("scales as numbers separated by commas", f"{text!r}", "Give e.g. 0.75,1,1.25.") from error

"""Class names: as a person asks for them, and as masks have them."""

from collections.abc import Sequence

from rankmatch_keras.data.masks.legends import Color
from rankmatch_keras.errors import UserError

Classes = int | Sequence[str] | None
Names = tuple[str, ...] | None
BINARY = ("background", "foreground")


def requested(classes: Classes) -> tuple[Names, int | None]:
    """Return names and number of the classes, as far as they are given.

    Raises:
        UserError: the classes are neither None, a number nor a list of different names.
    """
    if classes is None:
        return None, None
    if isinstance(classes, int) and not isinstance(classes, bool) and 2 <= classes <= 255:
        return None, classes
    if isinstance(classes, (list, tuple)) and all(isinstance(name, str) and name.strip() for name in classes):
        if 2 <= len(classes) <= 255 and len(set(classes)) == len(classes):
            return tuple(classes), len(classes)
    raise UserError("2 to 255 class names, each once", f"{classes!r}", "Name every class, the background included.")


def require_requested(names: Names, count: int | None, found: tuple[str, ...], where: str) -> tuple[str, ...]:
    """Return the names found in the masks or the legend, if they are those, or as many, as asked for.

    Raises:
        UserError: they are not.
    """
    if names in (None, found) and count in (None, len(found)):
        return found
    asked = f"the classes {', '.join(names)}" if names else f"{count} classes"
    shown = ", ".join(found[:20]) + (", ..." if len(found) > 20 else "")
    raise UserError(asked, f"{len(found)} {where}: {shown}", "Correct the classes, or leave them out.")


def numbered(count: int) -> tuple[str, ...]:
    """Return the names of classes that have none."""
    return tuple(f"class {n}" for n in range(count))


def hexadecimal(colors: Sequence[Color]) -> tuple[str, ...]:
    """Return the names of classes that are colors, such as "#804080"."""
    return tuple(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in colors)

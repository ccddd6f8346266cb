"""Class names: as a person asks for them, as a file lists them, and as masks have them."""

import csv
from collections.abc import Sequence
from pathlib import Path

from rankmatch_keras.data.masks.legends import Color
from rankmatch_keras.data.readers.archives import is_file
from rankmatch_keras.data.readers.guards import printable, read_text, reading
from rankmatch_keras.errors import UserError

Classes = int | Sequence[str] | None
Names = tuple[str, ...] | None
BINARY = ("background", "foreground")
NAMES_FILE = "_classes.csv"  # beside the masks that Roboflow exports
_HEADER = ["pixel value", "class"]


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


def read_names(path: str | Path) -> tuple[str, ...]:
    """Read class names from a text file: one per line, in the order of their ids.

    Args:
        path: the file; empty lines are skipped. With the first line `Pixel Value, Class` the others say which id each
            class has, as in Roboflow's `_classes.csv`.

    Raises:
        UserError: the file is no text or longer than a megabyte, or the ids are not 0, 1, 2, ...
    """
    table = _table(path)
    if table is None:
        lines = read_text(path, "class names, one per line").splitlines()
        return tuple(line.strip() for line in lines if line.strip())
    names = {row[0]: ", ".join(row[1:]) for row in table}
    if len(names) < len(table) or set(names) != {str(n) for n in range(len(names))}:
        found = f"{', '.join(row[0] for row in table)[:80]} in '{printable(path)}'"
        raise UserError("the ids 0, 1, 2, ... each once", found, "Correct the file, or name the classes yourself.")
    return tuple(names[str(n)] for n in range(len(names)))


def names_beside(folder: Path) -> Path | None:
    """Return the file in a folder of masks that names their classes; None if there is none."""
    path = folder / NAMES_FILE
    return path if is_file(path) and _table(path) is not None else None


def _table(path: str | Path) -> list[list[str]] | None:
    """Return the rows below the header of a table of ids and names; None where there is no such header."""
    text = read_text(path, "class names, one per line")
    with reading(path, "class names, one per line"):
        rows = [[field.strip() for field in row] for row in csv.reader(text.splitlines()) if row]
    return rows[1:] if rows and [field.lower() for field in rows[0]] == _HEADER else None


def numbered(count: int) -> tuple[str, ...]:
    """Return the names of classes that have none."""
    return tuple(f"class {n}" for n in range(count))


def hexadecimal(colors: Sequence[Color]) -> tuple[str, ...]:
    """Return the names of classes that are colors, such as "#804080"."""
    return tuple(f"#{red:02x}{green:02x}{blue:02x}" for red, green, blue in colors)

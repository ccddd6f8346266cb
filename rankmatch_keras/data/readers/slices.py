"""Slices of a volume with their neighbors: more channels for a network that looks at one slice at a time."""

from collections.abc import Mapping
from pathlib import Path

from rankmatch_keras.data.readers.folders import Picture, natural_order
from rankmatch_keras.data.readers.sources import ImageFile
from rankmatch_keras.errors import UserError

MOST = 10  # neighbors on each side


def image_files(pictures: Mapping[str, Picture], channels: int | None, context: int = 0) -> dict[str, ImageFile]:
    """Make the source of each picture.

    Args:
        pictures: pictures by name. The pages of a stack are the slices of a volume, and so are the files of a folder,
            those of its subfolders apart, in the order of their names: `slice_2` comes before `slice_10`.
        channels: of each slice, see `ImageFile`.
        context: how many neighbors on each side are read as further channels, from the lowest to the highest; at the
            ends of a volume its last slice is repeated.

    Raises:
        UserError: the context is no number from 0 to 10.
    """
    if not isinstance(context, int) or not 0 <= context <= MOST:
        raise UserError(f"a context of 0 to {MOST} slices", f"{context!r}", "Correct it.")
    if not context:
        return {name: ImageFile(*picture, channels) for name, picture in pictures.items()}
    volumes: dict[Path, list[str]] = {}
    for name in natural_order(pictures):
        volumes.setdefault(volume_of(pictures[name]), []).append(name)
    found = {}
    for names in volumes.values():
        for place, name in enumerate(names):
            near = (min(max(0, place + step), len(names) - 1) for step in range(-context, context + 1))
            slices = tuple((pictures[names[each]].path, pictures[names[each]].page) for each in near)
            found[name] = ImageFile(*pictures[name], channels, slices)
    return {name: found[name] for name in pictures}


def volume_of(picture: Picture | ImageFile) -> Path:
    """Return where a slice's volume lies: its stack, or the folder of its file."""
    return picture.path.parent if picture.page is None else picture.path


def stack_of(source: object) -> Path | None:
    """Return the volume of an image that is known to be a slice, a page or read with its neighbors; None otherwise."""
    if isinstance(source, ImageFile) and (source.page is not None or slices_of(source) > 1):
        return volume_of(source)
    return None


def slices_of(source: object) -> int:
    """Return how many slices the channels of an image are; 1 for any image without context."""
    return max(1, len(getattr(source, "slices", ())))

"""What a COCO-style JSON file must hold, and COCO's text of run lengths."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from rankmatch_keras.data.masks.shapes import FIRST, Points, Record, Side


def unpacked(text: Any) -> Any:
    """Unpack COCO's text: 5 bits and a continuation bit per character; from the third on, differences to two before.

    Anything but text is returned as it is.
    """
    if not isinstance(text, str):
        return text
    counts: list[int] = []
    number = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > 35:
            raise ValueError(f"run lengths with {character!r}")
        number |= (code & 31) << shift
        shift += 5
        if not code & 32:
            if code & 16:
                number -= 1 << shift
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number = shift = 0
    if shift:
        raise ValueError("run lengths that are cut off")
    return counts


class ImageRecord(Record):
    """An image: its path below the folder of images, and its size in pixels."""

    id: int
    file_name: str
    height: Side
    width: Side


class CategoryRecord(Record):
    """A category, which may be part of another."""

    id: int
    name: str
    supercategory: str | None = None


class AnnotationRecord(Record):
    """An object or region of an image."""

    image_id: int
    category_id: int
    iscrowd: int | bool | None = 0
    # Checked when a mask is drawn, so that one of a kind that is not read costs one image.
    segmentation: Any = None


class FileRecord(Record):
    """The whole file."""

    images: Annotated[list[ImageRecord], FIRST]
    categories: Annotated[list[CategoryRecord], FIRST]
    annotations: Annotated[list[AnnotationRecord], FIRST]


class Polygons(Record):
    """An outline as polygons [x, y, x, y, ...]."""

    polygons: Annotated[list[Points], FIRST]


class Runs(Record):
    """An outline as run lengths down the columns, of a picture of `size` [height, width]."""

    size: Annotated[list[int], FIRST]
    counts: Annotated[list[Annotated[int, Field(ge=0)]], FIRST, BeforeValidator(unpacked)]

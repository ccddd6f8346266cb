"""What a JSON export of Label Studio must hold."""

from typing import Annotated, Any

from pydantic import BeforeValidator, RootModel

from rankmatch_keras.data.masks.shapes import FIRST, Coordinate, Points, Record, Side


def _bytes(numbers: Any) -> Any:
    """Return a list of bytes as such; anything else as it is."""
    try:
        return bytes(numbers) if isinstance(numbers, list) else numbers
    except (TypeError, ValueError):
        raise ValueError("run lengths that are no bytes") from None


Labels = Annotated[list[str], FIRST]


class Value(Record):
    """The shape of a result, in percent of the image, and its labels."""

    points: Points = []
    x: Coordinate | None = None
    y: Coordinate | None = None
    width: Coordinate | None = None
    height: Coordinate | None = None
    radiusX: Coordinate | None = None
    radiusY: Coordinate | None = None
    rotation: Coordinate | None = None
    rle: Annotated[bytes | None, BeforeValidator(_bytes)] = None
    polygonlabels: Labels = []
    rectanglelabels: Labels = []
    ellipselabels: Labels = []
    brushlabels: Labels = []
    labels: Labels = []

    @property
    def label(self) -> str | None:
        """Its first label."""
        kinds = (self.polygonlabels, self.rectanglelabels, self.ellipselabels, self.brushlabels, self.labels)
        return next((labels[0] for labels in kinds if labels), None)

    @property
    def is_region(self) -> bool:
        """Whether it says which pixels it covers."""
        return bool(self.points) or any(part is not None for part in (self.rle, self.radiusX, self.height))


class ResultRecord(Record):
    """What was drawn in one piece, or said of the image."""

    type: str
    value: Any = None
    original_width: Side | None = None
    original_height: Side | None = None
    image_rotation: Coordinate | None = None


class AnnotationRecord(Record):
    """The work of one person on a task."""

    result: Annotated[list[ResultRecord], FIRST]
    was_cancelled: bool | None = False
    ground_truth: bool | None = False


class TaskRecord(Record):
    """An image, by the data that it was imported with."""

    id: int
    data: dict[str, Any]
    annotations: Annotated[list[AnnotationRecord], FIRST]


class FileRecord(RootModel):
    """The whole file."""

    root: Annotated[list[TaskRecord], FIRST]

"""What a data set is made of: samples, and lists of them with their class names."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One image on disk and, where there is one, its mask.

    Attributes:
        name: what identifies the sample within its data set, whatever folder the set lies in.
        image: path of the image file.
        mask: path of the mask file (class ids, 255 = ignore), or None for an unlabelled image.
    """

    name: str
    image: Path
    mask: Path | None = None


@dataclass(frozen=True)
class SegmentationData:
    """A data set as lists of samples.

    Attributes:
        name: name of the data set, as printed with scores.
        train: samples with masks, from which the labelled ones are chosen.
        val: samples with masks that are never trained on.
        class_names: name of class 0, 1, ...; masks hold these ids and 255 (ignore).
        unlabeled: further training images without masks.
        test: samples with masks of a separate test set, where the data set has one.
    """

    name: str
    train: tuple[Sample, ...]
    val: tuple[Sample, ...]
    class_names: tuple[str, ...]
    unlabeled: tuple[Sample, ...] = ()
    test: tuple[Sample, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes K; masks hold 0..K-1 and 255."""
        return len(self.class_names)

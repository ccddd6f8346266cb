"""Single examples: a sample in, the entries of the batch without the batch axis out."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from rankmatch_keras.data.batches.sample_order import LABELED, SOURCE, UNLABELED
from rankmatch_keras.data.batches.settings import Scaling
from rankmatch_keras.data.sets.pixel_statistics import ImageFormat
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.data.views.boxes_numpy import cutmix_box
from rankmatch_keras.data.views.intensity_numpy import IntensityAugmentation
from rankmatch_keras.data.views.policies import INTENSITIES, JITTERS
from rankmatch_keras.data.views.random_intensity_numpy import RandomIntensityAugmentation
from rankmatch_keras.data.views.seeds_numpy import generator
from rankmatch_keras.data.views.strong_numpy import StrongAugmentation
from rankmatch_keras.data.views.weak_numpy import draw_geometry, valid_area, weak_image, weak_mask
from rankmatch_keras.errors import UserError

Example = dict[str, np.ndarray]


@dataclass(frozen=True)
class Examples:
    """Makes examples; small enough to be sent to every worker.

    Attributes:
        image_format: what all images must be like.
        scaling: the normalisation.
        crop: height and width of the views.
        scale: range of the random resize.
        seed: decides everything random.
        strong_views: strong views per unlabelled image.
        strong: how they are made, a name of `data.policies`.
        second_view: whether a second draw of the unlabelled images is added.
        pseudo_labels: whether the masks of the unlabelled images are read.
    """

    image_format: ImageFormat
    scaling: Scaling
    crop: tuple[int, int]
    scale: tuple[float, float]
    seed: int
    strong_views: int
    strong: str
    second_view: bool
    pseudo_labels: bool = False

    def __call__(self, with_mask: bool, number: int, sample: Sample) -> Example:
        """Return example `number` of the labelled (with mask) or of the unlabelled stream.

        Raises:
            UserError: the sample cannot be read, or its image is unlike the others or its mask.
        """
        return self._labeled(number, sample) if with_mask else self._unlabeled(number, sample)

    def _labeled(self, number: int, sample: Sample) -> Example:
        image = self._image(sample)
        mask = _mask(sample, image)
        geometry = draw_geometry(generator(self.seed, LABELED, number, 0), image.shape[:2], self.crop, self.scale)
        return {
            "labeled_image": self._normalized(weak_image(image, geometry, self.crop)),
            "labeled_mask": weak_mask(mask, geometry, self.crop),
        }

    def _unlabeled(self, number: int, sample: Sample) -> Example:
        image = self._image(sample)
        example = self._views(image, UNLABELED, number, _mask(sample, image) if self.pseudo_labels else None)
        for k in range(1, self.strong_views + 1):
            example[f"cutmix_box_{k}"] = cutmix_box(generator(self.seed, UNLABELED, number, 10 + k), self.crop)
        if self.second_view:
            source = self._views(image, SOURCE, number)
            example |= {f"source_{name}": value for name, value in source.items()}
        return example

    def _views(self, image: np.ndarray, stream: int, number: int, mask: np.ndarray | None = None) -> Example:
        geometry = draw_geometry(generator(self.seed, stream, number, 0), image.shape[:2], self.crop, self.scale)
        weak = weak_image(image, geometry, self.crop)
        views = {"weak_image": self._normalized(weak), "valid": valid_area(geometry, self.crop)}
        if mask is not None:
            views["pseudo_mask"] = weak_mask(mask, geometry, self.crop)
        for k in range(1, self.strong_views + 1):
            strong = self._strong.augment(weak, generator(self.seed, stream, number, k))
            views[f"strong_image_{k}"] = self._normalized(strong)
        return views

    def _image(self, sample: Sample) -> np.ndarray:
        image = sample.read_image()
        found = ImageFormat(image.shape[-1], str(image.dtype))
        if found != self.image_format:
            raise UserError(f"images of {self.image_format}", f"{found} in '{sample.image}'", "Convert one kind.")
        return image

    @cached_property
    def _strong(self) -> StrongAugmentation | IntensityAugmentation | RandomIntensityAugmentation:
        if not self.image_format.is_color:
            return IntensityAugmentation(self.image_format.channels, bounded=self.image_format.dtype == "uint8")
        if self.strong in INTENSITIES:
            return RandomIntensityAugmentation(*INTENSITIES[self.strong])
        return StrongAugmentation(**JITTERS[self.strong])

    @cached_property
    def _rows(self) -> tuple[Any, Any]:
        """Mean and scale of a whole row: NumPy takes eight times as long where the last axis is the channels'."""
        return np.tile(self.scaling.mean, self.crop[1]), np.tile(self.scaling.scale, self.crop[1])

    def _normalized(self, image: np.ndarray) -> np.ndarray:
        mean, scale = self._rows
        rows = image.reshape(len(image), -1) - mean
        rows *= scale
        image = rows.reshape(image.shape)
        return image[..., ::-1] if self.scaling.reverse_channels else image


def _mask(sample: Sample, image: np.ndarray) -> np.ndarray:
    """Read the mask of an image."""
    mask = sample.read_mask()
    if image.shape[:2] != mask.shape:
        raise UserError(
            f"a mask of the size of its image {image.shape[:2]}",
            f"{mask.shape} in '{sample.mask}'",
            "Run the check of the samples.",
        )
    return mask

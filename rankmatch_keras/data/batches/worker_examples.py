"""Single examples in NumPy, as the worker processes make them."""

from dataclasses import dataclass
from typing import cast

import numpy as np

from rankmatch_keras.data.batches.settings import Normalization
from rankmatch_keras.data.sets.pixel_statistics import ImageFormat
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.data.views import weak_numpy
from rankmatch_keras.data.views.examples import Example, labeled_example, unlabeled_example
from rankmatch_keras.data.views.no_data import filled, without_data
from rankmatch_keras.data.views.own import OwnAugmentation
from rankmatch_keras.data.views.policies import StrongFactors
from rankmatch_keras.data.views.sampling import ViewSettings, WeakGeometry, sample_example
from rankmatch_keras.data.views.strong_numpy import strong_view
from rankmatch_keras.errors import UserError


@dataclass(frozen=True)
class WorkerExamples:
    """Makes examples; small enough to be sent to every worker.

    Attributes:
        image_format: what all images must be like.
        normalization: of the views.
        views: ranges of the random numbers.
        pseudo_labels: whether the masks of the unlabeled images are read.
        augmentation: a person's own function for each image and mask, or None.
    """

    image_format: ImageFormat
    normalization: Normalization
    views: ViewSettings
    pseudo_labels: bool = False
    augmentation: OwnAugmentation | None = None

    def __call__(self, labeled: bool, number: int, sample: Sample) -> Example:
        """Return example `number` of the labeled or of the unlabeled stream.

        Raises:
            UserError: the sample cannot be read, or its image is unlike the others or its mask.
        """
        image = sample.read_image()
        found = ImageFormat.of(image, sample)
        if found != self.image_format:
            raise UserError(f"images of {self.image_format}", f"{found} in '{sample.image}'", "Convert one kind.")
        mask = _read_mask(sample, image) if labeled or self.pseudo_labels else None
        if self.augmentation is not None:
            image, mask = self.augmentation(image, mask, self.views.seed, labeled, number)
        factors = sample_example(self.views, labeled, number, image.shape[:2])
        missing = without_data(image)
        if missing is not None:
            image, missing = filled(image, self.normalization.mean), missing.astype(np.int32)
        if labeled:
            return labeled_example(self, factors, image, mask)
        return unlabeled_example(self, factors, image, mask, missing)

    def weak_image(self, image: np.ndarray, geometry: WeakGeometry) -> np.ndarray:
        """See `PixelWork`."""
        return weak_numpy.weak_image(image, geometry, self.views.crop)

    def weak_mask(self, mask: np.ndarray, geometry: WeakGeometry) -> np.ndarray:
        """See `PixelWork`."""
        return weak_numpy.weak_mask(mask, geometry, self.views.crop)

    def valid_area(self, geometry: WeakGeometry) -> np.ndarray:
        """See `PixelWork`."""
        return weak_numpy.valid_area(geometry, self.views.crop)

    def context_image(self, image: np.ndarray, top: int, left: int) -> np.ndarray:
        """See `PixelWork`."""
        return weak_numpy.part_of(image, top, left, cast(tuple[int, int], self.views.context))

    def strong_view(self, weak: np.ndarray, factors: StrongFactors) -> np.ndarray:
        """See `PixelWork`."""
        return strong_view(weak, self.views.policy, factors)

    def normalize(self, image: np.ndarray) -> np.ndarray:
        """See `PixelWork`."""
        mean, scale = self.normalization.per_row(image.shape[1])
        rows = image.reshape(len(image), -1) - mean
        rows *= scale
        image = rows.reshape(image.shape)
        return image[..., ::-1] if self.normalization.reverse_channels else image


def _read_mask(sample: Sample, image: np.ndarray) -> np.ndarray:
    mask = sample.read_mask()
    if image.shape[:2] != mask.shape:
        raise UserError(
            f"a mask of the size of its image {image.shape[:2]}",
            f"{mask.shape} in '{sample.mask}'",
            "Run the check of the samples.",
        )
    return mask

"""The entries of a training batch that one image gives, whoever does the pixel work."""

from typing import Any, Protocol

from rankmatch_keras.data.views.policies import StrongFactors
from rankmatch_keras.data.views.sampling import ExampleFactors, ViewFactors, WeakGeometry

# Entries of a batch by name, without the batch axis: arrays or tensors.
Example = dict[str, Any]


class PixelWork(Protocol):
    """What a pipeline does to pixels, on arrays or on tensors."""

    def weak_image(self, image: Any, geometry: WeakGeometry) -> Any:
        """Cut the weak view out of an image: float32 (crop height, crop width, C)."""

    def weak_mask(self, mask: Any, geometry: WeakGeometry) -> Any:
        """Cut the weak view out of a mask: int32 (crop height, crop width)."""

    def valid_area(self, geometry: WeakGeometry) -> Any:
        """Return where the weak view shows the image, not padding: bool (crop height, crop width)."""

    def context_image(self, image: Any, top: Any, left: Any) -> Any:
        """Cut a part out of an image at its own size, padded with 0: float32 (context height, context width, C)."""

    def strong_view(self, weak: Any, factors: StrongFactors) -> Any:
        """Make a strong view of a weak one."""

    def normalize(self, image: Any) -> Any:
        """Normalize a view for the network."""


def labeled_example(work: PixelWork, factors: ExampleFactors, image: Any, mask: Any) -> Example:
    """Return the view of a labeled image, and its mask."""
    geometry = factors.view.geometry
    view = work.weak_image(image, geometry)
    for strong in factors.view.strong:
        view = work.strong_view(view, strong)
    return {
        "labeled_image": work.normalize(view),
        "labeled_mask": work.weak_mask(mask, geometry),
    }


def unlabeled_example(
    work: PixelWork, factors: ExampleFactors, image: Any, mask: Any = None, missing: Any = None
) -> Example:
    """Return all views of an unlabeled image, its CutMix boxes, its context, and its pseudo-labels if there is a mask.

    Args:
        work: does the pixel work.
        factors: the random numbers.
        image: (H, W, C), without NaN.
        mask: int32 (H, W).
        missing: int32 (H, W), 0 where the image has data; None if all of it has.
    """
    example = _views(work, factors.view, image, missing)
    if mask is not None:
        example["pseudo_mask"] = work.weak_mask(mask, factors.view.geometry)
    for k, box in enumerate(factors.cutmix_boxes, 1):
        example[f"cutmix_box_{k}"] = box
    for context in factors.context:
        example["context_image"] = work.normalize(work.context_image(image, context.top, context.left))
        example["context_rows"], example["context_columns"] = context.rows, context.columns
    for second in factors.second_view:
        example |= {f"source_{name}": value for name, value in _views(work, second, image, missing).items()}
    return example


def _views(work: PixelWork, factors: ViewFactors, image: Any, missing: Any) -> Example:
    geometry = factors.geometry
    weak = work.weak_image(image, geometry)
    # Beyond the image a mask is 255, so that the padding is not valid either.
    valid = work.valid_area(geometry) if missing is None else work.weak_mask(missing, geometry) == 0
    views = {"weak_image": work.normalize(weak), "valid": valid}
    for k, strong in enumerate(factors.strong, 1):
        views[f"strong_image_{k}"] = work.normalize(work.strong_view(weak, strong))
    return views

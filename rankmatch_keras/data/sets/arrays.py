"""Data sets from arrays in memory."""

from collections.abc import Sequence

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.data.readers.sources import Array
from rankmatch_keras.data.sets.samples import Sample, SegmentationData
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import counted

Arrays = np.ndarray | Sequence[np.ndarray]


# Both convert when read: a converted copy of everything would take the memory twice.
class ImageArray(Array):
    """An image in memory: (H, W, C) of any real type."""

    def read(self) -> np.ndarray:
        """Return (H, W, C): the array itself if it is uint8 or float32, otherwise as float32."""
        return self.values if self.values.dtype == np.uint8 else self.values.astype(np.float32, copy=False)


class MaskArray(Array):
    """A mask in memory: (H, W) of any integer type."""

    def read(self) -> np.ndarray:
        """Return int32 (H, W): the array itself if it is int32."""
        return self.values.astype(np.int32, copy=False)


def from_arrays(
    images: Arrays,
    masks: Arrays | None = None,
    unlabeled: Arrays | None = None,
    val_images: Arrays | None = None,
    val_masks: Arrays | None = None,
    class_names: Sequence[str] | None = None,
) -> SegmentationData:
    """Make a data set from arrays, which are not copied unless their type must change.

    Args:
        images: (N, H, W) or (N, H, W, C), or a list of (H, W) or (H, W, C) of different sizes. uint8 is kept, every
            other real type becomes float32 in its own units. All images have the same C, and all or none are uint8.
        masks: integers or booleans (N, H, W), or a list of (H, W), as large as the images: class ids 0..K-1, and 255
            for pixels to ignore. None makes all `images` unlabeled.
        unlabeled: further images without masks.
        val_images: validation images, with `val_masks`.
        val_masks: their masks.
        class_names: name of class 0, 1, ...; by default "class 0", ... up to the largest id in the masks.

    Returns:
        A data set named "arrays", its samples named `train/0000`, `unlabeled/0000`, `val/0000`, ...

    Raises:
        UserError: shapes, types or counts do not fit together, a value is not finite, or a mask holds an id of no
            class; the message names the array.

    Example:
        >>> import numpy as np
        >>> data = from_arrays(np.zeros((2, 32, 48), "uint8"), np.ones((2, 32, 48), "uint8"))
        >>> len(data.train), data.class_names, data.train[0].read_image().shape
        (2, ('class 0', 'class 1'), (32, 48, 1))
    """
    for name, masked, other in (("val_images", val_images, val_masks), ("val_masks", val_masks, val_images)):
        if masked is not None and other is None:
            raise UserError("val_images and val_masks together", f"only {name}", "Give both or neither.")
    bare = _samples("unlabeled", "unlabeled", unlabeled)
    train: tuple[Sample, ...] = ()
    if masks is None:
        bare = (*_samples("images", "train", images), *bare)
    else:
        train = _samples("images", "train", images, "masks", masks)
    val = _samples("val_images", "val", val_images, "val_masks", val_masks)
    if not train and not bare:
        raise UserError("at least one image", "none in images", "Give arrays of images.")
    _require_alike([*train, *bare, *val])
    return SegmentationData("arrays", train, val, _class_names(class_names, [*train, *val]), unlabeled=bare)


def _samples(
    what: str, part: str, images: Arrays | None, masks_name: str = "", masks: Arrays | None = None
) -> tuple[Sample, ...]:
    """Make the samples of one part; `what` and `masks_name` are names of arguments, for messages."""
    if images is None:
        return ()
    pictures = [_image(image, f"{what}[{n}]") for n, image in enumerate(_listed(images, what))]
    names = [f"{part}/{n:04d}" for n in range(len(pictures))]
    if masks is None:
        return tuple(Sample(name, picture) for name, picture in zip(names, pictures, strict=True))
    labels = [_mask(mask, f"{masks_name}[{n}]") for n, mask in enumerate(_listed(masks, masks_name))]
    if len(labels) != len(pictures):
        raise UserError(
            f"one mask per image of {what}",
            f"{counted(len(pictures), 'image')}, {counted(len(labels), 'mask')}",
            "Check both.",
        )
    for picture, label in zip(pictures, labels, strict=True):
        if picture.values.shape[:2] != label.values.shape:
            raise UserError(
                f"a mask as large as its image {picture.values.shape[:2]}",
                f"{label.values.shape} in {label.name}",
                f"Make it fit {picture.name}.",
            )
    return tuple(Sample(*fields) for fields in zip(names, pictures, labels, strict=True))


def _listed(arrays: Arrays, what: str) -> Sequence[np.ndarray]:
    if isinstance(arrays, np.ndarray):
        if arrays.ndim in (3, 4):
            return arrays  # type: ignore[return-value]  # iterates over views
        found = f"shape {arrays.shape}"
    elif isinstance(arrays, (list, tuple)):
        strange = [type(array).__name__ for array in arrays if not isinstance(array, np.ndarray)]
        if not strange:
            return arrays
        found = f"{strange[0]} in a list"
    else:
        found = type(arrays).__name__
    raise UserError(f"{what} as an array (N, H, W) or (N, H, W, C), or a list of arrays", found, "Convert them.")


def _image(values: np.ndarray, name: str) -> ImageArray:
    if values.ndim not in (2, 3) or not all(values.shape):
        raise UserError("an image (H, W) or (H, W, C)", f"shape {values.shape} in {name}", "Put channels last.")
    if values.dtype.kind not in "uif":
        raise UserError("images of integers or floats", f"{values.dtype} in {name}", "Convert them, e.g. to float32.")
    with np.errstate(over="ignore"):
        extremes = np.array([values.min(), values.max()]).astype(np.float32)
    if not np.isfinite(extremes).all():
        raise UserError("finite pixels", f"NaN, infinity or beyond 32-bit floats in {name}", "Replace them.")
    return ImageArray(values if values.ndim == 3 else values[..., None], name)


def _mask(values: np.ndarray, name: str) -> MaskArray:
    if values.ndim != 2 or not all(values.shape):
        raise UserError("a mask (H, W)", f"shape {values.shape} in {name}", "Give one class id per pixel.")
    if values.dtype.kind not in "uib":
        raise UserError("masks of integers", f"{values.dtype} in {name}", "Convert them, e.g. to int32.")
    if values.dtype.kind != "b" and not 0 <= int(values.min()) <= int(values.max()) <= IGNORE_INDEX:
        raise UserError(
            "mask values 0..254 or 255 (ignore)", f"{values.min()} to {values.max()} in {name}", "Correct the mask."
        )
    return MaskArray(values, name)


def _require_alike(samples: Sequence[Sample]) -> None:
    first = samples[0].read_image()
    for sample in samples:
        image = sample.read_image()
        if (image.shape[-1], image.dtype) != (first.shape[-1], first.dtype):
            raise UserError(
                f"images with {first.shape[-1]} channels of {first.dtype} as in {samples[0].image}",
                f"{image.shape[-1]} channels of {image.dtype} in {sample.image}",
                "Convert one kind into the other.",
            )


def _class_names(names: Sequence[str] | None, samples: Sequence[Sample]) -> tuple[str, ...]:
    ids = sorted({int(i) for sample in samples if sample.mask is not None for i in np.unique(sample.read_mask())})
    largest = max((i for i in ids if i != IGNORE_INDEX), default=0)
    if names is None:
        names = [f"class {i}" for i in range(max(2, largest + 1))]
    names = tuple(names) if not isinstance(names, str) else ()
    if not 2 <= len(names) <= IGNORE_INDEX or len(set(names)) < len(names):
        raise UserError("2 to 255 class names, each once", f"{names!r}", "Name every class, the background included.")
    if largest >= len(names):
        wrong = next(s for s in samples if s.mask is not None and (s.read_mask() == largest).any())
        raise UserError(
            f"mask values 0..{len(names) - 1} or 255 (ignore)",
            f"{largest} in {wrong.mask}",
            "Correct the mask, or name every class.",
        )
    return names

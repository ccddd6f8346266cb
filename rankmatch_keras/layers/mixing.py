"""CutMix and ClassMix: boxes or classes of one image pasted into another."""

import math

import keras
from keras import ops

from rankmatch_keras.layers.base import Float32Layer, uniform
from rankmatch_keras.layers.pixels import class_maps, grid_positions


def box_mask(boxes, image_size, grid_size=None):
    """Mark the pixels inside each box, at image size or on a coarser grid.

    A grid samples the box at the positions of its pixels in the image, `i * (H - 1) / (h - 1)`. Where those are whole
    numbers (sizes 16k + 1 at stride 16: 321, 513, 801) mixing on the grid equals upsampling the features with aligned
    corners, mixing at image size and downsampling again.

    Args:
        boxes: `(B, 4)` int, `y0, x0, y1, x1` in pixels of the image, ends excluded; an empty box marks nothing.
        image_size: `(H, W)` of the image the boxes refer to.
        grid_size: `(h, w)` of the map to mark; the image size by default.

    Returns:
        `(B, h, w)` bool, True inside the box.
    """
    boxes = ops.cast(boxes, "float32")
    height, width = grid_size or image_size
    rows = grid_positions(height, image_size[0])[None]  # (1, h)
    columns = grid_positions(width, image_size[1])[None]  # (1, w)
    inside_rows = ops.logical_and(rows >= boxes[:, 0:1], rows < boxes[:, 2:3])  # (B, h)
    inside_columns = ops.logical_and(columns >= boxes[:, 1:2], columns < boxes[:, 3:4])  # (B, w)
    return ops.logical_and(inside_rows[:, :, None], inside_columns[:, None, :])


def mix(target, source, mask):
    """Paste `source` into `target` where `mask` is True.

    Args:
        target: `(B, H, W)` or `(B, H, W, C)` tensor of any dtype.
        source: the same shape and dtype.
        mask: `(B, H, W)` bool.

    Returns:
        A tensor like `target`.
    """
    if len(target.shape) == 4:
        mask = mask[..., None]
    return ops.where(mask, source, target)


@keras.saving.register_keras_serializable("rankmatch_keras")
class RandomBoxes(Float32Layer):
    """Random boxes for each image of a batch, where a method's differ from those that the batch brings.

    A box of the fraction a of the image's area and the ratio r is sqrt(a r) of the height and sqrt(a / r) of the width,
    anywhere where it fits; r stays close enough to 1 to fit. Several boxes share the area evenly, and each flips the
    mask, so that what two of them cover is outside again (French et al., BMVC 2020).

    Args:
        area: range of the fraction of the image that the boxes cover together, 0 to 1.
        ratio: range of r, uniform in its logarithm, or one number; `None`: all that fit into the image.
        law: distribution of the area in its range: `"uniform"`; `"side"`: its square root is uniform; `(a, b)`,
            positive whole numbers: the Beta distribution, stretched to the range.
        count: boxes per image.
        probability: fraction of the images that have boxes at all.
        seed: int or `None`.

    Raises:
        ValueError: an argument is out of range.

    Example:

    >>> masks = RandomBoxes(area=(0.5, 0.5), seed=0)(2, (33, 33))  # (2, 33, 33) bool
    """

    def __init__(
        self,
        area: tuple[float, float] = (0.5, 0.5),
        ratio: tuple[float, float] | float | None = None,
        *,
        law: str | tuple[int, int] = "uniform",
        count: int = 1,
        probability: float = 1.0,
        seed: int | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        low, high = (ratio, ratio) if isinstance(ratio, (int, float)) else ratio or (1.0, 1.0)
        if not 0.0 <= area[0] <= area[1] <= 1.0 or not 0.0 < low <= high or count < 1 or not 0.0 <= probability <= 1.0:
            raise ValueError(
                "Expected 0 <= area low <= high <= 1, 0 < ratio low <= high, count >= 1, probability from 0 to 1. "
                f"Received: area={area}, ratio={ratio}, count={count}, probability={probability}"
            )
        beta = None if isinstance(law, str) else tuple(law)
        if law not in ("uniform", "side") and not _is_beta(beta):
            raise ValueError(f"Expected law 'uniform', 'side' or two whole numbers. Received: law={law!r}")
        self.area = area
        self.ratio = ratio
        self.law = law
        self.count = count
        self.probability = probability
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)
        self._beta = beta
        self._log_ratios = None if ratio is None else (math.log(low), math.log(high))

    def __call__(self, batch_size, image_size):
        """Sample the masks. Not `call`, since Keras layers take only tensors.

        Args:
            batch_size: images B of this replica.
            image_size: `(H, W)`, ints.

        Returns:
            `(B, H, W)` bool, True inside.
        """
        # Area, ratio, row, column and presence of each box, then the numbers of the Beta distribution.
        extra = 0 if self._beta is None else sum(self._beta) - 1
        numbers = uniform((batch_size, self.count, 5 + extra), self.seed_generator)
        areas = self._areas(numbers[:, :1])  # (B, 1), of the boxes together
        limit = -ops.log(ops.maximum(areas, 1e-6))  # a box of the whole area may reach from side to side
        low, high = (-limit, limit) if self._log_ratios is None else self._log_ratios
        log_ratios = ops.clip(low + (high - low) * numbers[..., 1], -limit, limit)  # (B, count)
        sides = [ops.sqrt(areas / float(self.count) * ops.exp(sign * log_ratios)) for sign in (1.0, -1.0)]
        boxes = _place(sides, numbers, image_size)  # (B, count, 4)
        present = numbers[:, 0, 4] < self.probability  # (B,)
        masks = box_mask(boxes[:, 0], image_size)
        for number in range(1, self.count):
            masks = ops.logical_xor(masks, box_mask(boxes[:, number], image_size))
        return ops.logical_and(masks, present[:, None, None])

    def _areas(self, numbers):
        low, high = self.area
        number = numbers[..., 0]
        if self.law == "side":
            return ops.square(low**0.5 + (high**0.5 - low**0.5) * number)
        if self._beta is not None:
            # The a-th smallest of a + b - 1 uniform numbers is Beta(a, b) distributed.
            number = ops.sort(numbers[..., 5:], axis=-1)[..., self._beta[0] - 1]
        return low + (high - low) * number


def _is_beta(law):
    return law is not None and len(law) == 2 and all(int(value) == value >= 1 for value in law)


def _place(sides, numbers, image_size):
    """Place boxes `y0, x0, y1, x1` in whole pixels, anywhere where they fit."""
    starts, ends = [], []
    for axis, (side, size) in enumerate(zip(sides, image_size, strict=True)):
        length = ops.minimum(ops.round(side * float(size)), float(size))
        start = ops.round((float(size) - length) * numbers[..., 2 + axis])
        starts.append(start)
        ends.append(start + length)
    return ops.stack([*starts, *ends], axis=-1)


def mark_classes(label, chosen):
    """Mark the pixels of each image's chosen classes.

    Args:
        label: `(B, H, W)` int, 0 to K - 1; other values count as the nearest of these.
        chosen: `(B, K)` bool.

    Returns:
        `(B, H, W)` bool.
    """
    shape = ops.shape(label)
    flat = ops.reshape(ops.clip(ops.cast(label, "int32"), 0, chosen.shape[1] - 1), (shape[0], -1))
    return ops.reshape(ops.take_along_axis(ops.cast(chosen, "int32"), flat, axis=1) == 1, shape)


def class_fractions(label, num_classes: int, valid=None):
    """Compute the fraction of each image's pixels that each class has.

    Args:
        label: `(B, H, W)` int.
        num_classes: K.
        valid: `(B, H, W)` bool, False on pixels that belong to no class.

    Returns:
        `(B, K)` float32.
    """
    return ops.mean(ops.cast(class_maps(label, num_classes, valid), "float32"), axis=(1, 2))


@keras.saving.register_keras_serializable("rankmatch_keras")
class ClassMix(Float32Layer):
    """A random half of the classes that each image is predicted to show, rounded up (Olsson et al., WACV 2021).

    Args:
        num_classes: number of classes K.
        seed: int or `None`.
    """

    def __init__(self, num_classes: int, seed: int | None = None, **kwargs):
        super().__init__(**kwargs)
        self.num_classes = num_classes
        self.seed = seed
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, label, valid=None):
        """Sample the masks.

        Args:
            label: `(B, H, W)` int, the predicted class of each pixel.
            valid: `(B, H, W)` bool, False on pixels that are not pasted and whose classes do not count.

        Returns:
            `(B, H, W)` bool, True where the pixel is pasted.
        """
        present = class_fractions(label, self.num_classes, valid) > 0.0  # (B, K)
        numbers = uniform((ops.shape(label)[0], self.num_classes), self.seed_generator)
        # Absent classes come last in the random order.
        numbers = ops.where(present, numbers, 2.0)
        place = ops.argsort(ops.argsort(numbers, axis=-1), axis=-1)  # (B, K)
        half = (ops.sum(ops.cast(present, "int32"), axis=-1, keepdims=True) + 1) // 2
        mask = mark_classes(label, ops.cast(place, "int32") < half)
        return mask if valid is None else ops.logical_and(mask, ops.cast(valid, "bool"))

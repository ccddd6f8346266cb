"""Inference on one image of any size by an evaluation protocol, in memory that does not grow with the image."""

from typing import NamedTuple

import numpy as np

from rankmatch_keras.data.readers.scenes import Scene
from rankmatch_keras.data.sets.protocol import Protocol
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.windows import (
    OneWindow,
    Resized,
    ScaledImage,
    Sweep,
    row_blocks,
    scored_part,
    stride_of,
)

# Memory for the probabilities of unfinished rows. Wider images are predicted in strips of columns; the few windows that
# cross the border of two strips are predicted twice.
STRIP_BYTES = 1 << 27
BLOCK_BYTES = 1 << 21  # sums compared at once
WHOLE = Protocol()


def predict_classes(predictor, image, protocol=WHOLE, window_batch=4, num_classes=None):
    """Predict the most probable class of every pixel of one image.

    Softmax probabilities are summed over all windows, the mirrored image and all scales (those of a scaled image are
    resized back, half-pixel bilinear); the largest sum wins. Probabilities of the whole image are never held, only
    those of one window batch and of some unfinished rows, see `STRIP_BYTES`.

    Args:
        predictor: `keras.Model` from raw images (B, H, W, C) to probabilities (B, H, W, K), or anything with such a
            `predict_on_batch`.
        image: uint8 or float32 (H, W, C), in the units that the predictor was trained on, or a `Scene`.
        protocol: `data.Protocol`: mode, crop, border, flip, scales.
        window_batch: number of windows of equal size predicted at once.
        num_classes: number of classes that the predictor must have; None: any.

    Returns:
        uint8 numpy (H, W) in 0..K-1 (int32 for more than 256 classes), the lowest class of a tie; with "center_crop"
        only the center, (min(H, crop), min(W, crop)).

    Raises:
        UserError: if the image is not (H, W, C), the predictor does not return finite (B, H, W, K) at the size of its
            input or has another number of classes, or `window_batch` is below 1.
    """
    classes = None
    for block in probability_blocks(predictor, image, protocol, window_batch, num_classes):
        if classes is None:
            classes = np.empty(block.size, np.uint8 if block.sums.shape[-1] <= 256 else np.int32)
        classes[block.rows, block.columns] = np.argmax(block.sums, axis=-1)
    return classes


class Block(NamedTuple):
    """Summed probabilities of some pixels of an image.

    Attributes:
        size: height and width of the whole prediction.
        rows: the block's rows in it, and so for `columns`.
        sums: float32 (rows, columns, K); divided by their sum over K they are probabilities.
    """

    size: tuple[int, int]
    rows: slice
    columns: slice
    sums: np.ndarray


def probability_blocks(predictor, image, protocol=WHOLE, window_batch=4, num_classes=None):
    """Yield the summed probabilities of one image in a `Block` after the other, see `predict_classes`."""
    if window_batch < 1:
        raise UserError("a window batch of at least 1", f"{window_batch}", "Leave it at 4.")
    image = scored_part(_checked(image), protocol)
    predict = _Predict(predictor, num_classes)
    height, width = image.shape[:2]
    side = protocol.crop if protocol.mode == "sliding_window" else None
    scaled_images = [ScaledImage(image, scale) for scale in protocol.scales]

    def rows_of(scaled, columns):
        def make_sweep(columns):
            if not protocol.flip and max(scaled.size) <= (side or max(scaled.size)):
                return OneWindow(predict, scaled, columns)
            return Sweep(predict, scaled, columns, side, protocol.border, protocol.flip, window_batch)

        if scaled.size == (height, width):
            return make_sweep(columns)
        return Resized(make_sweep, (height, width), scaled.size, columns)

    depth = predict.count_classes(image[: side or height, : side or width])
    for columns in _strips(scaled_images, side, depth):
        parts = [rows_of(scaled, columns) for scaled in scaled_images]
        for rows in row_blocks(height, 4 * depth * (columns[1] - columns[0]), BLOCK_BYTES):
            total = parts[0].rows(rows.start, rows.stop)
            for part in parts[1:]:
                total = total + part.rows(rows.start, rows.stop)
            yield Block((height, width), rows, slice(*columns), total)


def predict_probabilities(predictor, image):
    """Predict the class probabilities of one image, shown to the network whole and at its own size.

    Runs `predictor.predict_on_batch`, which keeps no gradients. TensorFlow traces it a few times at most, however many
    image sizes there are (0.07 s per image on 2 cores, against 0.35 s eagerly); JAX compiles once per image size,
    which takes seconds.

    Args:
        predictor: `keras.Model` from raw images (1, H, W, C) to probabilities (1, H, W, K).
        image: uint8 or float32 (H, W, C), in the units that the predictor was trained on.

    Returns:
        float32 numpy (H, W, K).

    Raises:
        UserError: if the image is not (H, W, C), or the prediction is not (H, W, K) at the image's size.
    """
    return _Predict(predictor)(_checked(image)[None])[0]


class _Predict:
    """Predictor whose outputs are checked."""

    def __init__(self, predictor, num_classes=None):
        self.predictor = predictor
        self.num_classes = num_classes
        from rankmatch_keras import backend  # here, so that the package is imported without a framework

        backend.step.prepare_prediction(predictor)

    def __call__(self, images):
        """Predict (B, h, w, C) -> float32 (B, h, w, K)."""
        probabilities = np.asarray(self.predictor.predict_on_batch(images), np.float32)
        if probabilities.ndim != 4 or probabilities.shape[:3] != images.shape[:3]:
            wanted = ", ".join(map(str, images.shape[:3]))
            raise UserError(
                f"a predictor with one output ({wanted}, K)",
                f"{probabilities.shape}",
                "Use the saved inference model, which predicts at image size.",
            )
        if self.num_classes not in (None, probabilities.shape[-1]):
            raise UserError(
                f"a predictor of {self.num_classes} classes",
                f"one of {probabilities.shape[-1]}",
                "Score the model with the class names that it was trained on.",
            )
        # Otherwise every pixel would silently become class 0.
        if not np.isfinite(probabilities.sum()):
            raise UserError(
                "finite class probabilities", "NaN or infinity from the predictor", "Use weights of an earlier epoch."
            )
        return probabilities

    def count_classes(self, window):
        """Return the number of classes, predicting one window only if the model does not declare it."""
        if self.num_classes is None:
            shape = getattr(self.predictor, "output_shape", None)
            known = isinstance(shape, tuple) and isinstance(shape[-1], int)
            self.num_classes = shape[-1] if known else self(window[None]).shape[-1]  # type: ignore[index]
        return self.num_classes


def _strips(scaled_images, side, depth):
    """Return ranges of columns whose unfinished rows take about `STRIP_BYTES`, on average no narrower than a window."""
    width = scaled_images[0].image.shape[1]
    if side is None:
        return [(0, width)]
    held = sum(min(side, height) * width * depth * 4 for height, width in (scaled.size for scaled in scaled_images))
    count = min(-(-held // STRIP_BYTES), max(1, width // side))
    # Edges at window starts, so that as few windows as possible lie across.
    windows = -(-width // stride_of(side))
    edges = [*range(0, width, stride_of(side) * -(-windows // count)), width]
    return list(zip(edges[:-1], edges[1:], strict=True))


def _checked(image):
    image = image if isinstance(image, Scene) else np.asarray(image)
    if image.ndim != 3 or 0 in image.shape:
        raise UserError("an image (H, W, C)", f"shape {image.shape}", "Give one image with its channels last.")
    return image

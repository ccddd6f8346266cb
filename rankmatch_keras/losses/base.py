"""Base of the loss terms, and what pixel losses are made of: cross-entropy, focal and Dice loss."""

from collections.abc import Sequence

from keras import ops

from rankmatch_keras.backend.replicas import ratio, whole
from rankmatch_keras.layers.base import Float32Layer
from rankmatch_keras.layers.pixels import class_maps

PIXEL_LOSSES = ("ce", "dice", "ce+dice", "focal")
FOCUS = 2.0  # the exponent of the focal loss
SMOOTH = 1e-5


class Loss(Float32Layer):
    """Base of the loss terms: layers without weights that return a float32 scalar."""

    def compute_output_shape(self, *args, **kwargs):
        """Return the shape of a scalar."""
        return ()


def pixel_cross_entropy(label, logits):
    """Compute the cross-entropy of every pixel.

    Args:
        label: `(B, H, W)` int32, 0 <= label < K (callers replace ignored pixels by any class and mask the result), or
            `(B, H, W, K)` float32, the probabilities of a soft label.
        logits: `(B, H, W, K)` float.

    Returns:
        `(B, H, W)` float32, `logsumexp(z) - z[label]`; with soft labels the mean of that over their classes.
    """
    log_probabilities = ops.log_softmax(ops.cast(logits, "float32"), axis=-1)
    if len(label.shape) == 4:
        return -ops.sum(label * log_probabilities, axis=-1)
    return -ops.take_along_axis(log_probabilities, label[..., None], axis=-1)[..., 0]


def check_pixel_loss(kind: str, class_weights: Sequence[float] | None) -> tuple[float, ...] | None:
    """Check the arguments of `pixel_loss`, and return the class weights as a tuple.

    Raises:
        ValueError: an unknown kind, or a weight below 0.
    """
    if kind not in PIXEL_LOSSES:
        raise ValueError(f"Expected a loss in {PIXEL_LOSSES}. Received: {kind!r}")
    if class_weights is None:
        return None
    weights = tuple(float(weight) for weight in class_weights)
    if min(weights, default=-1.0) < 0.0 or sum(weights) == 0.0:
        raise ValueError(f"Expected class weights of at least 0, not all 0. Received: {list(class_weights)}")
    return weights


def pixel_loss(kind: str, label, weight, count, logits, class_weights=None, least: float = 1.0):
    """Compute the loss of weighted pixels.

    With w the weight of a pixel times that of its class, p its probabilities and y its label:

    - `"ce"`: `sum w CE / count`;
    - `"focal"`: `sum w (1 - p_y)^2 CE / count` (Lin et al., Focal Loss, ICCV 2017, Eq. 5);
    - `"dice"`: see `dice_loss`;
    - `"ce+dice"`: the mean of both, as UniMatch trains medical images.

    Args:
        kind: one of `PIXEL_LOSSES`.
        label: `(B, H, W)` int32, 0 to K - 1, or `(B, H, W, K)` float32, the probabilities of a soft label.
        weight: `(B, H, W)` float32, at least 0; 0 leaves a pixel out.
        count: scalar float32, what cross-entropies are divided by: this replica's number of pixels, or sum of weights.
        logits: `(B, H, W, K)` float.
        class_weights: K numbers, or `None`.
        least: smallest divisor, see `backend.replicas.ratio`.

    Returns:
        Scalar float32; 0 where nothing counts.
    """
    if kind == "dice":
        return dice_loss(label, weight, logits, class_weights)
    cross_entropy = pixel_cross_entropy(label, logits)
    weighted = weight if class_weights is None else weight * weight_of_class(label, class_weights)
    if kind == "focal":
        weighted = weighted * (1.0 - ops.exp(-cross_entropy)) ** FOCUS
    mean = ratio(ops.sum(cross_entropy * weighted), count, least)
    return 0.5 * (mean + dice_loss(label, weight, logits, class_weights)) if kind == "ce+dice" else mean


def weight_of_class(label, class_weights):
    """Return the weight of each pixel's class, `(B, H, W)` float32; the mean over the classes of a soft label."""
    weights = ops.convert_to_tensor(class_weights, "float32")
    return ops.sum(label * weights, axis=-1) if len(label.shape) == 4 else ops.take(weights, label)


def dice_loss(label, weight, logits, class_weights=None):
    """Compute the soft Dice loss of weighted pixels, averaged over the classes that their labels show.

    `L_c = 1 - 2 sum w p_c y_c / (sum w p_c^2 + sum w y_c^2)` (Milletari et al., V-Net, 3DV 2016, Eq. 5), sums over all
    pixels of all replicas. A class without labeled pixels is left out: its ratio says nothing.

    Args:
        label: as in `pixel_loss`.
        weight: `(B, H, W)` float32, at least 0; 0 leaves a pixel out.
        logits: `(B, H, W, K)` float.
        class_weights: K numbers, or `None` for equal ones.

    Returns:
        Scalar float32, 0 to 1; 0 where nothing counts.
    """
    probabilities = ops.softmax(ops.cast(logits, "float32"), axis=-1)
    truth = label if len(label.shape) == 4 else ops.cast(class_maps(label, logits.shape[-1]), "float32")
    return dice_of(truth, probabilities, weight, class_weights)


def dice_of(truth, probabilities, weight, class_weights=None):
    """Compute the Dice loss of the channels that the truth shows, see `dice_loss`.

    Args:
        truth: `(B, H, W, K)` float32, y.
        probabilities: `(B, H, W, K)` float32, p.
        weight: `(B, H, W)` float32, w.
        class_weights: K numbers, or `None` for equal ones.

    Returns:
        Scalar float32, 0 to 1; 0 where nothing counts.
    """
    weight = ops.cast(weight, "float32")[..., None]
    axes = (0, 1, 2)
    shown = whole(ops.sum(weight * truth, axis=axes))
    common = whole(ops.sum(weight * truth * probabilities, axis=axes))
    found = whole(ops.sum(weight * ops.square(probabilities), axis=axes))
    known = whole(ops.sum(weight * ops.square(truth), axis=axes))
    present = ops.cast(shown > 0.0, "float32")
    if class_weights is not None:
        present = present * ops.convert_to_tensor(class_weights, "float32")
    each = 1.0 - (2.0 * common + SMOOTH) / (found + known + SMOOTH)
    return ops.sum(each * present) / ops.maximum(ops.sum(present), 1e-6)

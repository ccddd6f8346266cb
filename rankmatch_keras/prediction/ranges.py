"""Check that the values of an image are in the units of the images that the network was trained on."""

import numpy as np

from rankmatch_keras.errors import UserError
from rankmatch_keras.layers import ChannelNormalization
from rankmatch_keras.models.backbones import CAFFE, IMAGENET, MINUS_ONE_TO_ONE, ZERO_TO_ONE

EIGHT_BITS = 255
SAMPLED = 1 << 18  # pixels looked at
FAR = 2.5  # standard deviations between all values and the mean of the training images
LARGEST_RATIO = 10


def require_known_range(predictor, image, name):
    """Check that an image has the units of the training images, as far as the recorded normalization tells.

    Args:
        predictor: the model.
        image: (H, W, C), uint8 or float32.
        name: its name in messages.

    Raises:
        UserError: it has more bits than the training images, or values from 0 to 1 where these went to 255, or the
            other way round.
    """
    known = [layer for layer in predictor.layers if isinstance(layer, ChannelNormalization)]
    values = _sample(image)
    if not known or not values.size or values.min() == values.max():
        return
    low, high = float(values.min()), float(values.max())
    mean, std = (np.array(numbers) for numbers in (known[0].mean, known[0].std))
    usual = float(max(abs(mean) + std))
    remedy = _remedy(image.dtype == np.uint8, low, high, mean, std, usual, float(abs(values.mean())))
    if remedy:
        raise UserError(
            f"values in the range of the training images, about {usual:.3g}",
            f"{low:.5g} to {high:.5g} in {name}",
            remedy,
        )


def _remedy(eight_bit, low, high, mean, std, usual, average):
    """Return what to do about values of other units; None where they may be right."""
    trained_on_8_bits = _is_pretrained(mean, std)
    if eight_bit:
        if usual < 2:
            return "Divide by 255, as the training images were, and save 32-bit floats."
        return "Give images of the depth of the training images." if (mean - FAR * std > EIGHT_BITS).all() else None
    if 0 <= low and high <= 1 and (trained_on_8_bits or (mean - FAR * std > 1).all()):
        return "Multiply by 255, or scale them as the training images were."
    if (trained_on_8_bits and high > 1.5 * EIGHT_BITS) or average > LARGEST_RATIO * usual:
        return "Convert them as the training images were, e.g. to 8 bits."
    return None


def _is_pretrained(mean, std):
    """Return whether a normalization is that of a network for 8-bit color images, and not measured on images."""
    known = ((own["mean"], own["std"]) for own in (CAFFE, IMAGENET, MINUS_ONE_TO_ONE, ZERO_TO_ONE))
    return any(np.array_equal(mean, own_mean) and np.array_equal(std, own_std) for own_mean, own_std in known)


def _sample(image):
    """Return finite values of an image, evenly spaced."""
    step = max(1, round((image.shape[0] * image.shape[1] / SAMPLED) ** 0.5))
    values = image[::step, ::step]
    return values[np.isfinite(values)]

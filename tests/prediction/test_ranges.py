import numpy as np
import pytest

from rankmatch_keras.errors import UserError
from rankmatch_keras.layers import ChannelNormalization
from rankmatch_keras.models.backbones import CAFFE, IMAGENET, MINUS_ONE_TO_ONE, ZERO_TO_ONE
from rankmatch_keras.prediction.ranges import require_known_range

pytestmark = pytest.mark.once

GRAY = {"mean": (118.0,), "std": (40.0,)}  # measured on 8-bit slices
DEEP = {"mean": (20000.0,), "std": (5000.0,)}  # on 16-bit ones
FLOATS = {"mean": (0.45,), "std": (0.2,)}  # on floats of 0..1
HEIGHTS = {"mean": (60.0,), "std": (40.0,)}  # on meters above the sea
DARK = {"mean": (118.0,), "std": (150.0,)}  # on dark 16-bit images


class Model:
    def __init__(self, normalization):
        self.layers = [ChannelNormalization(**normalization)]


def image(low, high, dtype="float32", channels=1):
    return np.random.default_rng(0).uniform(low, high, (40, 50, channels)).astype(dtype)


@pytest.mark.parametrize("own", [CAFFE, IMAGENET, MINUS_ONE_TO_ONE, ZERO_TO_ONE])
@pytest.mark.parametrize(("low", "high", "remedy"), [(0, 600, "to 8 bits"), (0, 1, "by 255"), (0, 60000, "to 8 bits")])
def test_other_units_than_those_of_a_pretrained_network(own, low, high, remedy):
    with pytest.raises(UserError, match=rf"found \d.* to .* in a\.tif.*{remedy}"):
        require_known_range(Model(own), image(low + 1e-3, high, channels=3), "a.tif")
    require_known_range(Model(own), image(0, 256, "uint8", 3), "a.png")
    require_known_range(Model(own), image(0, 256, channels=3), "a.tif")
    require_known_range(Model(own), image(-10, 270, channels=3), "resampled.tif")
    require_known_range(Model(own), image(0, 3, "uint8", 3), "black.png")


@pytest.mark.parametrize(
    ("own", "low", "high", "dtype"),
    [
        (GRAY, 0, 1, "float32"),
        (GRAY, 0, 65535, "float32"),
        (DEEP, 0, 255, "uint8"),
        (DEEP, 0, 1, "float32"),
        (FLOATS, 0, 255, "uint8"),
        (FLOATS, 0, 255, "float32"),
    ],
)
def test_other_units_than_those_measured(own, low, high, dtype):
    with pytest.raises(UserError, match="training images, about"):
        require_known_range(Model(own), image(low, high, dtype), "a.tif")


@pytest.mark.parametrize(
    ("own", "low", "high", "dtype"),
    [
        (GRAY, 0, 256, "uint8"),
        (GRAY, 0, 3, "uint8"),
        (DEEP, 100, 900, "float32"),
        (DEEP, 0, 65535, "float32"),
        (FLOATS, 0, 1, "float32"),
        (FLOATS, 0, 0.01, "float32"),
        (HEIGHTS, 0, 0.9, "float32"),
        (HEIGHTS, -10, 700, "float32"),
        (DARK, 0, 1000, "float32"),
        (DEEP, 0, 0.0, "float32"),
        (GRAY, 0, 0.0, "float32"),
    ],
)
def test_images_like_those_of_the_training_are_not_refused(own, low, high, dtype):
    require_known_range(Model(own), image(low, high, dtype), "a.tif")


def test_images_of_no_data_and_networks_without_normalization():
    nothing = np.full((4, 4, 1), np.nan, np.float32)
    require_known_range(Model(GRAY), nothing, "a.tif")
    model = Model(GRAY)
    model.layers = []
    require_known_range(model, image(0, 65535), "a.tif")

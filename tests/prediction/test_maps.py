import numpy as np
import pytest

from rankmatch_keras.data import Protocol
from rankmatch_keras.evaluation import predict_classes
from rankmatch_keras.prediction.maps import predict_maps

pytestmark = pytest.mark.once


class Softmax:
    """Predictor of three classes from three channels."""

    def predict_on_batch(self, images):
        values = np.exp(np.nan_to_num(images).astype(np.float64) / 40)
        return values / values.sum(-1, keepdims=True)


def image(height=20, width=30):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.float32)


EVERYTHING = {"probabilities": True, "uncertainty": True, "confidence": True}


@pytest.mark.parametrize("protocol", [Protocol(), Protocol("sliding_window", 9, flip=True, scales=(1.0, 0.5))], ids=str)
def test_maps_are_those_of_the_probabilities(protocol):
    maps = predict_maps(Softmax(), image(), protocol, **EVERYTHING)
    np.testing.assert_array_equal(maps.classes, predict_classes(Softmax(), image(), protocol))
    shares = np.moveaxis(maps.probabilities.astype(np.float64), 0, -1)
    assert maps.probabilities.dtype == np.float16 and maps.probabilities.shape == (3, 20, 30)
    np.testing.assert_allclose(shares.sum(-1), 1, atol=2e-3)
    if protocol == Protocol():
        np.testing.assert_allclose(shares, Softmax().predict_on_batch(image()), atol=5e-4)
    np.testing.assert_allclose(maps.confidence, shares.max(-1), atol=1e-3)
    np.testing.assert_allclose(maps.entropy, -(shares * np.log(shares)).sum(-1) / np.log(3), atol=5e-3)
    best = np.sort(shares, -1)
    np.testing.assert_allclose(maps.margin, best[..., 2] - best[..., 1], atol=2e-3)


def test_maps_that_nobody_asked_for_are_not_made():
    maps = predict_maps(Softmax(), image())
    assert (maps.confidence, maps.entropy, maps.margin, maps.probabilities) == (None,) * 4


def test_pixels_without_data():
    picture = image()
    picture[3, 4, 1] = np.nan
    maps = predict_maps(Softmax(), picture, **EVERYTHING)
    assert maps.classes[3, 4] == 255 and np.isnan(maps.probabilities[:, 3, 4]).all()
    for values in (maps.confidence, maps.entropy, maps.margin):
        assert np.isnan(values).sum() == 1 and np.isnan(values[3, 4])

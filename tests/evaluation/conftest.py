"""Small predictors with known outputs, and slow twins of what the package computes piece by piece."""

import keras
import numpy as np
import pytest
from keras import layers


@pytest.fixture
def brightness_predictor():
    """Return a model from raw RGB images of any size to two classes: softmax of (-2r, 2r) with r = red / 127.5 - 1."""
    image = keras.Input((None, None, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(image)
    head = layers.Conv2D(2, 1)
    model = keras.Model(image, layers.Softmax()(head(x)))
    kernel, bias = head.get_weights()
    kernel[:] = 0
    kernel[0, 0, 0] = (-2.0, 2.0)
    head.set_weights([kernel, bias])
    return model


@pytest.fixture
def conv_predictor():
    """Return a model from 2 channels to 4 classes by a 5 x 5 convolution, whose zero padding changes window borders."""
    image = keras.Input((None, None, 2))
    head = layers.Conv2D(4, 5, padding="same")
    model = keras.Model(image, layers.Softmax()(head(layers.Rescaling(1 / 255)(image))))
    rng = np.random.default_rng(0)
    head.set_weights([rng.normal(0, 1, w.shape).astype("float32") for w in head.get_weights()])
    return model


class PlaceDependent:
    """Predictor without Keras: 3 classes whose probabilities depend on the pixel and its place in the window."""

    def __init__(self):
        self.shapes = []

    def predict_on_batch(self, images):
        self.shapes.append(images.shape)
        batch, height, width, _ = images.shape
        y, x = np.mgrid[:height, :width] / 7.0
        value = images[..., 0].astype(np.float32) / 255
        logits = np.stack([2 * value, np.broadcast_to(np.sin(y + 2 * x), (batch, height, width)), value * x], axis=-1)
        exponentials = np.exp(logits.astype(np.float32))
        return exponentials / exponentials.sum(-1, keepdims=True)


@pytest.fixture
def place_dependent():
    return PlaceDependent()


def slow_windows(predict, image, side, border):
    """Sum the probabilities of all windows over the full image, one window at a time."""
    height, width = image.shape[:2]
    side_y, side_x = min(side, height), min(side, width)
    stride = max(1, int(side * 2 / 3))
    total = 0
    ys = [0] if height <= side else _starts(height, side, stride, border)
    xs = [0] if width <= side else _starts(width, side, stride, border)
    for y in ys:
        for x in xs:
            window = image[y : min(y + side_y, height), x : min(x + side_x, width)]
            placed = np.zeros((height, width, 1))
            probabilities = predict(window)
            placed = np.zeros((height, width, probabilities.shape[-1]))
            placed[y : y + window.shape[0], x : x + window.shape[1]] = probabilities
            total = total + placed
    return total


def _starts(size, side, stride, border):
    starts, at = [], 0
    while at < size:
        if border == "shift" and at + side >= size:
            return [*starts, size - side]
        starts.append(at)
        at += stride
    return starts


def slow_resize(image, size):
    """Resize bilinearly with half-pixel centers, pixel by pixel."""
    height, width = image.shape[:2]
    result = np.zeros((*size, image.shape[2]))
    for i in range(size[0]):
        for j in range(size[1]):
            y = min(max((i + 0.5) * height / size[0] - 0.5, 0), height - 1)
            x = min(max((j + 0.5) * width / size[1] - 0.5, 0), width - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
            top = (1 - (x - x0)) * image[y0, x0] + (x - x0) * image[y0, x1]
            bottom = (1 - (x - x0)) * image[y1, x0] + (x - x0) * image[y1, x1]
            result[i, j] = (1 - (y - y0)) * top + (y - y0) * bottom
    return result


def slow_probabilities(predictor, image, protocol):
    """Sum probabilities (H, W, K) by a protocol, with everything at full size."""

    def predict(window):
        return np.asarray(predictor.predict_on_batch(np.ascontiguousarray(window)[None]), np.float64)[0]

    if protocol.mode == "center_crop":
        height, width = (min(side, protocol.crop) for side in image.shape[:2])
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        image = image[top : top + height, left : left + width]
    size = image.shape[:2]
    total = 0
    for scale in protocol.scales:
        scaled_size = tuple(max(1, int(scale * side)) for side in size)
        scaled = image if scaled_size == size else slow_resize(image, scaled_size).astype(np.float32)
        for mirrored in (False, True) if protocol.flip else (False,):
            shown = scaled[:, ::-1] if mirrored else scaled
            side = protocol.crop if protocol.mode == "sliding_window" else max(shown.shape)
            summed = slow_windows(predict, shown, side, protocol.border)
            summed = summed[:, ::-1] if mirrored else summed
            total = total + (summed if scaled_size == size else slow_resize(summed, size))
    return total


@pytest.fixture
def assert_as_slow():
    """Assert that classes are those of the slow twin, except where its two largest sums agree up to rounding."""

    def check(classes, predictor, image, protocol):
        sums = slow_probabilities(predictor, image, protocol)
        assert classes.shape == sums.shape[:2]
        ordered = np.sort(sums, axis=-1)
        clear = ordered[..., -1] - ordered[..., -2] > 1e-4
        assert clear.mean() > 0.9
        np.testing.assert_array_equal(classes[clear], sums.argmax(-1)[clear])

    return check

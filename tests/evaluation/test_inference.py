import itertools
import tracemalloc

import keras
import numpy as np
import pytest
from keras import layers

from rankmatch_keras.data.sets.protocol import Protocol
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import inference, predict_classes, predict_probabilities


def _image(height, width, seed=0, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)


def test_probabilities_by_hand(brightness_predictor):
    image = np.zeros((1, 2, 3), np.uint8)
    image[0, 1, 0] = 255
    probabilities = predict_probabilities(brightness_predictor, image)
    # r = -1 and +1: logits (2, -2) and (-2, 2), so 1 / (1 + e^-4) = 0.9820 for the likelier class.
    likely = 1 / (1 + np.exp(-4.0))
    np.testing.assert_allclose(probabilities, [[[likely, 1 - likely], [1 - likely, likely]]], rtol=1e-5)
    assert type(probabilities) is np.ndarray
    assert probabilities.dtype == np.float32


def test_classes_at_many_sizes(brightness_predictor):
    for i, size in enumerate([(5, 7), (8, 6), (5, 7), (3, 11), (1, 1)]):
        image = _image(*size, seed=i)
        classes = predict_classes(brightness_predictor, image)
        np.testing.assert_array_equal(classes, image[..., 0] >= 128)
        assert classes.dtype == np.uint8


MODES = {
    "whole": Protocol(),
    "center_crop": Protocol("center_crop", 7),
    "clip": Protocol("sliding_window", 8),
    "shift": Protocol("sliding_window", 8, "shift"),
    "flip": Protocol("sliding_window", 8, flip=True),
    "shift and flip": Protocol("sliding_window", 5, "shift", flip=True),
    "scales": Protocol("sliding_window", 8, scales=(0.5, 1.0, 1.6)),
    "all": Protocol("sliding_window", 6, flip=True, scales=(0.75, 1.3)),
    "whole, all": Protocol(flip=True, scales=(0.5, 1.0, 2.0)),
    "center_crop, all": Protocol("center_crop", 9, flip=True, scales=(1.0, 0.7)),
}
SIZES = [(1, 1), (1, 13), (6, 5), (8, 8), (17, 9), (20, 23)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_each_mode_equals_the_slow_twin(place_dependent, assert_as_slow, mode, size):
    image = _image(*size, channels=1)
    classes = predict_classes(place_dependent, image, MODES[mode], window_batch=3)
    assert_as_slow(classes, place_dependent, image, MODES[mode])


@pytest.mark.parametrize("mode", MODES)
def test_a_convolution_equals_the_slow_twin(conv_predictor, assert_as_slow, mode):
    image = _image(13, 19, channels=2)
    classes = predict_classes(conv_predictor, image, MODES[mode])
    assert_as_slow(classes, conv_predictor, image, MODES[mode])


def test_modes_differ(place_dependent):
    """Otherwise the comparisons above would prove little."""
    image = _image(20, 23, channels=1)
    results = {name: predict_classes(place_dependent, image, mode) for name, mode in MODES.items()}
    for (name, one), (other, two) in itertools.combinations(results.items(), 2):
        assert one.shape != two.shape or (one != two).any(), f"{name} and {other}"


@pytest.mark.parametrize("mode", ["clip", "shift and flip", "all"])
def test_strips_and_batches_change_nothing(place_dependent, monkeypatch, mode):
    image = _image(19, 43, channels=1)
    expected = predict_classes(place_dependent, image, MODES[mode], window_batch=100)
    shapes = len(place_dependent.shapes)
    monkeypatch.setattr(inference, "STRIP_BYTES", 500)
    np.testing.assert_array_equal(predict_classes(place_dependent, image, MODES[mode], window_batch=1), expected)
    assert len(place_dependent.shapes) > 2 * shapes
    assert {shape[0] for shape in place_dependent.shapes[shapes:]} == {1}


def test_whole_images_are_never_cut_into_strips(place_dependent, monkeypatch):
    monkeypatch.setattr(inference, "STRIP_BYTES", 1)
    predict_classes(place_dependent, _image(5, 9, channels=1), num_classes=3)
    predict_classes(place_dependent, _image(5, 9, channels=1), Protocol("sliding_window", 16), num_classes=3)
    assert place_dependent.shapes == [(1, 5, 9, 1)] * 2


@pytest.mark.parametrize("protocol", [MODES["clip"], MODES["all"]], ids=str)
def test_float_images_of_many_channels(protocol):
    class LargestChannel:
        def predict_on_batch(self, images):
            assert images.dtype == np.float32
            return images / images.sum(-1, keepdims=True)

    image = np.random.default_rng(0).random((30, 40, 7)).astype(np.float32) * 4000
    image[:15], image[15:, :, 3] = image[:1, :1], 30000
    classes = predict_classes(LargestChannel(), image, protocol)
    assert (classes[:13] == image[0, 0].argmax()).all()
    assert (classes[17:] == 3).all()


class ManyClasses:
    """Predictor of 64 classes that costs little."""

    output_shape = (None, None, None, 64)

    def predict_on_batch(self, images):
        return np.broadcast_to(images[..., :1] / np.float32(64), (*images.shape[:3], 64))


@pytest.mark.parametrize(
    ("protocol", "megabytes"),
    [
        # Whole probabilities would take 33 MB, then 66 MB; a row of windows takes 80 x 400 x 64 x 4 = 8 MB.
        (Protocol("sliding_window", 80), 19),
        (Protocol("sliding_window", 80, "shift", flip=True), 19),
        (Protocol("sliding_window", 80, scales=(0.5, 1.0, 1.5)), 50),
    ],
    ids=str,
)
def test_memory_does_not_grow_with_the_image(protocol, megabytes):
    peak = _peak(protocol, (320, 400))
    assert peak < megabytes
    # Twice the height needs no more, except for result and image.
    assert _peak(protocol, (640, 400)) < peak + 2 * 320 * 400 / 1e6 + 1


def test_a_whole_image_is_predicted_without_a_copy():
    """The check for NaN and the argmax by blocks need little beside the 9.8 MB of probabilities."""

    class Owning(ManyClasses):
        def predict_on_batch(self, images):
            return super().predict_on_batch(images).copy()

    image = _image(160, 240, channels=1)
    tracemalloc.start()
    try:
        predict_classes(Owning(), image)
        assert tracemalloc.get_traced_memory()[1] < 12e6
    finally:
        tracemalloc.stop()


def test_wide_images_take_the_memory_of_a_strip(monkeypatch):
    narrow = _peak(Protocol("sliding_window", 40), (100, 400))
    assert _peak(Protocol("sliding_window", 40), (100, 2000)) > 2.5 * narrow
    monkeypatch.setattr(inference, "STRIP_BYTES", 40 * 400 * 64 * 4)
    wide = _peak(Protocol("sliding_window", 40), (100, 2000))
    assert wide < narrow + 100 * 1600 / 1e6 + 1


def _peak(protocol, size):
    """Return the peak memory of a prediction in MB."""
    image = _image(*size, channels=1)
    tracemalloc.start()
    try:
        predict_classes(ManyClasses(), image, protocol)
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("protocol", [Protocol(), MODES["all"]], ids=str)
def test_new_sizes_are_not_traced_again(brightness_predictor, protocol):
    """A layer's Python code runs only while a graph is traced: a few times, however many sizes there are."""
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow traces")
    calls = []

    class Counting(layers.Layer):
        def call(self, x):
            calls.append(1)
            return x

    image = keras.Input((None, None, 3))
    model = keras.Model(image, brightness_predictor(Counting()(image)))
    calls.clear()
    for size in range(4, 24):
        predict_classes(model, _image(size, size + 1), protocol)
        predict_classes(model, _image(size + 1, size).astype(np.float32), protocol)
    # Per dtype: one shape, then unknown sides, then an unknown batch.
    assert len(calls) <= 6


def test_the_model_keeps_its_jit_setting(brightness_predictor):
    brightness_predictor.jit_compile = chosen = keras.backend.backend() == "jax"
    predict_classes(brightness_predictor, _image(4, 4))
    assert brightness_predictor.jit_compile == chosen


def test_new_weights_take_effect_at_once(brightness_predictor):
    image = _image(4, 5)
    before = predict_probabilities(brightness_predictor, image)
    brightness_predictor.set_weights([-w for w in brightness_predictor.get_weights()])
    after = predict_probabilities(brightness_predictor, image)
    np.testing.assert_allclose(after, before[..., ::-1], rtol=1e-5)


def test_batch_normalization_runs_in_inference_mode():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, layers.BatchNormalization(epsilon=1e-7)(image))
    before = [w.copy() for w in model.get_weights()]
    raw = _image(4, 4)
    np.testing.assert_allclose(predict_probabilities(model, raw), raw, rtol=1e-5)  # moving mean 0, variance 1
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_mistakes(brightness_predictor):
    with pytest.raises(UserError, match=r"\(4, 5\)"):
        predict_classes(brightness_predictor, np.zeros((4, 5), np.uint8))
    with pytest.raises(UserError, match=r"\(0, 5, 3\)"):
        predict_classes(brightness_predictor, np.zeros((0, 5, 3), np.uint8))
    with pytest.raises(UserError, match="found 0"):
        predict_classes(brightness_predictor, _image(4, 4), window_batch=0)
    with pytest.raises(UserError, match="3 classes; found one of 2"):
        predict_classes(brightness_predictor, _image(4, 4), num_classes=3)
    image = keras.Input((None, None, 3))
    pooled = keras.Model(image, layers.MaxPooling2D(2)(image))
    with pytest.raises(UserError, match=r"\(1, 2, 2, 3\)"):
        predict_probabilities(pooled, _image(4, 4))


def test_broken_weights_are_reported(brightness_predictor):
    brightness_predictor.set_weights([w * np.nan for w in brightness_predictor.get_weights()])
    with pytest.raises(UserError, match="NaN or infinity"):
        predict_classes(brightness_predictor, _image(4, 4))


def test_more_than_256_classes():
    class Fake:
        def predict_on_batch(self, images):
            return np.eye(300, dtype=np.float32)[images[..., 0] + 44]

    classes = predict_classes(Fake(), np.array([[[255], [0]]], np.uint8).astype(int))
    assert classes.tolist() == [[299, 44]]
    assert classes.dtype == np.int32


def test_anything_with_predict_on_batch_is_a_predictor():
    class Fake:
        def predict_on_batch(self, images):
            return np.concatenate([images[..., :1] < 9, images[..., :1] >= 9], axis=-1)

    image = np.array([[[3], [9], [20]]], np.uint8)
    assert predict_classes(Fake(), image).tolist() == [[0, 1, 1]]

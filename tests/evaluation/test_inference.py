import keras
import numpy as np
import pytest
from keras import layers

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import predict_classes, predict_probabilities


def _image(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


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
        assert classes.dtype == np.int32


def test_new_sizes_are_not_traced_again(brightness_predictor):
    """Python runs in a layer's call only while a graph is traced: at most twice, however many sizes."""
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
    for size in range(4, 12):
        predict_classes(model, _image(size, size + 1))
    assert len(calls) <= 2


def test_model_keeps_its_own_jit_setting(brightness_predictor):
    brightness_predictor.jit_compile = chosen = keras.backend.backend() == "jax"
    predict_classes(brightness_predictor, _image(4, 4))
    assert brightness_predictor.jit_compile == chosen


def test_new_weights_count_at_once(brightness_predictor):
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
    image = keras.Input((None, None, 3))
    pooled = keras.Model(image, layers.MaxPooling2D(2)(image))
    with pytest.raises(UserError, match=r"\(1, 2, 2, 3\)"):
        predict_probabilities(pooled, _image(4, 4))


def test_anything_with_predict_on_batch_will_do():
    class Fake:
        def predict_on_batch(self, images):
            return np.concatenate([images[..., :1] < 9, images[..., :1] >= 9], axis=-1)

    image = np.array([[[3], [9], [20]]], np.uint8)
    assert predict_classes(Fake(), image).tolist() == [[0, 1, 1]]

"""What the tests of the methods share: random batches, a small segmenter, and gradients on every backend."""

import keras
import numpy as np
import pytest
from keras import layers

from rankmatch_keras.models import Segmenter


@pytest.fixture
def random_batch():
    """Makes a random batch that honours the contract, with boxes in both views and some padding."""
    return _random_batch


def _random_batch(labeled=1, unlabeled=2, size=33, classes=3, second_view=False, seed=0):
    rng = np.random.default_rng(seed)

    def images():
        return rng.normal(size=(unlabeled, size, size, 3)).astype("float32")

    box = np.array([[4, 6, 20, 25], [0, 0, 0, 0]], dtype="int32")
    batch = {
        "labeled_image": rng.normal(size=(labeled, size, size, 3)).astype("float32"),
        "labeled_mask": rng.integers(0, classes, (labeled, size, size)).astype("int32"),
        "weak_image": images(),
        "strong_image_1": images(),
        "strong_image_2": images(),
        "valid": np.ones((unlabeled, size, size), dtype=bool),
        "cutmix_box_1": np.resize(box, (unlabeled, 4)),
        "cutmix_box_2": np.resize(box[::-1], (unlabeled, 4)),
    }
    batch["pseudo_mask"] = np.random.default_rng(seed + 1).integers(0, classes, batch["valid"].shape).astype("int32")
    batch["labeled_mask"][:, -3:] = 255
    batch["valid"][0, :, -5:] = False
    if second_view:
        batch.update({f"source_{name}": images() for name in ("weak_image", "strong_image_1", "strong_image_2")})
        batch["source_valid"] = np.ones((unlabeled, size, size), dtype=bool)
        batch["source_valid"][0, -4:] = False
    return batch


@pytest.fixture
def small_segmenter():
    """Makes a segmenter of some ten thousand weights: maps at strides 4 and 16, normalisation in each half."""
    return _small_segmenter


def _small_segmenter(classes=3, seed=0):
    keras.utils.set_random_seed(seed)
    image = keras.Input((None, None, 3))
    low = layers.ReLU()(_conv(image, 12, 7, 4))
    high = layers.ReLU()(_conv(low, 24, 5, 4))
    encoder = keras.Model(image, {"low": low, "high": high}, name="encoder")
    maps = {name: keras.Input((None, None, filters), name=name) for name, filters in (("low", 12), ("high", 24))}
    features = layers.ReLU()(_conv(maps["high"], 16, 1, 1))
    coarse = layers.UpSampling2D(4)(layers.Conv2D(classes, 1)(features))
    # 33 pixels give 9 and 3 cells: 12 upsampled ones are cut to the 9 of the low map.
    coarse = layers.CenterCrop(9, 9)(coarse)
    logits = layers.Add()([layers.Conv2D(classes, 3, padding="same")(maps["low"]), coarse])
    decoder = keras.Model(maps, {"logits": logits, "features": features}, name="decoder")
    return Segmenter(encoder, decoder)


def _conv(x, filters, kernel_size, strides):
    x = layers.Conv2D(filters, kernel_size, strides=strides, padding="same", use_bias=False)(x)
    return layers.BatchNormalization(momentum=0.9)(x)


@pytest.fixture
def gradients():
    """Gradients of a scalar function without arguments with respect to a model's trainable variables, 0 where none."""
    return _gradients


def _gradients(function, model):
    variables = model.trainable_variables
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            value = function()
        found = tape.gradient(value, [variable.value for variable in variables])
        return [np.zeros(v.shape) if g is None else g.numpy() for g, v in zip(found, variables, strict=True)]
    if backend == "torch":
        model.zero_grad()
        value = function()
        if value.requires_grad:
            value.backward()
        found = [variable.value.grad for variable in variables]
        return [np.zeros(v.shape) if g is None else g.numpy() for g, v in zip(found, variables, strict=True)]
    import jax

    def stateless(values):
        with keras.StatelessScope(state_mapping=list(zip(variables, values, strict=True))):
            return function()

    return [np.asarray(gradient) for gradient in jax.grad(stateless)([variable.value for variable in variables])]


@pytest.fixture
def repeat():
    """Makes a `tf.data` pipeline that gives the same batch a number of times, as `fit` gets it on every backend."""

    def dataset(batch, steps):
        import tensorflow as tf

        return tf.data.Dataset.from_tensors(batch).repeat(steps)

    return dataset

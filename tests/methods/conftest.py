"""Fixtures of the tests of methods: random batches, a small segmenter, and gradients on every backend."""

import keras
import numpy as np
import pytest
import small_network


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
    """Makes a segmenter of a few layers."""
    return small_network.small_segmenter


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

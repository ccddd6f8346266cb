"""Functional models that call their layers directly compute what Keras computes, and keep no map longer than needed."""

import weakref

import keras
import numpy as np
import pytest
from keras import layers, ops

from rankmatch_keras.models import create_backbone, deeplab_v3_plus

if keras.backend.backend() != "torch":
    pytest.skip("the direct calls are PyTorch's", allow_module_level=True)

import torch

from rankmatch_keras.backend.torch.direct_calls import use_direct_calls


def small_model(dtype=None):
    """Make a model of nested models, several inputs and outputs, lists, plain operations and random layers."""
    keras.utils.set_random_seed(0)
    inner_input = {name: keras.Input((None, None, 3), name=name) for name in ("one", "two")}
    mixed = layers.Concatenate()([inner_input["two"], inner_input["one"]])
    inner = keras.Model(inner_input, [layers.Conv2D(4, 3, dtype=dtype)(mixed), mixed], name="inner")
    image = keras.Input((None, None, 3), dtype="uint8", name="image")
    x = layers.Rescaling(1 / 255)(image)
    convolved, both = inner({"one": x, "two": ops.flip(x, axis=1)})
    x = layers.BatchNormalization(dtype=dtype)(convolved)
    x = layers.Dropout(0.5, seed=1)(x)
    x = layers.Add()([x, layers.Activation("tanh")(x)])
    return keras.Model(image, {"map": x, "both": ops.mean(both, axis=(1, 2)), "scaled": 2.0 * x}, name="outer")


def results(direct, training):
    model = small_model()
    if direct:
        assert set(use_direct_calls(model)) == {"inner", "outer"}
    outputs = model(np.arange(2 * 5 * 6 * 3, dtype="uint8").reshape(2, 5, 6, 3), training=training)
    sum(ops.sum(value) for value in outputs.values()).backward()
    gradients = [variable.value.grad for variable in model.trainable_variables]
    return keras.tree.map_structure(keras.ops.convert_to_numpy, (outputs, gradients, model.variables))


@pytest.mark.parametrize("training", [True, False, None])
def test_outputs_gradients_and_variables_are_the_same(training):
    keras.tree.map_structure(np.testing.assert_array_equal, results(True, training), results(False, training))


def test_a_list_of_one_output_is_returned_as_keras_does():
    image = keras.Input((2,))
    model = keras.Model([image], [layers.Dense(1)(image)])
    expected = model([np.ones((3, 2))])
    use_direct_calls(model)
    assert torch.equal(model([np.ones((3, 2))]), expected)


def test_it_says_which_input_does_not_fit():
    model = small_model()
    use_direct_calls(model)
    with pytest.raises(ValueError, match="expected shape="):
        model(np.zeros((2, 5, 6, 4), "uint8"))


def test_a_layer_in_mixed_precision_is_called_by_keras():
    model = small_model(dtype="mixed_bfloat16")
    expected = model(np.ones((1, 5, 6, 3), "uint8"))["map"]
    use_direct_calls(model)
    found = model(np.ones((1, 5, 6, 3), "uint8"))["map"]
    assert found.dtype == expected.dtype
    assert torch.equal(found, expected)


def test_a_map_is_gone_when_its_last_reader_has_run():
    alive = []

    class Watch(layers.Layer):
        def call(self, inputs):
            alive.append(sum(reference() is not None for reference in maps))
            maps.append(weakref.ref(inputs))
            return inputs + 1.0

    maps: list[weakref.ref] = []
    image = x = keras.Input((2, 2, 1))
    for _ in range(5):
        x = Watch()(x)
    model = keras.Model(image, x)
    use_direct_calls(model)
    del alive[:], maps[:]
    with torch.no_grad():
        model(np.zeros((1, 2, 2, 1), "float32"))
    assert alive == [0] * 5  # Keras would keep 0, 1, 2, 3, 4


@pytest.mark.parametrize("training", [True, False])
def test_a_segmenter_computes_the_same(training, monkeypatch):
    found = []
    for direct in (False, True):
        keras.utils.set_random_seed(0)
        model = deeplab_v3_plus(create_backbone("tiny"), 3)
        if direct:
            assert len(use_direct_calls(model)) == 2
            # Neither encoder nor decoder, whose inputs are a dict, goes Keras' way.
            monkeypatch.setattr(type(model.decoder), "_run_through_graph", None)
        found.append(model(np.linspace(-1, 1, 2 * 33 * 49 * 3).reshape(2, 33, 49, 3), training=training))
    for name, value in found[0].items():
        assert torch.equal(value, found[1][name]), name

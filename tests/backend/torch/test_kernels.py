"""Keras' layers in PyTorch's kernels give Keras' own outputs, gradients and statistics."""

import keras
import numpy as np
import pytest
from keras import layers

from rankmatch_keras.layers import FineCoarseConv2D
from rankmatch_keras.layers.resize import ResizeLike
from rankmatch_keras.training.optimizers import SGD

if keras.backend.backend() != "torch":
    pytest.skip("the kernels are PyTorch's", allow_module_level=True)

import torch

from rankmatch_keras.backend.torch.kernels import use_torch_kernels, use_torch_update


def small_model(native):
    """Make a network of every kind of layer that changes, and of similar ones that must not."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    x = layers.ZeroPadding2D(2, name="image_pad")(image)
    x = layers.Conv2D(4, 3, strides=2, activation="tanh", name="conv")(x)
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-3, name="bn")(x)
    x = layers.Activation("relu", name="relu")(x)
    x = layers.ZeroPadding2D(1, name="pool_pad")(x)
    fine = x = layers.MaxPooling2D(3, strides=2, name="pool")(x)
    x = layers.DepthwiseConv2D(
        3, padding="same", depth_multiplier=2, dilation_rate=2, use_bias=False, name="depthwise"
    )(x)
    x = layers.BatchNormalization(name="shown_bn")(x)  # read twice: its ReLU must leave it alone
    y = layers.ReLU(max_value=6.0, name="relu6")(x)
    y = layers.Conv2D(8, 3, padding="same", dilation_rate=5, use_bias=False, name="dilated")(y)
    x = layers.Add(name="add")([x, y])
    x = layers.ReLU(name="add_relu")(x)
    x = layers.Conv2D(6, 2, strides=2, padding="same", groups=2, use_bias=False, name="grouped")(x)
    x = FineCoarseConv2D(5, name="joined")([fine, x])
    x = layers.BatchNormalization(epsilon=1e-5, scale=False, name="special_bn")(x)
    x = layers.ReLU(negative_slope=0.1, name="leaky")(x)
    outputs = ResizeLike(name="resize")(x, image)
    model = keras.Model(image, outputs)
    model.get_layer("bn").gamma.assign([0.5, 1.0, 2.0, -1.0])
    model.get_layer("bn").beta.assign([0.3, -0.2, 0.0, 1.0])
    if native:
        use_torch_kernels(model)
    return model


def test_which_layers_change():
    changed = {"image_pad", "conv", "bn", "relu", "pool_pad", "pool", "depthwise", "shown_bn", "dilated", "add_relu"}
    assert set(use_torch_kernels(small_model(native=False))) == {*changed, "grouped", "joined", "resize"}


@pytest.mark.parametrize("size", [(24, 26), (21, 32)])  # padding both even and lopsided
@pytest.mark.parametrize("training", [True, False])
def test_outputs_gradients_and_statistics_are_unchanged(training, size):
    results = []
    for native in (False, True):
        model = small_model(native)
        images = torch.tensor(3.0 + np.random.default_rng(1).normal(size=(2, *size, 3)).astype("float32"))
        images.requires_grad_(True)
        for _ in range(2):  # the second pass reads what the first one left in the statistics
            outputs = model(images, training=training)
        weight = torch.tensor(np.random.default_rng(2).normal(size=outputs.shape).astype("float32"))
        (outputs * weight).sum().backward()
        gradients = [images.grad, *(v.value.grad for v in model.trainable_variables)]
        statistics = [v.value.detach() for v in model.non_trainable_variables]
        results.append([t.numpy() for t in (outputs.detach(), *gradients, *statistics)])
    for expected, found in zip(*results, strict=True):
        # Keras' variance is a difference of large numbers, so compare by the largest value.
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-5 * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_half_precision_stays_near(policy):
    images = np.random.default_rng(1).normal(size=(2, 21, 32, 3)).astype("float32")
    previous = keras.config.dtype_policy()
    outputs = [keras.ops.convert_to_numpy(small_model(native=False)(images, training=True))]
    keras.config.set_dtype_policy(policy)
    try:
        for native in (False, True):
            model = small_model(native)
            half = model(images, training=True)
            assert keras.backend.standardize_dtype(half.dtype) == policy.removeprefix("mixed_")
            half.float().sum().backward()
            assert all(torch.isfinite(v.value.grad).all() for v in model.trainable_variables)
            outputs.append(keras.ops.convert_to_numpy(keras.ops.cast(half, "float32")))
    finally:
        keras.config.set_dtype_policy(previous)
    exact, plain, ours = outputs
    assert np.abs(ours - exact).mean() < 1.5 * np.abs(plain - exact).mean()


def test_no_copy_is_kept_for_the_backward_pass():
    kept = []
    for native in (False, True):
        model = small_model(native)
        sizes = {}

        def pack(tensor, sizes=sizes):
            sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
            return tensor

        maps = torch.ones((2, 31, 31, 4), requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.get_layer("relu")(model.get_layer("bn")(maps, training=True))
        kept.append(sum(sizes.values()))
    feature_map = 2 * 31 * 31 * 4 * 4
    # Its input, the output of the ReLU, and some numbers per channel.
    assert 2 * feature_map <= kept[1] < 2.1 * feature_map < kept[0]


def test_maps_that_others_read_keep_their_negative_values():
    model = small_model(native=True)
    images = np.random.default_rng(1).normal(size=(2, 24, 26, 3)).astype("float32")
    names = ("bn", "relu", "shown_bn", "add", "add_relu")
    both = keras.Model(model.input, [model.get_layer(name).output for name in names])
    maps = dict(zip(names, both.predict(images, verbose=0), strict=True))
    for name in ("bn", "shown_bn", "add"):
        assert maps[name].min() < 0
    np.testing.assert_array_equal(maps["relu"], np.maximum(maps["bn"], 0))
    np.testing.assert_array_equal(maps["add_relu"], np.maximum(maps["add"], 0))


def test_saved_files_do_not_change(tmp_path):
    model = small_model(native=True)
    images = np.random.default_rng(1).normal(size=(1, 8, 8, 3)).astype("float32")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(loaded.predict_on_batch(images), model.predict_on_batch(images), atol=1e-5)


def test_padding_that_must_stay():
    image = keras.Input((None, None, 3))
    x = layers.ZeroPadding2D(1, name="negative")(image)  # the largest value beside zeros may be negative
    x = layers.MaxPooling2D(3, strides=2)(x)
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="lopsided")(x)
    x = layers.Conv2D(4, 3)(x)
    x = layers.ZeroPadding2D(1, name="twice")(x)
    x = layers.Conv2D(4, 3, padding="same")(x)
    shared = layers.ZeroPadding2D(1, name="shared")(x)
    x = layers.Add()([layers.Conv2D(4, 3, name="one")(shared), layers.Conv2D(4, 3, name="other")(shared)])
    changed = use_torch_kernels(keras.Model(image, x))
    assert not {"negative", "lopsided", "twice", "shared"} & set(changed)


def test_updates_of_all_variables_together_are_unchanged():
    shapes = [(3, 3, 4, 5), (5,), (1, 1, 5, 2)]
    start = [np.random.default_rng(i).normal(size=shape).astype("float32") for i, shape in enumerate(shapes)]
    results = []
    for together in (False, True):
        variables = [keras.Variable(value) for value in start]
        optimizer = SGD(0.1, momentum=0.9, l2=0.3, head_multiplier=10.0, clipnorm=3.0)
        optimizer.set_head(variables[2:])
        optimizer.build(variables)
        assert not together or use_torch_update(optimizer)
        for step in range(3):
            gradients = [keras.ops.convert_to_tensor(np.cos(step + value)) for value in start]
            optimizer.apply(gradients[::-1], variables[::-1])
        results.append([np.array(v) for v in (*variables, *optimizer.momentums, optimizer.iterations)])
    for expected, found in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_other_optimizers_stay_as_they_are():
    optimizer = keras.optimizers.AdamW(0.1)
    optimizer.build([keras.Variable([1.0])])
    assert not use_torch_update(optimizer)


@pytest.mark.parametrize("name", ["conv", "joined"])
def test_kernels_are_stored_in_the_order_that_is_read(name):
    kernel = small_model(native=True).get_layer(name).kernel
    assert tuple(kernel.shape[:2]) == (3, 3)
    assert kernel.value.permute(3, 0, 1, 2).is_contiguous()
    kernel.assign(np.zeros(kernel.shape))  # as loading a file does
    assert kernel.value.permute(3, 0, 1, 2).is_contiguous()

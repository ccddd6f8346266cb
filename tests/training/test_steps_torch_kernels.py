"""PyTorch's kernels give Keras' own outputs, gradients and statistics."""

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="the kernels are PyTorch's")


def small_model(native):
    from rankmatch_keras.training.steps_torch_kernels import use_torch_kernels

    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, strides=2, padding="same", activation="tanh")(image)
    x = keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3)(x)
    x = keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, dilation_rate=2)(x)
    x = keras.layers.Conv2D(6, 2, strides=2, groups=2, use_bias=False)(x)
    x = keras.layers.BatchNormalization(epsilon=1e-5, scale=False)(x)  # not plain: stays as it is
    model = keras.Model(image, x)
    model.layers[2].gamma.assign([0.5, 1.0, 2.0, -1.0])
    model.layers[2].beta.assign([0.3, -0.2, 0.0, 1.0])
    if native:
        assert use_torch_kernels(model) == 4
    return model


@pytest.mark.parametrize("size", [(12, 13), (9, 16)])  # padding both even and lopsided
@pytest.mark.parametrize("training", [True, False])
def test_outputs_gradients_and_statistics_are_unchanged(training, size):
    import torch

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


def test_no_copy_is_kept_for_the_backward_pass():
    import torch

    kept = []
    for native in (False, True):
        model = small_model(native)
        images = torch.ones((2, 64, 64, 3))
        sizes = {}

        def pack(tensor, sizes=sizes):
            sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            model.layers[2](model.layers[1](images), training=True)
        kept.append(sum(sizes.values()))
    feature_map = 2 * 32 * 32 * 4 * 4
    assert kept[1] < kept[0] - feature_map


def test_saved_files_do_not_change(tmp_path):
    model = small_model(native=True)
    images = np.random.default_rng(1).normal(size=(1, 8, 8, 3)).astype("float32")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(loaded.predict_on_batch(images), model.predict_on_batch(images), atol=1e-5)


def test_updates_of_all_variables_together_are_unchanged():
    from rankmatch_keras.training.optimizers import SGD
    from rankmatch_keras.training.steps_torch_kernels import use_torch_update

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
    from rankmatch_keras.training.steps_torch_kernels import use_torch_update

    optimizer = keras.optimizers.AdamW(0.1)
    optimizer.build([keras.Variable([1.0])])
    assert not use_torch_update(optimizer)


def test_kernels_are_stored_in_the_order_that_is_read():
    model = small_model(native=True)
    kernel = model.layers[1].kernel
    assert tuple(kernel.shape) == (3, 3, 3, 4)
    assert kernel.value.permute(3, 0, 1, 2).is_contiguous()
    kernel.assign(np.zeros((3, 3, 3, 4)))  # as loading a file does
    assert kernel.value.permute(3, 0, 1, 2).is_contiguous()

"""Synchronized batch normalization computes what PyTorch's own does over one process."""

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="the engine of torch")


@pytest.fixture
def group():
    """Process group of this process alone."""
    from torch import distributed

    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    yield
    distributed.destroy_process_group()


@pytest.mark.parametrize("shape", [(6, 5), (4, 7, 5), (3, 9, 8, 5)])
@pytest.mark.parametrize("center_and_scale", [True, False])
def test_outputs_gradients_and_statistics(group, shape, center_and_scale):
    import torch

    from rankmatch_keras.backend.torch.replicas import use_synchronized_batch_norm

    rng = np.random.default_rng(0)
    values, slopes = (rng.normal(2.0, 3.0, shape).astype("float32") for _ in range(2))
    options = {"center": center_and_scale, "scale": center_and_scale, "momentum": 0.9, "epsilon": 1e-2}
    found = []
    for synchronized in (False, True):
        layer = keras.layers.BatchNormalization(**options)
        model = keras.Sequential([keras.Input(shape[1:]), layer])
        for number, variable in enumerate(layer.trainable_variables):
            variable.assign(np.linspace(0.5, 1.5, shape[-1]) + number)
        if synchronized:
            assert use_synchronized_batch_norm(model) == 1
        inputs = torch.tensor(values, requires_grad=True)
        outputs = model(inputs, training=True)
        (outputs * torch.tensor(slopes)).sum().backward()
        gradients = [inputs.grad, *(variable.value.grad for variable in layer.trainable_variables)]
        results = [outputs, *gradients, layer.moving_mean.value, layer.moving_variance.value]
        found.append([value.detach().numpy() for value in results])
    for expected, value in zip(*found, strict=True):
        np.testing.assert_allclose(value, expected, rtol=0, atol=1e-5 * np.abs(expected).max())  # sums of 216 values

from pathlib import Path

import numpy as np
import pytest
from keras import ops

from rankmatch_keras.errors import UserError
from rankmatch_keras.models import BACKBONES, create_backbone

WEIGHTS = Path(__file__).resolve().parents[3] / "shared/data/weights/mobilenet_v2_imagenet_no_top.weights.h5"


def first_kernel(backbone):
    return next(layer for layer in backbone.layers if "conv" in layer.name.lower() and layer.weights).get_weights()[0]


def save_random_weights(name, path):
    network = BACKBONES[name].build(None)
    rng = np.random.default_rng(0)
    # Not the initial values: moving statistics and biases must be copied too.
    network.set_weights([np.abs(rng.normal(0.1, 0.05, w.shape)).astype("float32") for w in network.get_weights()])
    network.save_weights(path)
    return str(path)


@pytest.mark.parametrize(
    "name",
    ["tiny", *(pytest.param(n, marks=pytest.mark.once) for n in ("mobilenet_v2", "resnet50", "kerascv_resnet50"))],
)
def test_one_channel_equals_three_equal_colors(name, tmp_path):
    weights = save_random_weights(name, tmp_path / "w.weights.h5")
    gray = np.random.default_rng(1).normal(size=(1, 64, 48, 1)).astype("float32")
    one = create_backbone(name, weights, channels=1)
    three = create_backbone(name, weights)
    assert one.input_shape[-1] == 1
    for key, expected in three(np.repeat(gray, 3, -1)).items():
        expected = ops.convert_to_numpy(expected)
        found = ops.convert_to_numpy(one(gray)[key])
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3 * np.abs(expected).max())


@pytest.mark.once
@pytest.mark.parametrize(("name", "order"), [("mobilenet_v2", (0, 1, 2)), ("resnet50", (2, 1, 0))])
def test_further_channels_take_the_colors_in_turn(name, order, tmp_path):
    # order: positions of red, green and blue in the pretrained kernel
    weights = save_random_weights(name, tmp_path / "w.weights.h5")
    color = first_kernel(create_backbone(name, weights))
    six = first_kernel(create_backbone(name, weights, channels=6))
    assert six.shape == (*color.shape[:2], 6, color.shape[3])
    for channel in range(6):
        np.testing.assert_allclose(six[:, :, channel], color[:, :, order[channel % 3]] / 2, rtol=1e-6)


@pytest.mark.skipif(not WEIGHTS.is_file(), reason=f"needs {WEIGHTS}")
def test_pretrained_weights_with_one_channel():
    one = create_backbone("mobilenet_v2", str(WEIGHTS), channels=1)
    three = create_backbone("mobilenet_v2", str(WEIGHTS))
    np.testing.assert_allclose(first_kernel(one)[:, :, 0], first_kernel(three).sum(2), rtol=1e-5, atol=1e-6)


def test_zero_channels_are_refused():
    with pytest.raises(UserError, match="at least 1 image channel"):
        create_backbone("tiny", channels=0)

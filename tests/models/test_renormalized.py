"""Backbones that take what another one expects."""

import numpy as np
import pytest
from keras import ops

from rankmatch_keras import models
from rankmatch_keras.layers import ChannelNormalization


def low(backbone, images):
    return ops.convert_to_numpy(backbone(images)["low"])


@pytest.mark.parametrize("other", ["resnet50", "mobilenet_v2"])  # BGR, and -1 to 1
def test_it_sees_what_its_own_normalisation_gives(other):
    raw = np.random.default_rng(0).uniform(0, 255, (1, 33, 33, 3)).astype("float32")
    backbone = models.create_backbone("tiny")
    expected = low(backbone, ChannelNormalization(**models.backbone_normalization("tiny"))(raw))
    theirs = ChannelNormalization(**models.backbone_normalization(other))(raw)
    found = low(models.renormalized(backbone, "tiny", other), theirs)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_other_images_than_colours():
    raw = np.random.default_rng(0).normal(300, 40, (1, 33, 33, 2)).astype("float32")
    statistics = (290.0, 310.0), (40.0, 45.0)
    backbone = models.create_backbone("tiny", channels=2)
    own, theirs = (
        ChannelNormalization(**models.measured_normalization(name, *statistics))(raw) for name in ("tiny", "resnet50")
    )
    found = low(models.renormalized(backbone, "tiny", "resnet50"), theirs)
    expected = low(backbone, own)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_the_same_normalisation_needs_nothing():
    backbone = models.create_backbone("tiny")
    assert models.renormalized(backbone, "tiny", "tiny") is backbone


def test_a_segmenter_is_built_on_it():
    backbone = models.renormalized(models.create_backbone("tiny"), "tiny", "mobilenet_v2")
    segmenter = models.deeplab_v3_plus(backbone, 3, aspp_filters=8, decoder_filters=8)
    assert segmenter(np.zeros((1, 33, 33, 3), "float32"))["logits"].shape == (1, 33, 33, 3)
    assert segmenter.encoder.input_shape[-1] == 3

"""Networks from options."""

import keras
import pytest

from rankmatch_keras import data, models
from rankmatch_keras.training.inputs import choose_split
from rankmatch_keras.training.model import build_method, build_optimizer, build_segmenter
from rankmatch_keras.training.options import Options


@pytest.mark.once
@pytest.mark.parametrize(("network", "kind"), [("keras", "Segmenter"), ("keras-cv", "DeepLabV3Plus")])
@pytest.mark.parametrize("pool_norm", [True, False])
def test_either_network_can_do_without_normalization_of_the_pooled_image(network, kind, pool_norm, checkout):
    options = Options(backbone="tiny", labels=2, network=network, pool_norm=pool_norm)
    scenes = data.SampleScenes(checkout / "data" / "sample")
    segmenter = build_segmenter(scenes, choose_split(scenes, options), options)
    assert type(segmenter).__name__ == kind
    assert ("aspp_pool_bn" in [layer.name for layer in segmenter.decoder.layers]) is pool_norm


def test_the_second_network_sees_the_images_of_the_first():
    sizes = {"aspp_filters": 8, "decoder_filters": 8}
    options = Options(method="cotraining", backbone="resnet50", second_backbone="tiny", network="keras", **sizes)
    first = models.deeplab_v3_plus(models.create_backbone("tiny"), 4, **sizes)
    method = build_method(first, options, total_steps=5)
    assert method.second.encoder.name == "tiny"
    assert models.class_count(method.second) == 4
    kinds = [type(layer).__name__ for layer in method.second.encoder.layers]
    assert "ChannelNormalization" in kinds
    assert method.students[0] is first


@pytest.mark.once
def test_segformers_decoder_learns_at_the_rate_of_the_head(checkout):
    sizes = {"backbone": "tiny", "labels": 2, "decoder": "segformer", "decoder_filters": 8, "output_stride": 8}
    options = Options(method="cps", head_multiplier=10.0, **sizes)
    scenes = data.SampleScenes(checkout / "data" / "sample")
    segmenter = build_segmenter(scenes, choose_split(scenes, options), options)
    assert segmenter.decoder.output["decoded"].shape[-1] == 8
    assert segmenter(keras.Input((65, 65, 3)))["features"].shape[1:] == (9, 9, 8)  # at the output stride
    method = build_method(segmenter, options, total_steps=5)
    method.compile(build_optimizer(options, 5))
    rates = {v.path: method.optimizer.rate_factor(v) for v in segmenter.trainable_variables}
    assert {rates[v.path] for v in segmenter.decoder.trainable_variables} == {10.0}
    assert {rates[v.path] for v in segmenter.encoder.trainable_variables} == {1.0}


def test_an_option_wins_over_the_preset():
    options = Options(backbone="tiny", preset="reference", num_agents=16)
    segmenter = models.deeplab_v3_plus(models.create_backbone("tiny", None), 3)
    method = build_method(segmenter, options, total_steps=10)
    assert (method.num_agents, method.pixel_scale) == (16, 0.5)

"""The network that the flags name."""

import pytest

from rankmatch_keras import building, data, models, recipe
from rankmatch_keras.options import Options


@pytest.mark.once
@pytest.mark.parametrize(("network", "kind"), [("keras", "Segmenter"), ("keras-cv", "DeepLabV3Plus")])
@pytest.mark.parametrize("pool_norm", [True, False])
def test_either_network_can_do_without_normalisation_of_the_pooled_image(network, kind, pool_norm, checkout):
    options = Options(backbone="tiny", labels=2, network=network, pool_norm=pool_norm)
    scenes = data.SampleScenes(checkout / "data" / "sample")
    segmenter = building.build_segmenter(scenes, recipe.choose_split(scenes, options), options)
    assert type(segmenter).__name__ == kind
    assert ("aspp_pool_bn" in [layer.name for layer in segmenter.decoder.layers]) is pool_norm


def test_a_flag_wins_over_the_preset():
    options = Options(backbone="tiny", preset="reference", num_agents=16)
    segmenter = models.deeplab_v3_plus(models.create_backbone("tiny", None), 3)
    method = building.build_method(segmenter, options, total_steps=10)
    assert (method.num_agents, method.pixel_scale) == (16, 0.5)

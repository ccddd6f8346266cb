"""The network that the flags name."""

import pytest

from rankmatch_keras import building, data, recipe
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

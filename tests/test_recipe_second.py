"""The flags of a second network."""

import pytest

from rankmatch_keras import models, recipe
from rankmatch_keras.errors import UserError
from rankmatch_keras.options import Options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "cotraining"}, "a second network for --method cotraining; found no --second-backbone"),
        ({"method": "unimatch", "second_backbone": "tiny"}, "but it trains one network"),
        ({"method": "cps", "second_weights": "imagenet"}, "the weights alone"),
    ],
)
def test_flags_that_do_not_fit(options, message):
    with pytest.raises(UserError, match=message):
        recipe.require_second(Options(**options))


def test_flags_that_fit():
    recipe.require_second(Options(method="cotraining", second_backbone="tiny"))
    recipe.require_second(Options(method="cps"))
    recipe.require_second(Options(method="cps", second_backbone="tiny"))
    recipe.require_second(Options(method="rankmatch"))


def test_the_second_network_sees_the_firsts_images():
    sizes = {"aspp_filters": 8, "decoder_filters": 8}
    options = Options(method="cotraining", backbone="resnet50", second_backbone="tiny", network="keras", **sizes)
    first = models.deeplab_v3_plus(models.create_backbone("tiny"), 4, **sizes)
    method = recipe.build_method(first, options, total_steps=5)
    assert method.second.encoder.name == "tiny"
    assert models.class_count(method.second) == 4
    kinds = [type(layer).__name__ for layer in method.second.encoder.layers]
    assert "ChannelNormalization" in kinds
    assert method.students[0] is first

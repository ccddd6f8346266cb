import keras
import numpy as np
import pytest

from rankmatch_keras import models
from rankmatch_keras.errors import UserError
from rankmatch_keras.layers import ChannelNormalization

pytestmark = pytest.mark.once


@pytest.fixture(scope="module")
def parts():
    segmenter = models.deeplab_v3_plus(models.create_backbone("tiny"), 3, aspp_filters=8, decoder_filters=8)
    normalization = ChannelNormalization(**models.backbone_normalization("tiny"))
    return segmenter, normalization, models.predictor(segmenter, normalization)


def test_the_features_of_a_saved_predictor_are_those_of_the_segmenter(parts, tmp_path):
    segmenter, normalization, predictor = parts
    predictor.save(tmp_path / "p.keras")
    network, stride = models.feature_model(models.load_predictor(tmp_path / "p.keras"))
    # 33 x 49 pixels are 2 x 16 + 1 and 3 x 16 + 1: nothing is padded.
    image = np.random.default_rng(0).uniform(0, 255, (1, 33, 49, 3)).astype("float32")
    expected = segmenter(normalization(image), training=False)["features"]
    found = network.predict_on_batch(image)
    assert stride == 16 and found.shape == (1, 3, 4, 8)
    np.testing.assert_allclose(found, keras.ops.convert_to_numpy(expected), rtol=1e-4, atol=1e-5)


def test_other_sizes_are_padded(parts):
    network, _ = models.feature_model(parts[2])
    assert network.predict_on_batch(np.zeros((1, 34, 33, 3), "float32")).shape == (1, 4, 3, 8)


def test_another_model_is_refused():
    image = keras.Input((None, None, 3))
    other = keras.Model(image, keras.layers.Conv2D(2, 1)(image))
    with pytest.raises(UserError, match="0 encoders and 0 decoders"):
        models.feature_model(other)

import keras
import numpy as np
import pytest
from keras import layers, ops

from rankmatch_keras.errors import UserError
from rankmatch_keras.models import create_backbone, deeplab_v3_plus
from rankmatch_keras.models.deeplab_v3_plus import build_decoder, low_high_encoder


def rates(model):
    names = [f"aspp_atrous_{i}_conv" for i in (1, 2, 3)]
    return [model.decoder.get_layer(name).dilation_rate[0] for name in names]


@pytest.mark.parametrize(("stride", "expected"), [(16, [6, 12, 18]), (8, [12, 24, 36])])
def test_atrous_rates_follow_the_output_stride(stride, expected):
    backbone = create_backbone("tiny", output_stride=stride)
    model = deeplab_v3_plus(backbone, 3, aspp_filters=4, decoder_filters=4)
    assert rates(model) == expected
    assert tuple(model(np.zeros((1, 65, 65, 3), "float32"))["logits"].shape) == (1, 65, 65, 3)


def test_parameters_of_the_published_decoder():
    decoder = build_decoder(256, 2048, 21)

    def block(inputs, filters, kernel):
        return inputs * filters * kernel * kernel + 4 * filters

    expected = block(256, 48, 1)  # low-level projection
    expected += 2 * block(2048, 256, 1) + 3 * block(2048, 256, 3)  # 1x1, image pooling, three atrous
    expected += block(5 * 256, 256, 1)  # projection of the ASPP
    expected += block(48 + 256, 256, 3) + block(256, 256, 3) + 256 * 21 + 21
    assert decoder.count_params() == expected
    assert tuple(decoder.output["features"].shape) == (None, None, None, 256)
    # With ResNet-50; the published program counts 40.5 million, its stem has two more convolutions.
    assert round((expected + 23_587_712) / 1e6, 1) == 40.4


def test_normalization_is_the_papers():
    model = deeplab_v3_plus(create_backbone("tiny"), 3, aspp_filters=4, decoder_filters=4)
    norms = [x for x in model.decoder.layers if isinstance(x, layers.BatchNormalization)]
    assert len(norms) == 9
    assert {(x.momentum, x.epsilon) for x in norms} == {(0.9, 1e-5)}


def test_image_pooling_sees_the_whole_image():
    keras.utils.set_random_seed(0)
    decoder = build_decoder(4, 4, 2, aspp_filters=4, decoder_filters=4, rates=(1, 1, 1))
    maps = {"low": np.zeros((1, 65, 65, 4), "float32"), "high": np.zeros((1, 17, 17, 4), "float32")}
    before = decoder.predict(maps, verbose=0)["features"]
    maps["high"][0, 0, 0] = 300.0
    after = decoder.predict(maps, verbose=0)["features"]
    # The far corner is beyond the 3x3 windows: only the pooled branch connects the two.
    assert np.abs(after - before)[0, -1, -1].max() > 0.0


def pooled_branch(decoder, high):
    """Return the output of ASPP's image pooling in training, (B, D)."""
    branch = keras.Model(decoder.inputs, decoder.get_layer("aspp_pool_relu").output)
    low = np.zeros((*high.shape[:3], 4), "float32")
    return ops.convert_to_numpy(branch({"low": low, "high": high}, training=True))[:, 0, 0]


def test_pooled_branch_of_two_images_loses_their_values_unless_pool_norm_is_off():
    """Normalization over a batch of two numbers leaves only the sign of their difference."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    published = build_decoder(4, 4, 2, aspp_filters=16, decoder_filters=4)
    without = build_decoder(4, 4, 2, aspp_filters=16, decoder_filters=4, pool_norm=False)
    assert {x.name for x in published.layers} - {x.name for x in without.layers} == {"aspp_pool_bn"}
    high = rng.normal(0.0, 100.0, (2, 5, 5, 4)).astype("float32")
    further = high * np.array([1.0, 3.0], "float32")[:, None, None, None]
    assert set(np.round(pooled_branch(published, high), 2).ravel()) == {0.0, 1.0}
    np.testing.assert_allclose(pooled_branch(without, further)[1], 3 * pooled_branch(without, high)[1], rtol=1e-5)
    assert np.ptp(pooled_branch(without, high)) > 0.0


def test_library_networks_and_unsuitable_ones():
    image = keras.Input((None, None, 3))
    quarter = layers.Conv2D(4, 3, strides=4, padding="same", name="quarter")(image)
    last = layers.Conv2D(6, 3, strides=2, padding="same")(layers.ReLU(name="quarter_relu")(quarter))
    encoder = low_high_encoder(keras.Model(image, last))
    assert encoder.output["low"].shape[-1] == 4 and encoder.output["high"].shape[-1] == 6
    with pytest.raises(UserError, match="low and high"):
        low_high_encoder(keras.Model(image, layers.GlobalAveragePooling2D()(quarter)))
    with pytest.raises(UserError, match="low and high"):
        low_high_encoder(keras.Model(image, layers.Conv2D(4, 3, strides=8)(image)))


def test_wrong_output_stride_is_refused():
    with pytest.raises(UserError, match="output stride 8.*output stride 16"):
        deeplab_v3_plus(create_backbone("tiny"), 3, output_stride=8)

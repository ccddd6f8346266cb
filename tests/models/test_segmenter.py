import keras
import numpy as np
import pytest
from keras import layers, ops

from rankmatch_keras.models import Segmenter, create_backbone, deeplab_v3_plus
from rankmatch_keras.models.segmenter import as_maps


@pytest.fixture(scope="module")
def segmenter():
    keras.utils.set_random_seed(0)
    return deeplab_v3_plus(create_backbone("tiny"), num_classes=4, aspp_filters=16, decoder_filters=16)


def images(*size, seed=0):
    return ops.convert_to_tensor(np.random.default_rng(seed).normal(size=(2, *size, 3)).astype("float32"))


def numpy_logits(outputs):
    return ops.convert_to_numpy(outputs["logits"])


@pytest.mark.parametrize("size", [(33, 33), (64, 50), (17, 81)])
def test_shapes_and_halves(segmenter, size):
    x = images(*size)
    features = segmenter.encode(x, training=False)
    grid = tuple(-(-side // 16) for side in size)
    assert set(features) == {"low", "high", "canvas"}
    assert tuple(features["canvas"].shape) == (2, *size, 0)
    assert tuple(features["high"].shape) == (2, *grid, 96)
    outputs = segmenter.decode(features, training=False)
    assert tuple(outputs["logits"].shape) == (2, *size, 4)
    assert tuple(outputs["features"].shape) == (2, *grid, 16)
    assert keras.backend.standardize_dtype(outputs["logits"].dtype) == "float32"
    np.testing.assert_array_equal(numpy_logits(outputs), numpy_logits(segmenter(x, training=False)))


def test_one_encoder_pass_serves_two_decodes_in_one_batch(segmenter):
    features = segmenter.encode(images(33, 49), training=False)
    # Clean first half, second half with the high map dropped; slices and concatenations include the canvas.
    both = {name: ops.concatenate([x, x if name != "high" else x * 0.0]) for name, x in features.items()}
    logits = numpy_logits(segmenter.decode(both, training=False))
    assert logits.shape == (4, 33, 49, 4)
    clean = numpy_logits(segmenter.decode(features, training=False))
    np.testing.assert_allclose(logits[:2], clean, rtol=1e-5, atol=1e-5)
    assert np.abs(logits[2:] - clean).max() > 1e-3
    one = {name: x[1:2] for name, x in features.items()}
    np.testing.assert_allclose(numpy_logits(segmenter.decode(one, training=False)), clean[1:2], rtol=1e-4, atol=1e-5)


def test_training_flag_reaches_both_halves():
    keras.utils.set_random_seed(0)
    model = deeplab_v3_plus(create_backbone("tiny"), num_classes=2, aspp_filters=8, decoder_filters=8)
    before = [ops.convert_to_numpy(v) for v in model.non_trainable_variables]
    model(images(33, 33), training=False)
    assert all(
        np.array_equal(b, ops.convert_to_numpy(v)) for b, v in zip(before, model.non_trainable_variables, strict=True)
    )
    model(images(33, 33), training=True)
    changed = [
        not np.array_equal(b, ops.convert_to_numpy(v))
        for b, v in zip(before, model.non_trainable_variables, strict=True)
    ]
    # Every moving statistic moves, those of the encoder and of the decoder.
    assert all(changed) and len(changed) == 2 * (10 + 9)


def test_symbolic_call(segmenter):
    unknown = segmenter(keras.Input((None, None, 3)))
    assert tuple(unknown["logits"].shape) == (None, None, None, 4)
    known = segmenter(keras.Input((33, 49, 3)))
    assert tuple(known["logits"].shape) == (None, 33, 49, 4)
    assert tuple(known["features"].shape) == (None, 3, 4, 16)


def test_predict_and_graph_mode(segmenter):
    x = ops.convert_to_numpy(images(33, 49))
    outputs = segmenter.predict(x, verbose=0)
    np.testing.assert_allclose(outputs["logits"], numpy_logits(segmenter(x, training=False)), rtol=1e-4, atol=1e-4)


def test_every_weight_gets_a_gradient(segmenter):
    x, variables = images(33, 49), segmenter.trainable_variables
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3))])
        def gradients(x):
            with tf.GradientTape() as tape:
                loss = tf.reduce_mean(segmenter(x, training=True)["logits"] ** 2)
            return tape.gradient(loss, [v.value for v in variables])

        found = gradients(x)
    elif keras.backend.backend() == "torch":
        import torch

        loss = (segmenter(x, training=True)["logits"] ** 2).mean()
        found = torch.autograd.grad(loss, [v.value for v in variables], allow_unused=True)
    else:
        pytest.skip("gradients through tensorflow and torch")
    assert all(g is not None for g in found)


def test_save_and_load(segmenter, tmp_path):
    path = tmp_path / "segmenter.keras"
    segmenter.save(path)
    loaded = keras.models.load_model(path)
    assert isinstance(loaded, Segmenter)
    x = images(33, 49)
    np.testing.assert_array_equal(numpy_logits(loaded(x, training=False)), numpy_logits(segmenter(x, training=False)))


def test_clone_has_its_own_weights(segmenter):
    clone = Segmenter.from_config(segmenter.get_config())
    assert clone.count_params() == segmenter.count_params()
    assert not {id(v) for v in clone.variables} & {id(v) for v in segmenter.variables}
    clone.set_weights(segmenter.get_weights())
    x = images(33, 33)
    np.testing.assert_array_equal(numpy_logits(clone(x, training=False)), numpy_logits(segmenter(x, training=False)))


def test_any_two_models_make_a_segmenter():
    image = keras.Input((None, None, 1))
    encoder = keras.Model(image, [layers.Conv2D(3, 3, strides=2, padding="same")(image)])
    maps = {"map_0": keras.Input((None, None, 3), name="map_0")}
    logits = layers.Conv2D(2, 1)(maps["map_0"])
    model = Segmenter(encoder, keras.Model(maps, {"logits": logits, "features": maps["map_0"]}))
    outputs = model(np.zeros((1, 9, 11, 1), "float32"))
    assert tuple(outputs["logits"].shape) == (1, 9, 11, 2)
    assert tuple(outputs["features"].shape) == (1, 5, 6, 3)
    assert set(as_maps([1, 2])) == {"map_0", "map_1"} and as_maps({"a": 1}) == {"a": 1}


def test_logits_stay_float32_under_mixed_precision():
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = deeplab_v3_plus(create_backbone("tiny"), num_classes=2, aspp_filters=8, decoder_filters=8)
        outputs = model(images(33, 33))
    finally:
        keras.config.set_dtype_policy(policy)
    assert keras.backend.standardize_dtype(outputs["logits"].dtype) == "float32"
    assert keras.backend.standardize_dtype(outputs["features"].dtype) == "bfloat16"

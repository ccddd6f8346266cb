import keras
import numpy as np
import pytest

from rankmatch_keras import RankMatch, SupervisedOnly
from rankmatch_keras.errors import UserError
from rankmatch_keras.training.optimizers import SGD


def test_compiling_with_a_loss_is_an_error(small_segmenter):
    for argument in ("loss", "loss_weights"):
        with pytest.raises(ValueError, match="SupervisedOnly brings its own losses: compile it without `loss`"):
            SupervisedOnly(small_segmenter()).compile("sgd", **{argument: "mse"})


def test_xla_is_off_on_cpus_but_for_jax(small_segmenter):
    method = SupervisedOnly(small_segmenter())
    method.compile("sgd")
    assert method.jit_compile == (keras.backend.backend() == "jax")


def test_xla_on_request(small_segmenter):
    method = SupervisedOnly(small_segmenter())
    method.compile("sgd", jit_compile=True)
    assert method.jit_compile is True


def test_compile_builds_the_optimizer(small_segmenter):
    method = SupervisedOnly(small_segmenter())
    method.compile(SGD(0.1))
    assert method.optimizer.built
    assert len(method.optimizer.momentums) == len(method.trainable_variables)


def test_decoder_is_the_head(small_segmenter, random_batch, repeat):
    # Without momentum and L2 a step is rate * gradient, and the decoder's is three times longer.
    batch = random_batch(labeled=2)
    moves = []
    for multiplier in (1.0, 3.0):
        method = SupervisedOnly(small_segmenter())
        method.compile(SGD(0.1, momentum=0.0, l2=0.0, head_multiplier=multiplier))
        before = [keras.ops.convert_to_numpy(v) for v in method.trainable_variables]
        method.fit(repeat(batch, 1), shuffle=False, verbose=0)
        after = [keras.ops.convert_to_numpy(v) for v in method.trainable_variables]
        moves.append([a - b for a, b in zip(after, before, strict=True)])
    head = {id(v) for v in method.segmenter.decoder.trainable_variables}
    assert 0 < len(head) < len(method.trainable_variables)
    for variable, slow, fast in zip(method.trainable_variables, *moves, strict=True):
        factor = 3.0 if id(variable) in head else 1.0
        np.testing.assert_allclose(fast, factor * slow, rtol=1e-3, atol=1e-6, err_msg=variable.path)


def test_decoder_is_the_head_under_loss_scaling(small_segmenter):
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        method = SupervisedOnly(small_segmenter())
        optimizer = SGD(0.1, head_multiplier=10.0)
        method.compile(optimizer)
    finally:
        keras.config.set_dtype_policy(previous)
    assert method.optimizer is not optimizer  # Keras wraps it
    assert len(optimizer._head) == len(method.segmenter.decoder.trainable_variables)


def test_call_gives_logits(small_segmenter, random_batch):
    method = SupervisedOnly(small_segmenter())
    batch = random_batch(labeled=2)
    from_images = keras.ops.convert_to_numpy(method(batch["labeled_image"]))
    assert from_images.shape == (2, 33, 33, 3)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(method(batch)), from_images)


def test_logs_are_means_over_the_epoch(small_segmenter):
    method = SupervisedOnly(small_segmenter())
    method.compile()
    method.log({"loss": 1.0, "supervised": 3.0})
    logs = method.log({"loss": 2.0, "supervised": 5.0})
    assert {name: float(value) for name, value in logs.items()} == {"loss": 1.5, "supervised": 4.0}
    for metric in method.metrics:
        metric.reset_state()
    assert float(method.log({"loss": 7.0, "supervised": 1.0})["loss"]) == 7.0


def test_weights_survive_saving(small_segmenter, random_batch, tmp_path):
    method, other = RankMatch(small_segmenter(seed=0)), RankMatch(small_segmenter(seed=1))
    images = random_batch()["labeled_image"]
    path = tmp_path / "method.weights.h5"
    method.save_weights(path)
    expected = keras.ops.convert_to_numpy(method(images))
    assert np.abs(keras.ops.convert_to_numpy(other(images)) - expected).max() > 1e-3
    other.load_weights(path)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(other(images)), expected)


def test_a_plain_model_is_refused_at_construction():
    with pytest.raises(UserError, match="found a Sequential without them.*deeplab_v3_plus"):
        RankMatch(keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 1)]))

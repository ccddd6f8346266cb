"""Models that tf-keras saved, compared with its own outputs."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras import RankMatch
from rankmatch_keras.errors import UserError
from rankmatch_keras.layers import ChannelNormalization
from rankmatch_keras.models import Segmenter, from_tf_keras, load_predictor, predictor
from rankmatch_keras.models.keras_2.files import assign, read_model
from rankmatch_keras.models.keras_2.graph import Graph

MAKER = pathlib.Path(__file__).with_name("tf_keras_models.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Make models with tf-keras, and their outputs."""
    pytest.importorskip("tf_keras", reason="needs tf-keras to make Keras 2 models")
    pytest.importorskip("tensorflow", reason="tf-keras needs TensorFlow")
    folder = tmp_path_factory.mktemp("keras_2")
    paths = os.pathsep.join([str(MAKER.parents[3]), *(p for p in sys.path if p)])
    done = subprocess.run(
        [sys.executable, str(MAKER), str(folder)],
        env={**os.environ, "PYTHONPATH": paths, "TF_CPP_MIN_LOG_LEVEL": "2"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def numbers(x):
    return ops.convert_to_numpy(x)


def of_tf_keras(folder, name):
    """Return image and output of a model in tf-keras."""
    data = np.load(folder / f"{name}.npz")
    return data["image"], data["output"]


def converted(path):
    """Return the Keras 3 twin of a whole file, with its last activation."""
    config, weights = read_model(path)
    graph = Graph(config)
    assign(graph.layers, weights(graph.layers))
    return graph.model


def test_every_layer_and_operation_computes_the_same(folder):
    names = sorted(p.stem for p in folder.glob("*.h5") if p.stem.startswith(("layer_", "operation_")))
    assert len(names) > 50
    errors = {}
    for name in names:
        image, expected = of_tf_keras(folder, name)
        y = numbers(converted(folder / f"{name}.h5")(image, training=False))
        assert y.shape == expected.shape, name
        errors[name] = np.abs(y - expected).max() / max(1.0, np.abs(expected).max())
    assert max(errors.values()) < 1e-5, {name: error for name, error in errors.items() if error >= 1e-5}


@pytest.mark.parametrize("form", [".h5", "_saved"])
@pytest.mark.parametrize("name", ["u_net", "mobile_deeplab", "frozen_inside"])
def test_whole_models_compute_the_same(folder, name, form):
    segmenter = from_tf_keras(folder / f"{name}{form}")
    assert isinstance(segmenter, Segmenter)
    image, expected = of_tf_keras(folder, name)
    logits = segmenter(image, training=False)["logits"]
    y = numbers(logits)
    if name != "frozen_inside":  # its output has no activation: logits as they are
        y = numbers(ops.softmax(logits))
    if name == "mobile_deeplab":  # one sigmoid channel: class 1 of two
        assert y.shape[-1] == 2
        y = y[..., 1:]
    assert np.ptp(expected) > 1e-3  # else equality would say nothing
    np.testing.assert_allclose(y, expected, atol=1e-5, rtol=1e-5)


def test_model_in_memory(folder):
    probabilities = np.load(folder / "in_memory.npy")
    np.testing.assert_allclose(probabilities[..., 1:], of_tf_keras(folder, "mobile_deeplab")[1], atol=1e-5)


def test_frozen_normalization_stays_frozen(folder):
    segmenter = from_tf_keras(folder / "frozen_inside.h5")
    image, expected = of_tf_keras(folder, "frozen_inside")
    # The nested model was called with training=False: training mode changes nothing.
    np.testing.assert_allclose(numbers(segmenter(image, training=True)["logits"]), expected, atol=1e-5, rtol=1e-5)


def test_encoder_and_decoder(folder):
    segmenter = from_tf_keras(folder / "u_net.h5")
    image, _ = of_tf_keras(folder, "u_net")
    maps = segmenter.encode(ops.convert_to_tensor(image), training=False)
    # Quarter resolution is the coarsest; two maps skip it.
    assert {name: tuple(x.shape[1:]) for name, x in maps.items()} == {
        "features": (16, 16, 6),
        "skip_1": (32, 32, 6),
        "skip_2": (64, 64, 4),
        "image_size": (64, 64, 0),
        "canvas": (64, 64, 0),
    }
    outputs = segmenter.decode(maps, training=False)
    np.testing.assert_array_equal(numbers(outputs["features"]), numbers(maps["features"]))
    whole = segmenter(image, training=False)
    np.testing.assert_allclose(numbers(outputs["logits"]), numbers(whole["logits"]), atol=1e-6)
    dropped = {name: x * 0.0 if name == "features" else x for name, x in maps.items()}
    assert np.abs(numbers(segmenter.decode(dropped, training=False)["logits"] - whole["logits"])).max() > 1e-3


def test_chosen_features(folder):
    segmenter = from_tf_keras(folder / "mobile_deeplab.h5", features="block_6_expand_relu")
    image, expected = of_tf_keras(folder, "mobile_deeplab")
    outputs = segmenter(image, training=False)
    assert tuple(outputs["features"].shape[1:3]) == (8, 8)
    np.testing.assert_allclose(numbers(ops.softmax(outputs["logits"]))[..., 1:], expected, atol=1e-5)
    with pytest.raises(UserError, match="found 'projektion'. Choose one of .*projection"):
        from_tf_keras(folder / "mobile_deeplab.h5", features="projektion")


def test_sizes_that_the_model_refuses_are_padded(folder):
    segmenter = from_tf_keras(folder / "u_net.h5")  # accepts multiples of 4
    image = np.random.default_rng(1).normal(size=(1, 33, 42, 3)).astype("float32")
    y = numbers(segmenter(image, training=False)["logits"])
    padded = numbers(segmenter(np.pad(image, ((0, 0), (0, 3), (0, 2), (0, 0))), training=False)["logits"])
    assert y.shape == (1, 33, 42, 3)
    np.testing.assert_allclose(y, padded[:, :33, :42], atol=1e-5)


def test_fixed_size_and_any_size(folder):
    image = np.random.default_rng(1).normal(size=(1, 64, 96, 2)).astype("float32")
    fixed, free = (from_tf_keras(folder / "frozen_inside.h5", any_size=any_size) for any_size in (False, True))
    small = image[:, :32, :48]
    np.testing.assert_allclose(numbers(fixed(small)["logits"]), numbers(free(small)["logits"]), atol=1e-5)
    assert tuple(fixed(image)["features"].shape[1:3]) == (16, 24)  # resized inside
    assert tuple(free(image)["features"].shape[1:3]) == (32, 48)
    with pytest.raises(UserError, match=r"'tf.image.resize_1' .*resizes to \[16, 16\].*leave out any_size"):
        from_tf_keras(folder / "mobile_deeplab.h5", any_size=True)


@pytest.mark.parametrize("name", ["u_net", "mobile_deeplab"])
def test_rankmatch_trains_it_and_the_predictor_keeps_it(folder, name, tmp_path):
    segmenter = from_tf_keras(folder / f"{name}.h5")
    image, _ = of_tf_keras(folder, name)
    model = predictor(segmenter, ChannelNormalization((127.5,) * 3, (127.5,) * 3))
    model.save(tmp_path / "p.keras")
    raw = np.random.default_rng(0).integers(0, 256, (1, 37, 50, 3)).astype("uint8")
    expected = numbers(model(raw, training=False))
    assert expected.shape[:3] == (1, 37, 50)
    np.testing.assert_array_equal(numbers(load_predictor(tmp_path / "p.keras")(raw, training=False)), expected)

    before = [numbers(v).copy() for v in segmenter.trainable_variables]
    method = RankMatch(segmenter, num_agents=4, threshold=0.1)
    method.compile(keras.optimizers.SGD(0.01))
    box = np.tile(np.array([[4, 4, 20, 24]], "int32"), (2, 1))
    batch = {k: image for k in ("labeled_image", "weak_image", "strong_image_1", "strong_image_2")}
    batch |= {"cutmix_box_1": box, "cutmix_box_2": box, "valid": np.ones((2, 64, 64), bool)}
    batch["labeled_mask"] = np.random.default_rng(0).integers(0, 2, (2, 64, 64)).astype("int32")
    logs = method.train_on_batch(batch, return_dict=True)
    assert all(np.isfinite(value) for value in logs.values())
    assert sum(not np.array_equal(b, numbers(v)) for b, v in zip(before, segmenter.trainable_variables, strict=True))


def test_saved_predictor_loads_in_a_fresh_process(folder, tmp_path):
    segmenter = from_tf_keras(folder / "mobile_deeplab.h5")
    predictor(segmenter, ChannelNormalization((0.0,) * 3, (1.0,) * 3)).save(tmp_path / "p.keras")
    program = (
        "import sys; from rankmatch_keras.models import load_predictor\n"
        f"load_predictor({str(tmp_path / 'p.keras')!r})\n"
        "print('tf_keras' in sys.modules)"
    )
    paths = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip().endswith("False")


def test_programs_of_saved_models_do_not_run(folder):
    """TensorFlow's own loader would write the file."""
    (folder / "written").unlink(missing_ok=True)  # saving may have written it
    from_tf_keras(folder / "program_saved")
    assert not (folder / "written").exists()


def test_program_code_is_refused(folder):
    with pytest.raises(UserError, match=r"layer 'lambda' \(Lambda\), which holds program code, which is never run"):
        from_tf_keras(folder / "lambda.h5")

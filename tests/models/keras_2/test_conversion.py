import json
import os
import pathlib
import subprocess
import sys

import h5py
import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras import RankMatch
from rankmatch_keras.errors import UserError
from rankmatch_keras.layers import ChannelNormalization
from rankmatch_keras.models import Segmenter, from_tf_keras, load_predictor, predictor
from rankmatch_keras.models.keras_2.files import METADATA, _fields, assign, read_model
from rankmatch_keras.models.keras_2.graph import Graph

MAKER = pathlib.Path(__file__).with_name("tf_keras_models.py")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Models that tf-keras made, beside what it computes with them."""
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
    """(image, output) of a model in tf-keras."""
    data = np.load(folder / f"{name}.npz")
    return data["image"], data["output"]


def converted(path):
    """The Keras 3 twin of a whole file, with its activation at the end."""
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


def test_frozen_normalisation_stays_frozen(folder):
    segmenter = from_tf_keras(folder / "frozen_inside.h5")
    image, expected = of_tf_keras(folder, "frozen_inside")
    # The nested model was called with training=False: training mode changes nothing.
    np.testing.assert_allclose(numbers(segmenter(image, training=True)["logits"]), expected, atol=1e-5, rtol=1e-5)


def test_halves_and_features(folder):
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


def test_sizes_that_the_model_cannot_take_are_padded(folder):
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


def test_program_code_is_refused_not_run(folder):
    with pytest.raises(UserError, match=r"layer 'lambda' \(Lambda\), which holds program code, which is never run"):
        from_tf_keras(folder / "lambda.h5")


# From here on without tf-keras: configurations as it writes them.


def layer(kind, name, inputs, **config):
    nodes = [[[source, 0, 0, {}] for source in inputs]] if inputs else []
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}


def model_config(*layers, shape=(None, None, None, 2)):
    image = layer("InputLayer", "in", [], batch_input_shape=list(shape))
    return {
        "class_name": "Functional",
        "config": {
            "name": "m",
            "layers": [image, *layers],
            "input_layers": [["in", 0, 0]],
            "output_layers": [[layers[-1]["name"], 0, 0]],
        },
    }


def conv(name, source, filters=3, **config):
    return layer("Conv2D", name, [source], filters=filters, kernel_size=[1, 1], **config)


def write(path, config, weights=None):
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        for name, values in (weights or {}).items():
            group = file.create_group(f"model_weights/{name}")
            group.attrs["weight_names"] = [f"{name}/{key}:0" for key in values]
            for key, value in values.items():
                group[f"{name}/{key}:0"] = value
        file.require_group("model_weights")
    return path


def conv_weights(inputs, outputs):
    return {"kernel": np.ones((1, 1, inputs, outputs), "float32"), "bias": np.zeros(outputs, "float32")}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (layer("TFOpLambda", "op", ["in"], function="io.read_file"), "'op' .*calls tf.io.read_file"),
        (layer("MyLayer", "mine", ["in"]), "'mine' .*no known twin"),
        (layer("Activation", "act", ["in"], activation="hard_sigmoid"), "'act' .*activation 'hard_sigmoid'"),
        (layer("MaxPooling2D", "pool", ["in"], data_format="channels_first"), "'pool' .*puts channels first"),
        (layer("ReLU", "relu", ["in"], wiggle=3), "'relu' .*argument wiggle=3"),
        (layer("Add", "add", ["in", "nowhere"]), "'add' .*depends on a layer that is missing"),
    ],
)
def test_what_cannot_be_translated_is_named(bad, message, tmp_path):
    if bad["class_name"] == "TFOpLambda":
        bad["inbound_nodes"] = [["in", 0, 0, {}]]
    if bad["name"] == "add":
        bad["inbound_nodes"][0][1] = ["conv_2", 0, 0, {}]
        config = model_config(bad, conv("conv_2", "add"))
    else:
        config = model_config(bad, conv("conv", bad["name"]))
    with pytest.raises(UserError, match=message):
        from_tf_keras(write(tmp_path / "m.h5", config))


@pytest.mark.parametrize(
    ("last", "message"),
    [
        (conv("last", "conv", 3, activation="sigmoid"), "a sigmoid of 3 channels"),
        (conv("last", "conv", 1, activation="softmax"), "a softmax of 1 channels"),
    ],
)
def test_classes_that_do_not_exclude_each_other(last, message, tmp_path):
    weights = {"conv": conv_weights(2, 3), "last": conv_weights(3, last["config"]["filters"])}
    with pytest.raises(UserError, match=message):
        from_tf_keras(write(tmp_path / "m.h5", model_config(conv("conv", "in"), last), weights))


def test_softmax_before_the_upsampling(tmp_path):
    up = layer("UpSampling2D", "up", ["conv"], size=[2, 2])
    config = model_config(conv("conv", "in", activation="softmax"), up)
    with pytest.raises(UserError, match="'conv' .*before the last upsampling"):
        from_tf_keras(write(tmp_path / "m.h5", config, {"conv": conv_weights(2, 3)}))


def test_missing_and_wrong_weights(tmp_path):
    config = model_config(conv("a", "in"), conv("b", "a"))
    with pytest.raises(UserError, match=r"weight 'kernel' of layer 'b', of shape \(1, 1, 3, 3\); found none"):
        from_tf_keras(write(tmp_path / "m.h5", config, {"a": conv_weights(2, 3)}))
    with pytest.raises(UserError, match=r"of layer 'b', .*found shape \(1, 1, 2, 3\)"):
        from_tf_keras(write(tmp_path / "n.h5", config, {"a": conv_weights(2, 3), "b": conv_weights(2, 3)}))


def test_one_logit_by_hand(tmp_path):
    # z = 2 (x_0 + x_1) per pixel: class logits (0, z).
    weights = {"a": conv_weights(2, 2), "b": conv_weights(2, 1)}
    config = model_config(conv("a", "in", 2), conv("b", "a", 1, activation="sigmoid"))
    segmenter = from_tf_keras(write(tmp_path / "m.h5", config, weights))
    x = np.array([[[[1.0, 2.0], [0.5, -1.0]]]], "float32")
    np.testing.assert_allclose(numbers(segmenter(x)["logits"]), [[[[0.0, 6.0], [0.0, -1.0]]]], atol=1e-6)


@pytest.mark.parametrize("kind", ["nothing", "text", "weights only", "empty folder", "broken json", "subclassed"])
def test_what_is_no_model(kind, tmp_path):
    path = tmp_path / "m.h5"
    if kind == "text":
        path.write_text("not a model")
    elif kind == "weights only":
        h5py.File(path, "w").close()
    elif kind == "empty folder":
        path.mkdir()
    elif kind == "broken json":
        with h5py.File(path, "w") as file:
            file.attrs["model_config"] = "{"
    elif kind == "subclassed":
        write(path, {"class_name": "MyModel", "config": {}})
    with pytest.raises(UserError, match="Expected"):
        from_tf_keras(path)
    with pytest.raises(UserError, match="found a int"):
        from_tf_keras(3)


def broken_configs():
    yield {"class_name": "Functional", "config": {"layers": "none"}}
    yield {"class_name": "Functional", "config": []}
    yield []
    for key in ("layers", "output_layers", "input_layers"):
        config = model_config(conv("a", "in"), conv("b", "a"))
        config["config"][key] = {"x": [1, None]}
        yield config
    for node in (3, ["in"], [["in"]], [[["in", 5, 0, {}]]], [[["in", 0, 7, {}]]], [[["in", 0, 0, 4]]]):
        config = model_config(conv("a", "in"), conv("b", "a"))
        config["config"]["layers"][1]["inbound_nodes"] = node
        yield config
    for change in ({"filters": "many"}, {"filters": -1}, {"kernel_size": []}, {"dtype": {"a": 1}}, {"activation": [2]}):
        config = model_config(conv("a", "in"), conv("b", "a"))
        config["config"]["layers"][1]["config"].update(change)
        yield config


@pytest.mark.parametrize("config", list(broken_configs()))
def test_broken_configurations_end_in_one_line(config, tmp_path):
    weights = {"a": conv_weights(2, 3), "b": conv_weights(3, 3)}
    with pytest.raises(UserError) as caught:
        from_tf_keras(write(tmp_path / "m.h5", config, weights))
    assert "\n" not in str(caught.value)


def test_links_out_of_the_file_are_not_followed(tmp_path):
    weights = {"a": conv_weights(2, 3), "b": conv_weights(3, 3)}
    config = model_config(conv("a", "in"), conv("b", "a"))
    write(tmp_path / "other.h5", config, weights)
    path = write(tmp_path / "m.h5", config, weights)
    with h5py.File(path, "a") as file:
        del file["model_weights/a/a/kernel:0"]
        file["model_weights/a/a/kernel:0"] = h5py.ExternalLink("other.h5", "model_weights/a/a/kernel:0")
    with pytest.raises(UserError, match="found a link to .*other.h5"):
        from_tf_keras(path)


def test_broken_saved_model(tmp_path):
    (tmp_path / "variables").mkdir()
    (tmp_path / "variables/variables.index").write_bytes(b"")
    for data in (b"\x0a\xff", b"\xff" * 9, b"", b"\x0a\x02\x08\x01"):
        (tmp_path / METADATA).write_bytes(data)
        with pytest.raises(UserError):
            from_tf_keras(tmp_path)


def test_fields_of_a_message_by_hand():
    # Field 2, varint 300; field 5, the three bytes "abc".
    assert list(_fields(bytes([0x10, 0xAC, 0x02, 0x2A, 3]) + b"abc")) == [(2, 300), (5, b"abc")]

"""Configurations as tf-keras writes them, and files that are broken or hostile; tf-keras is not needed."""

import json

import h5py
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.errors import UserError
from rankmatch_keras.models import from_tf_keras
from rankmatch_keras.models.keras_2.files import METADATA


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
def test_untranslatable_layers_are_named(bad, message, tmp_path):
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
    np.testing.assert_allclose(ops.convert_to_numpy(segmenter(x)["logits"]), [[[[0.0, 6.0], [0.0, -1.0]]]], atol=1e-6)


@pytest.mark.parametrize("kind", ["nothing", "text", "weights only", "empty folder", "broken json", "subclassed"])
def test_files_without_a_model(kind, tmp_path):
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

"""Exported files: raw images of any size in, the network's classes and probabilities out."""

import re

import keras
import numpy as np
import pytest
from PIL import Image

from rankmatch_keras import backend
from rankmatch_keras.errors import UserError
from rankmatch_keras.layers.normalization import ChannelNormalization
from rankmatch_keras.models import create_backbone, deeplab_v3_plus, exporting, load_predictor, predictor, start_from
from rankmatch_keras.models.export_facts import parsed_facts
from rankmatch_keras.models.exported import ExportedPredictor, agreement

# Multiples of the stride plus 1 and others, both sides, so that nothing of one size is kept.
SIZES = [(49, 33), (50, 61), (64, 48), (33, 33)]
NAMES = ("ground", "cell", "=1+1", "\u00e9")
KINDS = sorted(backend.export.WRITERS)


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    segmenter = deeplab_v3_plus(create_backbone("tiny"), num_classes=4, aspp_filters=8, decoder_filters=8)
    for layer in segmenter.decoder.layers:
        if layer.name == "classifier":  # classes that differ from pixel to pixel, without ties
            layer.kernel.assign(20 * layer.kernel.value)
    return predictor(segmenter, ChannelNormalization(mean=(90, 110, 130), std=(50, 60, 70), reverse_channels=True))


def images(dtype="uint8"):
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, size=(*size, 3)).astype(dtype) for size in SIZES]


def needed(kind):
    form = exporting.FORMATS[kind]
    for module in (*form.modules[keras.backend.backend()], form.runtime):
        pytest.importorskip(module or "keras")


def exported(network, kind, folder, **options):
    needed(kind)
    path = folder / f"network{exporting.FORMATS[kind].ending}"
    exporting.write_exported(network, kind, path, **options)
    return path


@pytest.fixture(scope="module")
def onnx_file(network, tmp_path_factory):
    return exported(network, "onnx", tmp_path_factory.mktemp("onnx"), class_names=NAMES)


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_gives_the_network_s_classes_at_any_size(network, kind, tmp_path, request):
    path = request.getfixturevalue("onnx_file") if kind == "onnx" else None
    path = path or exported(network, kind, tmp_path, class_names=NAMES)
    loaded = load_predictor(path)
    assert loaded.class_names == NAMES and loaded.slices == 1
    assert isinstance(loaded, ExportedPredictor)
    assert loaded.input_shape == (1, None, None, 3) and loaded.dtype == "uint8"
    assert loaded.output_shape == (1, None, None, 4)
    share, difference = agreement(network, loaded, images())
    assert share == 1.0 and difference < 1e-4
    classes, probabilities = loaded.predict(images()[1])
    assert classes.dtype == np.uint8 and len(np.unique(classes)) > 1
    np.testing.assert_array_equal(classes, probabilities.argmax(-1))
    # Windows of scaled images are floats; 16-bit images would wrap around.
    np.testing.assert_array_equal(loaded.predict(images()[1] + np.float32(0.2))[1], probabilities)
    with pytest.raises(UserError, match="values from 0 to 255, .* found an image of uint16"):
        loaded.predict(images("uint16")[1] + 300)
    with pytest.raises(UserError, match="an exported one"):
        start_from(None, path)
    assert loaded.predict_on_batch(np.stack([images()[0]] * 2)).shape == (2, *SIZES[0], 4)


@pytest.mark.skipif("onnx" not in KINDS, reason="this backend writes no ONNX")
def test_the_documented_program_segments_a_photo(network, tmp_path, monkeypatch, checkout, onnx_file, capsys):
    (code,) = re.findall(r"```python\n(.*?)```", (checkout / "docs/export.md").read_text(), re.DOTALL)
    assert len(code.strip().splitlines()) <= 16
    photo = images()[1]
    Image.fromarray(photo).save(tmp_path / "photo.png")
    (tmp_path / "cells.onnx").symlink_to(onnx_file)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "export.md", "exec"), {})
    expected = np.asarray(network.predict_on_batch(photo[None]))[0].argmax(-1)
    with Image.open("mask.png") as mask:
        np.testing.assert_array_equal(np.asarray(mask), expected)
    assert f"class 0: {np.mean(expected == 0):.1%} of the photo" in capsys.readouterr().out


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind in ("tflite", "torch")])
def test_a_fixed_size_takes_images_of_that_size_alone(network, kind, tmp_path):
    loaded = load_predictor(exported(network, kind, tmp_path, size=(50, 61), dtype="float32"))
    assert loaded.input_shape == (1, 50, 61, 3) and loaded.dtype == "float32"
    first, fitting, *_ = images("float32")
    share, difference = agreement(network, loaded, [fitting])
    assert share == 1.0 and difference < 1e-4
    with pytest.raises(UserError, match="images of 50x61x3, .* found one of 49x33x3. Export .* --size dynamic"):
        loaded.predict(first)


def test_every_format_has_a_writer():
    running = keras.backend.backend()
    assert set(KINDS) == {kind for kind, form in exporting.FORMATS.items() if running in form.modules}


def test_another_backend_writes_what_this_one_cannot(monkeypatch):
    monkeypatch.setattr(exporting, "require_modules", lambda *names: None)
    assert exporting.writer_of("onnx", "torch", ["tensorflow", "torch"]) == "torch"
    assert exporting.writer_of("onnx", "jax", ["tensorflow", "jax"]) == "tensorflow"
    assert exporting.writer_of("torch", "jax", ["torch", "jax"]) == "torch"
    with pytest.raises(UserError, match=r"tensorflow, which can write a SavedModel; found only jax. Run `pip install"):
        exporting.writer_of("savedmodel", "jax", ["jax"])


def test_a_missing_package_is_named():
    with pytest.raises(UserError, match=r"no_such_package.*pip install 'rankmatch-keras\[export\]'"):
        exporting.require_modules("keras", "no_such_package")


@pytest.mark.parametrize("name", [f"broken{exporting.FORMATS[kind].ending}" for kind in KINDS if kind != "savedmodel"])
def test_a_broken_file_is_named(name, tmp_path):
    runtime = {"onnx": "onnxruntime", "tflite": "ai_edge_litert", "pt2": "torch"}[name.partition(".")[2]]
    pytest.importorskip(runtime)
    (tmp_path / name).write_bytes(b"not a network")
    with pytest.raises(UserError, match=f"{name}.*Export it again"):
        load_predictor(tmp_path / name)
    with pytest.raises(UserError, match="no file"):
        load_predictor(tmp_path / f"no-{name}")


def test_a_layer_that_cannot_be_written_is_named(tmp_path):
    class Peculiar(keras.layers.Layer):
        def call(self, x):
            if not isinstance(x, keras.KerasTensor) and keras.backend.backend() != "jax":
                raise NotImplementedError("no such operation")
            return x

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape)

    if not KINDS:
        pytest.skip("this backend writes no files")
    needed(KINDS[-1])
    image = keras.Input((None, None, 3))
    with pytest.raises(UserError, match=r"layer 'odd' of Peculiar \(.*no such operation"):
        exporting.write_exported(
            keras.Model(image, Peculiar(name="odd")(image)),
            KINDS[-1],
            tmp_path / f"x{exporting.FORMATS[KINDS[-1]].ending}",
        )


def test_a_file_of_another_network_is_noticed(network, tmp_path):
    class Other:
        def predict(self, image):
            classes, probabilities = self.values
            return classes, probabilities

    image, other = images()[0], Other()
    expected = np.asarray(network.predict_on_batch(image[None]))[0]
    classes = expected.argmax(-1)
    other.values = np.where(np.arange(classes.size).reshape(classes.shape) < 17, 1 - classes, classes), expected
    assert agreement(network, other, [image]) == (1 - 17 / classes.size, 0.0)
    other.values = classes[1:], expected[1:]
    assert agreement(network, other, [image]) == (0.0, 1.0)


@pytest.mark.once
@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"classes": ["a"], "slices": 1}', '{"classes": ["a", 1], "slices": 1}', "[" * 99_999]
    + ['{"classes": ["a", "b"], "slices": 2}', '{"classes": ["a", "b"], "slices": 5}'],
)
def test_facts_of_another_kind_are_none(text):
    assert parsed_facts(text, 2, 3) == ((), 1)
    assert parsed_facts('{"classes": ["a", "b"], "slices": 3}', 2, 3) == (("a", "b"), 3)

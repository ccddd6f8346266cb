"""Augmentations of one's own, in both pipelines."""

import importlib.util
import pickle

import numpy as np
import pytest

from rankmatch_keras.data import Array, Sample, read_augmentation, training_batches
from rankmatch_keras.data.batches.reading_errors import reading_errors
from rankmatch_keras.errors import UserError
from rankmatch_keras.layers import ChannelNormalization

pytestmark = pytest.mark.once
IMAGE = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
MASK = np.int32([[0, 1, 2, 255], [2, 1, 0, 0]])


@pytest.fixture
def own(tmp_path):
    """Reads an augmentation whose body is given."""

    def make(body, num_classes=3, before=""):
        path = tmp_path / f"own_{abs(hash(body))}.py"
        path.write_text(f"import numpy as np\n{before}\ndef mine(image, mask, rng):\n    {body}\n")
        return read_augmentation(f"{path}:mine", num_classes)

    return make


def test_the_function_gets_image_mask_and_numbers_of_the_example_alone(own):
    augment = own("return image[:, ::-1] + np.uint8(rng.integers(100)), mask[:, ::-1]")
    image, mask = augment(IMAGE, MASK, 7, True, 5)
    expected = IMAGE[:, ::-1] + np.uint8(np.random.default_rng((7, 4, 1, 5)).integers(100))
    np.testing.assert_array_equal(image, expected)
    np.testing.assert_array_equal(mask, MASK[:, ::-1])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(augment))(IMAGE, MASK, 7, True, 5)[0], expected)
    others = [augment(IMAGE, MASK, *key)[0] for key in ((8, True, 5), (7, False, 5), (7, True, 6))]
    assert all((other != expected).any() for other in others)


def test_it_cannot_change_what_it_got_and_may_change_the_size(own):
    augment = own("image[:] = 0; return image[:1], None if mask is None else mask[:1].astype(np.uint8)")
    image, mask = augment(IMAGE, MASK, 0, True, 0)
    assert image.shape == (1, 4, 3) and mask.dtype == np.int32 and IMAGE.any()
    assert augment(IMAGE, None, 0, False, 0)[1] is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return image", "a pair of image and mask from --augment own.*:mine; found ndarray"),
        ("return image / 255, mask", r"of uint8 from .*found \(2, 4, 3\) of float64"),
        ("return image[..., :1], mask", r"an image \(height, width, 3\) of uint8 .*found \(2, 4, 1\)"),
        ("return image[:0], mask[:0]", r"found \(0, 4, 3\)"),
        ("return image, mask[:1]", r"a mask \(2, 4\) of whole numbers .*found \(1, 4\) of int32"),
        ("return image, mask * 1.0", r"found \(2, 4\) of float64"),
        ("return image, mask + 1", "class ids from 0 to 2, or 255 .*found 3"),
        ("return image, None", "no mask where none is given, and one where one is .*found NoneType"),
        ("return image.no_such, mask", "found AttributeError: .*no_such"),
        ("raise SystemExit(0)", "found SystemExit: 0"),
        (
            "return np.broadcast_to(image[:1, :1], (10**4, 10**4 + 1, 3)), mask",
            r"at most 100 megapixels .*found \(10000, 10001, 3\)",
        ),
    ],
)
def test_wrong_results_are_refused(body, message, own):
    with pytest.raises(UserError, match=message):
        own(body)(IMAGE, MASK, 0, True, 0)


def test_numbers_that_are_none_are_refused_unless_they_were_there(own):
    augment = own("return image * np.float32(np.nan), mask")
    image = IMAGE.astype(np.float32)
    with pytest.raises(UserError, match="finite numbers, as in the image that it got, from|found NaN or infinite"):
        augment(image, MASK, 0, True, 0)
    image[0, 0] = np.nan  # no data there
    augment(image, MASK, 0, True, 0)


def test_a_file_that_changes_is_not_run(own, tmp_path):
    augment = own("return image, mask", before="# first")
    augment.file.write_text("raise SystemExit")
    from rankmatch_keras.data.views.own import _load

    _load.cache_clear()  # as in a worker that starts later
    with pytest.raises(UserError, match="the file of --augment as the run began; found another"):
        augment(IMAGE, MASK, 0, True, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("own.py", "FILE.py:NAME as --augment; found 'own.py'"),
        ("own.txt:mine", "FILE.py:NAME"),
        ("own.py:a.b", "FILE.py:NAME"),
        ("nowhere.py:mine", "the Python file of --augment; found none at nowhere.py"),
        ("{}/good.py:main", "no main in .*good.py. Did you mean mine"),
        ("{}/quits.py:mine", "a Python file that runs; found SystemExit: 0 in .*quits.py"),
        ("{}/bad.py:mine", "a Python file that runs; found SyntaxError: .* in .*bad.py"),
    ],
)
def test_mistakes_in_the_name_are_one_line(text, message, tmp_path):
    (tmp_path / "good.py").write_text("def mine(image, mask, rng): return image, mask")
    (tmp_path / "quits.py").write_text("raise SystemExit(0)")
    (tmp_path / "bad.py").write_text("def mine(:")
    with pytest.raises(UserError, match=message) as caught:
        read_augmentation(text.format(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(importlib.util.find_spec("keras_cv") is None, reason="needs keras-cv")
def test_tf_data_ends_with_the_error_of_the_function_itself(own):
    augment = own("return image, 7 if mask.any() else mask")
    masks = [Array(np.full((40, 40), value, np.int32), "mask") for value in (0, 1)]
    samples = [Sample(str(n), Array(np.zeros((40, 40, 3), np.uint8), "image"), mask) for n, mask in enumerate(masks)]
    batches = training_batches(
        samples,
        None,
        crop=32,
        batch_size=1,
        normalization=ChannelNormalization(mean=(0.0,) * 3, std=(1.0,) * 3),
        steps=2,
        pipeline="tf.data",
        augmentation=augment,
    )
    with (
        pytest.raises(UserError, match=r"^Expected a mask \(40, 40\) of whole numbers from --augment .*found int"),
        reading_errors(),
    ):
        list(batches)


@pytest.mark.parametrize("pipeline", ["workers", "tf.data"])
def test_both_pipelines_call_it_before_the_views(pipeline, own):
    if pipeline == "tf.data" and importlib.util.find_spec("keras_cv") is None:
        pytest.skip("needs keras-cv")
    # Each image becomes one value of its example's own: so are all pixels of its views inside the image.
    augment = own("return np.full_like(image, rng.integers(256)), None if mask is None else np.full_like(mask, 2)")
    image = np.random.default_rng(0).integers(0, 255, (40, 40, 3), dtype=np.uint8)
    samples = [Sample(str(n), Array(image, "image"), Array(np.zeros((40, 40), np.int32), "mask")) for n in range(2)]
    batches = training_batches(
        samples,
        samples,
        crop=32,
        batch_size=2,
        normalization=ChannelNormalization(mean=(0.0,) * 3, std=(1.0,) * 3),
        scale=(1.0, 1.0),
        strong="none",
        seed=3,
        steps=1,
        parallel_calls=0,
        pipeline=pipeline,
        augmentation=augment,
    )
    (batch,) = [{name: np.asarray(value) for name, value in batch.items()} for batch in batches]
    for labeled, name in ((True, "labeled_image"), (False, "weak_image")):
        values = [np.random.default_rng((3, 4, int(labeled), n)).integers(256) for n in range(2)]
        assert batch[name].max(axis=(1, 2, 3)) == pytest.approx(values, abs=1e-3)
    assert (batch["labeled_mask"] == 2).all()

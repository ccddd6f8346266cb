from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from rankmatch_keras.data import (
    Sample,
    SampleScenes,
    choose_labeled,
    training_batches,
)
from rankmatch_keras.errors import UserError

SCENES = SampleScenes(Path(__file__).resolve().parents[2] / "data" / "sample")
SPLIT = choose_labeled(SCENES.train[:11], 3, seed=0)
RAW = SimpleNamespace(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), reverse_channels=False)


def batches(**kwargs):
    options = dict(crop=(40, 48), batch_size=2, unlabeled_batch_size=3, normalization=RAW, steps=3) | kwargs
    labeled = options.pop("labeled", SPLIT.labeled)
    return training_batches(labeled, options.pop("unlabeled", SPLIT.unlabeled), **options)


def arrays(dataset):
    return list(dataset.as_numpy_iterator())


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


@pytest.fixture(scope="module")
def run():
    """Return the first six batches of the default options, made by two threads."""
    return arrays(batches(steps=6, parallel_calls=2))


CONTRACT = {
    "labeled_image": ((2, 40, 48, 3), tf.float32),
    "labeled_mask": ((2, 40, 48), tf.int32),
    "weak_image": ((3, 40, 48, 3), tf.float32),
    "strong_image_1": ((3, 40, 48, 3), tf.float32),
    "strong_image_2": ((3, 40, 48, 3), tf.float32),
    "valid": ((3, 40, 48), tf.bool),
    "cutmix_box_1": ((3, 4), tf.int32),
    "cutmix_box_2": ((3, 4), tf.int32),
}


def spec(dataset):
    return {name: (tuple(s.shape), s.dtype) for name, s in dataset.element_spec.items()}


def test_contract(run):
    dataset = batches()
    assert spec(dataset) == CONTRACT
    assert len(dataset) == 3
    for batch in run:
        assert set(np.unique(batch["labeled_mask"])) <= {0, 1, 2, 3, 4, 255}
        for name in ("labeled_image", "weak_image", "strong_image_1", "strong_image_2"):
            assert batch[name].min() >= 0 and batch[name].max() <= 255.001


def test_second_view_adds_a_source(run):
    source = {f"source_{name}": CONTRACT[name] for name in CONTRACT if name[:4] in ("weak", "stro", "vali")}
    dataset = batches(box_source="second_view", steps=1)
    assert spec(dataset) == CONTRACT | source
    batch = arrays(dataset)[0]
    assert abs(batch["weak_image"] - batch["source_weak_image"]).mean() > 1
    # The first draw does not depend on whether there is a second.
    assert_same([{k: batch[k] for k in CONTRACT}], run[:1])


def test_one_strong_view_and_none():
    one = spec(batches(strong_views=1))
    assert one == {k: v for k, v in CONTRACT.items() if not k.endswith("_2")}
    for nothing in (None, []):
        assert spec(batches(unlabeled=nothing)) == {k: CONTRACT[k] for k in ("labeled_image", "labeled_mask")}


def test_a_run_can_start_at_any_step(run):
    # Steps 4 and 5 lie in the second pass over the 8 unlabelled and in the third over the 3 labelled images.
    assert_same(arrays(batches(start_step=4, steps=2)), run[4:])
    endless = batches(steps=None, start_step=3).take(1)
    assert_same(arrays(endless), run[3:4])


def test_parallelism_does_not_matter_and_the_seed_does(run):
    assert_same(arrays(batches(parallel_calls=1)), run[:3])
    other = arrays(batches(steps=1, seed=1))
    assert abs(run[0]["weak_image"] - other[0]["weak_image"]).mean() > 1


def test_image_and_mask_stay_together():
    # At scale 1 and full crop only the flip is left, which must be the same for both.
    batch = arrays(batches(scale=(1.0, 1.0), crop=(96, 128), steps=2))
    pairs = [(s.read_image(), s.read_mask()) for s in SPLIT.labeled]
    for image, mask in zip(batch[1]["labeled_image"], batch[1]["labeled_mask"], strict=True):
        errors = []
        for whole, labels in pairs:
            for step in (1, -1):
                same = np.array_equal(mask, labels[:, ::step])
                errors.append(abs(image - whole[:, ::step]).max() if same else np.inf)
        assert min(errors) < 0.01


def test_normalization_comes_last(run):
    norm = SimpleNamespace(mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 5.0), reverse_channels=True)
    raw, normalized = run[0], arrays(batches(steps=1, normalization=norm))[0]
    for name in ("labeled_image", "weak_image", "strong_image_1", "strong_image_2"):
        expected = ((raw[name] - [10, 20, 30]) / [2, 4, 5])[..., ::-1]
        np.testing.assert_allclose(normalized[name], expected, rtol=1e-4, atol=1e-4)


def test_padding_is_marked():
    batch = arrays(batches(crop=(200, 300), scale=(1.0, 1.0), steps=1))[0]
    assert (~batch["valid"]).sum() == 3 * (200 * 300 - 96 * 128)
    assert (batch["weak_image"][~batch["valid"]] == 0).all()
    assert (batch["labeled_mask"] == 255).sum() == 2 * (200 * 300 - 96 * 128)


def test_one_number_is_a_square_crop_and_batch_sizes_agree_by_default():
    dataset = batches(crop=32, unlabeled_batch_size=None)
    assert dataset.element_spec["weak_image"].shape == (2, 32, 32, 3)


def test_masks_of_unlabelled_samples_are_not_read(tmp_path):
    peek = [Sample(s.name, s.image, tmp_path / "missing.png") for s in SPLIT.unlabeled]
    assert len(arrays(batches(unlabeled=peek, steps=1))) == 1


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow computes there")
def test_tensorflow_leaves_the_gpu_alone():
    batches()
    assert tf.config.get_visible_devices("GPU") == []


@pytest.mark.parametrize(
    "option, message",
    [
        ({"crop": 0}, "crop height"),
        ({"crop": (32, -1)}, "crop width"),
        ({"batch_size": 0}, "batch size"),
        ({"unlabeled_batch_size": 0}, "unlabeled batch size"),
        ({"steps": 0}, "steps"),
        ({"start_step": -1}, "start_step"),
        ({"box_source": "other"}, "'other'"),
        ({"strong_views": 3}, "strong views"),
        ({"scale": (2.0, 0.5)}, "scale"),
        ({"labeled": []}, "labelled image"),
        ({"labeled": [Sample("x", Path("x.jpg"))]}, "x.jpg"),
    ],
)
def test_bad_options(option, message):
    with pytest.raises(UserError, match=message):
        batches(**option)

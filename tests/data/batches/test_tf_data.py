from types import SimpleNamespace

import keras
import numpy as np
import pytest

from rankmatch_keras import data
from rankmatch_keras.data.batches.settings import BatchRows
from rankmatch_keras.errors import UserError

tf = pytest.importorskip("tensorflow")
pytest.importorskip("keras_cv")

from rankmatch_keras.data.batches.tf_data import DatasetImages  # noqa: E402

RNG = np.random.default_rng(0)
ARRAYS = data.from_arrays([np.zeros((20, 24, 3), np.uint8)], [np.zeros((20, 24), int)])
RAW = SimpleNamespace(mean=(0.0,), std=(1.0,), reverse_channels=False)


def batches(labeled=ARRAYS.train, unlabeled=None, **options):
    options = {"crop": 16, "batch_size": 2, "normalization": RAW, "pipeline": "tf.data"} | options
    return data.training_batches(labeled, unlabeled, **options)


def test_shapes_are_static():
    spec = batches(unlabeled=ARRAYS.train, box_source="second_view", pseudo_labels=True).element_spec
    assert (spec["labeled_mask"].shape, spec["labeled_mask"].dtype) == ((2, 16, 16), tf.int32)
    assert (spec["valid"].shape, spec["valid"].dtype) == ((2, 16, 16), tf.bool)
    assert len(spec) == 13 and all(entry.shape.is_fully_defined() for entry in spec.values())


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow computes there")
def test_tensorflow_leaves_the_gpu_alone():
    batches()
    assert tf.config.get_visible_devices("GPU") == []


def test_normalization_of_every_channel():
    images = [np.stack([np.full((40, 40), v, "float32") for v in (10.0, 1000.0)], axis=-1)]
    dataset = data.from_arrays(images, [np.zeros((40, 40), int)], class_names=["a", "b"])
    norm = SimpleNamespace(mean=(10.0, 900.0), std=(2.0, 50.0), reverse_channels=False)
    (batch,) = batches(dataset.train, normalization=norm, steps=1, scale=(1.0, 1.0))
    np.testing.assert_allclose(batch["labeled_image"][0, 5, 5], [0.0, 2.0], atol=1e-4)


# Any `tf.data.Dataset` in place of samples.


def pairs(images, masks):
    def generate():
        yield from zip(images, masks, strict=True)

    return tf.data.Dataset.from_generator(
        generate,
        output_signature=(
            tf.TensorSpec((None, None, images[0].shape[-1]), images[0].dtype),
            tf.TensorSpec((None, None), tf.int64),
        ),
    )


def numbered_pairs(count):
    """Image n is full of n."""
    return pairs([np.full((8, 8, 3), n, "float32") for n in range(count)], [np.zeros((8, 8), int)] * count)


def test_a_dataset_of_pairs_gives_the_batches_of_the_arrays():
    # One image each: the order cannot differ, so everything must agree.
    images, masks = [RNG.integers(0, 256, (30, 34, 3), dtype=np.uint8)], [RNG.integers(0, 3, (30, 34))]
    dataset = data.from_arrays(images, masks, class_names=["a", "b", "c"])
    options = {"crop": 33, "batch_size": 1, "steps": 3}
    expected = list(batches(dataset.train, dataset.train, **options))
    pair = pairs(images, masks)
    found = list(batches(pair, pair.map(lambda image, mask: image), **options))
    assert len(found) == 3
    for a, b in zip(expected, found, strict=True):
        assert set(a) == set(b)
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def shown(dataset, **options):
    made = batches(dataset, crop=8, scale=(1.0, 1.0), **options)
    return [batch["labeled_image"][:, 0, 0, 0].numpy().tolist() for batch in made]


def test_a_dataset_is_repeated_in_its_order_and_resumed():
    assert shown(numbered_pairs(3), steps=4) == [[0, 1], [2, 0], [1, 2], [0, 1]]
    assert shown(numbered_pairs(3), steps=2, start_step=2) == [[1, 2], [0, 1]]


def test_rows_of_a_dataset_come_in_their_order():
    def of_rows(*rows):
        return shown(numbered_pairs(12), rows=lambda size: rows, batch_size=8, steps=2)

    # 12 images are repeated.
    assert of_rows(0, 1, 6, 7) == [[0, 1, 6, 7], [8, 9, 2, 3]]
    assert of_rows(2, 3, 4, 5) == [[2, 3, 4, 5], [10, 11, 0, 1]]
    assert of_rows(7, 0) == [[7, 0], [3, 8]]


def test_masks_with_an_axis_too_many_and_small_types():
    dataset = tf.data.Dataset.from_tensors((np.zeros((4, 5, 3), "uint8"), np.full((4, 5, 1), 2, "uint8")))
    ((n, image, mask),) = DatasetImages(dataset, True).examples(0, 1, BatchRows(1, (0,)), 1)
    assert (int(n), image.shape, mask.shape, mask.dtype) == (0, (4, 5, 3), (4, 5), tf.int32)


@pytest.mark.parametrize(
    "dataset",
    [
        tf.data.Dataset.range(3),
        tf.data.Dataset.from_tensors(np.zeros((4, 5, 3))),  # no masks
        tf.data.Dataset.from_tensors((np.zeros((2, 4, 5, 3)), np.zeros((2, 4, 5)))),  # batched
    ],
)
def test_other_datasets_are_refused(dataset):
    with pytest.raises(UserError, match="single .image .H, W, C., mask .H, W.. pairs"):
        batches(dataset)


def test_workers_take_no_dataset():
    with pytest.raises(UserError, match="lists of samples.*tf.data.Dataset"):
        batches(numbered_pairs(2), pipeline="workers")
    with pytest.raises(UserError, match="lists of samples.*tf.data.Dataset"):
        batches(unlabeled=numbered_pairs(2).map(lambda image, mask: image), pipeline="workers")

"""Batches from images of any number of channels, from arrays and from any tf.data.Dataset."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from rankmatch_keras import data
from rankmatch_keras.data.batches.settings import BatchRows
from rankmatch_keras.data.batches.tf_data_sources import DatasetExamples
from rankmatch_keras.data.batches.training_batches import training_batches
from rankmatch_keras.errors import UserError

RNG = np.random.default_rng(0)


def normalization(channels, mean=0.0, std=1.0):
    return SimpleNamespace(mean=(mean,) * channels, std=(std,) * channels, reverse_channels=False)


def arrays(count, channels, dtype="float32", size=(30, 34)):
    images = [RNG.uniform(0, 250, (*size, channels)).astype(dtype) for _ in range(count)]
    return images, [RNG.integers(0, 3, size) for _ in range(count)]


@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint8"), (6, "float32"), (3, "float32"), (4, "uint8")])
def test_any_number_of_channels(channels, dtype):
    images, masks = arrays(4, channels, dtype)
    dataset = data.from_arrays(images[:2], masks[:2], unlabeled=images[2:], class_names=["a", "b", "c"])
    batches = training_batches(
        dataset.train, dataset.unlabeled, crop=33, batch_size=2, normalization=normalization(channels), steps=1
    )
    (batch,) = batches
    for name in ("labeled_image", "weak_image", "strong_image_1", "strong_image_2"):
        assert batch[name].shape == (2, 33, 33, channels)
        assert np.isfinite(batch[name]).all()
    assert (batch["strong_image_1"] != batch["strong_image_2"]).numpy().any()


def test_normalization_of_every_channel():
    images = [np.stack([np.full((40, 40), v, "float32") for v in (10.0, 1000.0)], axis=-1)]
    dataset = data.from_arrays(images, [np.zeros((40, 40), int)], class_names=["a", "b"])
    norm = SimpleNamespace(mean=(10.0, 900.0), std=(2.0, 50.0), reverse_channels=False)
    (batch,) = training_batches(dataset.train, crop=20, batch_size=1, normalization=norm, steps=1, scale=(1.0, 1.0))
    np.testing.assert_allclose(batch["labeled_image"][0, 5, 5], [0.0, 2.0], atol=1e-4)


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


def test_a_dataset_of_pairs_gives_the_batches_of_the_arrays():
    # One image each: the order cannot differ, so everything must agree.
    images, masks = arrays(1, 3, "uint8")
    dataset = data.from_arrays(images, masks, class_names=["a", "b", "c"])
    options = {"crop": 33, "batch_size": 1, "normalization": normalization(3), "steps": 3}
    expected = list(training_batches(dataset.train, dataset.train, **options))
    pair = pairs(images, masks)
    found = list(training_batches(pair, pair.map(lambda image, mask: image), **options))
    assert len(found) == 3
    for a, b in zip(expected, found, strict=True):
        assert set(a) == set(b)
        for name in a:
            np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_a_dataset_is_repeated_in_its_order_and_resumed():
    images = [np.full((8, 8, 1), value, "float32") for value in (1, 2, 3)]
    masks = [np.zeros((8, 8), int)] * 3
    options = {"crop": 8, "batch_size": 2, "normalization": normalization(1), "scale": (1.0, 1.0)}

    def shown(**more):
        batches = training_batches(pairs(images, masks), **options, **more)
        return [batch["labeled_image"][:, 0, 0, 0].numpy().tolist() for batch in batches]

    assert shown(steps=4) == [[1, 2], [3, 1], [2, 3], [1, 2]]
    assert shown(steps=2, start_step=2) == [[2, 3], [1, 2]]


def test_masks_with_an_axis_too_many_and_small_types():
    dataset = tf.data.Dataset.from_tensors((np.zeros((4, 5, 3), "uint8"), np.full((4, 5, 1), 2, "uint8")))
    ((n, image, mask),) = DatasetExamples(dataset, True).examples(0, 1, BatchRows(1, (0,)), 1)
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
        training_batches(dataset, crop=33, batch_size=1, normalization=normalization(3))


def test_labelled_and_unlabelled_images_must_be_alike():
    images, masks = arrays(1, 3, "uint8")
    other, _ = arrays(1, 4, "uint8")
    first = data.from_arrays(images, masks, class_names=["a", "b", "c"])
    second = data.from_arrays(other, masks, class_names=["a", "b", "c"])
    with pytest.raises(UserError, match="3 channels of uint8.*4 channels of uint8"):
        training_batches(first.train, second.train, crop=33, batch_size=1, normalization=normalization(3))


def test_a_normalization_of_other_channels_is_refused():
    images, masks = arrays(1, 2)
    dataset = data.from_arrays(images, masks, class_names=["a", "b", "c"])
    with pytest.raises(UserError, match="2 channels.*3 means"):
        training_batches(dataset.train, crop=33, batch_size=1, normalization=normalization(3))

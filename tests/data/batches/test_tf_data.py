from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from rankmatch_keras import data
from rankmatch_keras.errors import UserError

ARRAYS = data.from_arrays([np.zeros((20, 24, 3), np.uint8)], [np.zeros((20, 24), int)])
RAW = SimpleNamespace(mean=(0.0,), std=(1.0,), reverse_channels=False)


def batches(labeled=ARRAYS.train, unlabeled=ARRAYS.train, **options):
    return data.training_batches(labeled, unlabeled, crop=16, batch_size=2, normalization=RAW, **options)


def test_shapes_are_static():
    spec = batches(pipeline="tf.data").element_spec
    assert (spec["labeled_mask"].shape, spec["labeled_mask"].dtype) == ((2, 16, 16), tf.int32)
    assert (spec["valid"].shape, spec["valid"].dtype) == ((2, 16, 16), tf.bool)
    assert all(entry.shape.is_fully_defined() for entry in spec.values())


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="TensorFlow computes there")
def test_tensorflow_leaves_the_gpu_alone():
    batches()
    assert tf.config.get_visible_devices("GPU") == []


def pairs(count):
    images = tf.data.Dataset.range(count).map(lambda n: tf.fill((8, 8, 3), tf.cast(n, tf.float32)))
    return images.map(lambda image: (image, tf.zeros((8, 8), tf.int32)))


def test_rows_of_a_dataset_come_in_their_order():
    options = {"crop": 8, "batch_size": 8, "normalization": RAW, "scale": (1.0, 1.0), "steps": 2}

    def shown(*rows):
        made = data.training_batches(pairs(12), rows=lambda size: rows, **options)
        return [batch["labeled_image"][:, 0, 0, 0].numpy().tolist() for batch in made]

    # 12 images are repeated.
    assert shown(0, 1, 6, 7) == [[0, 1, 6, 7], [8, 9, 2, 3]]
    assert shown(2, 3, 4, 5) == [[2, 3, 4, 5], [10, 11, 0, 1]]
    assert shown(7, 0) == [[7, 0], [3, 8]]


def test_workers_take_no_dataset():
    with pytest.raises(UserError, match="lists of samples.*tf.data.Dataset"):
        batches(pairs(2), None, pipeline="workers")
    with pytest.raises(UserError, match="lists of samples.*tf.data.Dataset"):
        batches(unlabeled=pairs(2).map(lambda image, mask: image), pipeline="workers")

import keras
import numpy as np
import pytest

from rankmatch_keras import SupervisedOnly


def loss_of(method, batch):
    return float(keras.ops.convert_to_numpy(method.compute_losses(batch)["loss"]))


def test_weight_is_one(small_segmenter):
    assert SupervisedOnly(small_segmenter()).term_weights == {"supervised": 1.0}


def test_unlabeled_entries_change_nothing(small_segmenter, random_batch):
    batch = random_batch(labeled=2)
    labeled = {name: batch[name] for name in ("labeled_image", "labeled_mask")}
    for name in set(batch) - set(labeled):
        batch[name] = np.full_like(batch[name], 1)
    values = [loss_of(SupervisedOnly(small_segmenter()), b) for b in (batch, labeled)]
    assert values[0] == values[1]


def test_value_against_numpy(small_segmenter, random_batch):
    segmenter = small_segmenter()
    batch = random_batch(labeled=2)
    logits = np.float64(keras.ops.convert_to_numpy(segmenter(batch["labeled_image"], training=True)["logits"]))
    mask = batch["labeled_mask"]
    log_softmax = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected = -np.mean(log_softmax[mask != 255][np.arange((mask != 255).sum()), mask[mask != 255]])
    assert loss_of(SupervisedOnly(segmenter), batch) == pytest.approx(expected, rel=1e-5)

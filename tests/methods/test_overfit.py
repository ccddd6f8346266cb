"""Each kind of method must be able to learn one image by heart."""

import keras
import numpy as np
import pytest

from rankmatch_keras import RankMatch, SupervisedOnly
from rankmatch_keras.training.optimizers import SGD


def picture(seed=0):
    """A 33x33 image of three classes told apart by brightness, with noise, and its mask."""
    mask = np.zeros((33, 33), dtype="int32")
    mask[4:28, 3:14] = 1
    mask[8:30, 16:30] = 2
    rng = np.random.default_rng(seed)
    image = np.stack([mask - 1.0, mask == 1, mask == 2], axis=-1) + 0.1 * rng.normal(size=(33, 33, 3))
    return image[None].astype("float32"), mask[None]


def mean_iou(prediction, mask):
    return np.mean(
        [((prediction == c) & (mask == c)).sum() / ((prediction == c) | (mask == c)).sum() for c in range(3)]
    )


@pytest.mark.parametrize("kind", [SupervisedOnly, RankMatch])
def test_one_image_is_learned(kind, small_segmenter, repeat):
    image, mask = picture()
    noise = np.random.default_rng(1).normal(scale=0.1, size=(2, *image.shape)).astype("float32")
    batch = {
        "labeled_image": image,
        "labeled_mask": mask,
        "weak_image": image,
        "strong_image_1": image + noise[0],
        "strong_image_2": image + noise[1],
        "valid": np.ones(mask.shape, dtype=bool),
        "cutmix_box_1": np.zeros((1, 4), dtype="int32"),
        "cutmix_box_2": np.int32([[0, 0, 9, 9]]),
    }
    method = kind(small_segmenter())
    before = keras.ops.convert_to_numpy(method(image)).argmax(-1)
    assert mean_iou(before, mask) < 0.6
    steps = 25
    method.compile(SGD(0.1))
    history = method.fit(repeat(batch, steps), epochs=2, steps_per_epoch=steps, shuffle=False, verbose=0).history
    prediction = keras.ops.convert_to_numpy(method(image)).argmax(-1)
    assert mean_iou(prediction, mask) > 0.9
    assert history["supervised"][1] < history["supervised"][0]
    diagnostics = {"mask_ratio", "confidence"} if kind is RankMatch else set()
    assert set(history) == {"loss", *method.term_weights, *diagnostics}

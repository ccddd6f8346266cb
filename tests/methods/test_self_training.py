import numpy as np
import pytest
from keras import ops

from rankmatch_keras.losses import SupervisedLoss
from rankmatch_keras.methods import SelfTraining
from rankmatch_keras.methods.self_training import NOISE


def test_boxes_lose_their_pixels_and_labels(small_segmenter, random_batch):
    batch = random_batch()
    images, masks = (ops.convert_to_numpy(x) for x in SelfTraining(small_segmenter(), seed=0).cut_out(batch))
    inside = np.zeros((2, 33, 33), bool)
    for mask, (y0, x0, y1, x1) in zip(inside, batch["cutmix_box_1"], strict=True):
        mask[y0:y1, x0:x1] = True
    assert inside[0].sum() == 16 * 19 and not inside[1].any()
    np.testing.assert_array_equal(masks[~inside], batch["pseudo_mask"][~inside])
    assert (masks[inside] == 255).all()
    np.testing.assert_array_equal(images[~inside], batch["strong_image_1"][~inside])
    noise = images[inside]
    assert np.abs(noise).max() <= NOISE and np.abs(noise).max() > 0.95 * NOISE and abs(noise.mean()) < 0.2


def test_both_terms_are_cross_entropies_of_one_pass(small_segmenter, random_batch):
    batch = random_batch()
    batch["cutmix_box_1"][:] = 0
    found = SelfTraining(small_segmenter()).compute_losses(batch)
    found = {name: float(ops.convert_to_numpy(value)) for name, value in found.items()}
    images = np.concatenate([batch["labeled_image"], batch["strong_image_1"]])
    logits = ops.stop_gradient(small_segmenter()(images, training=True)["logits"])
    supervised = float(SupervisedLoss()(batch["labeled_mask"], logits[:1]))
    pseudo = float(SupervisedLoss()(batch["pseudo_mask"], logits[1:]))
    assert found["supervised"] == pytest.approx(supervised, rel=1e-4)
    assert found["pseudo"] == pytest.approx(pseudo, rel=1e-4)
    assert found["loss"] == pytest.approx((supervised + pseudo) / 2, rel=1e-4)


@pytest.mark.parametrize("options", [{"reliable_share": 1.0}, {"label_scales": []}, {"label_scales": [0.0]}])
def test_options_are_checked(options, small_segmenter):
    with pytest.raises(ValueError, match="reliable_share between 0 and 1"):
        SelfTraining(small_segmenter(), **options)

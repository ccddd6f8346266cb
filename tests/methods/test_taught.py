"""Every method with an averaged teacher, or a second network, must be able to learn one image by heart."""

import keras
import numpy as np
import pytest
from method_cases import CASES
from test_overfit import mean_iou, picture

from rankmatch_keras import models
from rankmatch_keras.training.optimizers import SGD

pytestmark = pytest.mark.once  # a compilation each


LAST = {"total_steps": 60}
TAUGHT = {"ema_decay": 0.9}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("meanteacher", {**TAUGHT, "consistency_weight": 10.0}),
        ("cutmixmeanteacher", TAUGHT),
        ("augseg", TAUGHT),
        ("imas", {**TAUGHT, "threshold": 0.95}),
        ("dualteacher", {"switch_every": 10}),
        ("daw", {"average_decay": 0.9}),
        ("ael", {"paste_probability": 0.0}),
        ("cps", {"seed": 0}),
        ("cotraining", {}),
        ("u2pl", {**LAST, **TAUGHT}),
        ("dgcl", {**LAST, **TAUGHT}),
        ("css", {**LAST, **TAUGHT}),
        ("esl", {**LAST, **TAUGHT}),
        ("contrastive", LAST),
        ("cct", {**LAST, "consistency_weight": 1.0}),
        ("npsemiseg", {**TAUGHT, "threshold": 0.95}),
        ("corrmatch", {}),
        ("unimatchv2", {}),
    ],
)
def test_one_image_is_learnt(name, options, small_segmenter, repeat):
    # NP-SemiSeg classifies the decoder's last map, which has only 3 x 3 pixels in the small network.
    make = _deeplab if name == "npsemiseg" else small_segmenter
    image, mask = (np.repeat(value, 2, axis=0) for value in picture())
    noise = np.random.default_rng(1).normal(scale=0.1, size=(2, *image.shape)).astype("float32")
    batch = {
        "labeled_image": image,
        "labeled_mask": mask,
        "weak_image": image,
        "strong_image_1": image + noise[0],
        "strong_image_2": image + noise[1],
        "valid": np.ones(mask.shape, dtype=bool),
        "cutmix_box_1": np.zeros((2, 4), dtype="int32"),
        "cutmix_box_2": np.int32([[0, 0, 9, 9]] * 2),
    }
    method = CASES[name].make(make, **options)
    steps = 30
    method.compile(SGD(0.1))
    history = method.fit(repeat(batch, steps), epochs=2, steps_per_epoch=steps, shuffle=False, verbose=0).history
    supervised = history[next(iter(method.term_weights))]
    assert supervised[1] < supervised[0]
    logits = method.evaluated(image[:1], training=False)["logits"]
    assert mean_iou(keras.ops.convert_to_numpy(logits).argmax(-1), mask[:1]) > 0.9


def _deeplab():
    keras.utils.set_random_seed(0)
    backbone = models.create_backbone("tiny", weights=None)
    return models.deeplab_v3_plus(backbone, 3, projection_filters=8, aspp_filters=16, decoder_filters=16)

"""Every method with an averaged teacher, or a second network, must be able to learn one image by heart."""

import keras
import numpy as np
import pytest
from method_cases import CASES
from test_overfit import mean_iou, picture

from rankmatch_keras import methods
from rankmatch_keras.training.optimizers import SGD

pytestmark = pytest.mark.once  # a compilation each


LAST = {"total_steps": 60, "ema_decay": 0.9}


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (methods.MeanTeacher, {"ema_decay": 0.9, "consistency_weight": 10.0}),
        (methods.CutMixMeanTeacher, {"ema_decay": 0.9}),
        (methods.AugSeg, {"ema_decay": 0.9}),
        (methods.IMAS, {"ema_decay": 0.9}),
        (methods.DualTeacher, {"switch_every": 10}),
        (methods.DAW, {"average_decay": 0.9}),
        (methods.AEL, {"paste_probability": 0.0}),
        (methods.CPS, {"seed": 0}),
        *((CASES[name].kind, {**CASES[name].options, **LAST}) for name in ("u2pl", "dgcl", "css", "esl")),
    ],
)
def test_one_image_is_learnt(kind, options, small_segmenter, repeat):
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
    method = kind(small_segmenter(), **options)
    steps = 30
    method.compile(SGD(0.1))
    history = method.fit(repeat(batch, steps), epochs=2, steps_per_epoch=steps, shuffle=False, verbose=0).history
    supervised = history[next(iter(method.term_weights))]
    assert supervised[1] < supervised[0]
    logits = method.evaluated(image[:1], training=False)["logits"]
    assert mean_iou(keras.ops.convert_to_numpy(logits).argmax(-1), mask[:1]) > 0.9

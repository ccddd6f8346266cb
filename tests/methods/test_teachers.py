"""The EMA teacher: its recursion, its statistics, and that no gradient reaches it."""

import keras
import numpy as np
import pytest
from method_cases import CASES
from test_overfit import mean_iou, picture

from rankmatch_keras import FixMatch, RankMatch, models
from rankmatch_keras.methods.teachers import EMATeacher
from rankmatch_keras.training.optimizers import SGD


def values(model):
    return [keras.ops.convert_to_numpy(v).copy() for v in model.variables]


def shift(model, amount):
    for variable in model.variables:
        variable.assign(variable.value + amount)


@pytest.mark.parametrize("every", [1, 2])
def test_the_ema_follows_its_recursion(every, small_segmenter):
    student = small_segmenter()
    teacher = EMATeacher(student, decay=0.6)
    expected = None
    for step in range(5):
        shift(student, 0.5)
        found = values(student)
        decay = min(1 - 1 / (step + 1), 0.6)
        expected = (
            found if expected is None else [decay * a + (1 - decay) * b for a, b in zip(expected, found, strict=True)]
        )
        for _ in range(every):
            teacher.update(student, every)
        for value, wanted in zip(values(teacher.network), expected, strict=True):
            np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6)
    assert not teacher.trainable_variables


def test_a_restart_copies_the_student_and_starts_the_average_again(small_segmenter):
    student = small_segmenter()
    teacher = EMATeacher(student, decay=0.9)
    for restart in (False, False, True, False):
        shift(student, 1.0)
        before = values(teacher.network)
        teacher.update(student, restart=restart)
        if restart:
            before = values(student)
    for value, a, b in zip(values(teacher.network), before, values(student), strict=True):
        np.testing.assert_allclose(value, (a + b) / 2, rtol=1e-5, atol=1e-6)


def test_own_statistics_are_left_alone(small_segmenter):
    student = small_segmenter()
    teacher = EMATeacher(student, statistics="own")
    shift(student, 1.0)
    before = [keras.ops.convert_to_numpy(v) for v in teacher.network.variables if v.name.startswith("moving")]
    teacher.update(student)
    after = [keras.ops.convert_to_numpy(v) for v in teacher.network.variables if v.name.startswith("moving")]
    assert len(before) == 6 and all((a == b).all() for a, b in zip(before, after, strict=True))
    kernels = [(a, b) for a, b in zip(student.variables, teacher.network.variables, strict=True) if a.name == "kernel"]
    assert all((keras.ops.convert_to_numpy(a) == keras.ops.convert_to_numpy(b)).all() for a, b in kernels)
    teacher(np.ones((2, 33, 33, 3), "float32") * 3, training=True)
    moved = [keras.ops.convert_to_numpy(v) for v in teacher.network.variables if v.name.startswith("moving")]
    assert any((a != b).any() for a, b in zip(after, moved, strict=True))


@pytest.mark.parametrize("kind", [FixMatch, pytest.param(RankMatch, marks=pytest.mark.once)])
def test_fit_moves_the_teacher_after_the_student(kind, small_segmenter, random_batch, repeat):
    options = {"num_agents": 6} if kind is RankMatch else {}
    method = kind(small_segmenter(), threshold=0.0, ema_decay=0.5, **options)
    method.compile(SGD(0.1))
    assert len(method.trainable_variables) == len(method.segmenter.trainable_variables)
    first = values(method.segmenter)
    method.fit(repeat(random_batch(), 1), shuffle=False, verbose=0)
    for value, wanted in zip(values(method.teacher.network), first, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-6)
    second = values(method.segmenter)
    method.fit(repeat(random_batch(), 1), shuffle=False, verbose=0)
    for value, a, b in zip(values(method.teacher.network), first, second, strict=True):
        np.testing.assert_allclose(value, (a + b) / 2, rtol=1e-5, atol=1e-6)


def test_arguments_are_checked(small_segmenter):
    with pytest.raises(ValueError, match="decay from 0 to 1"):
        EMATeacher(small_segmenter(), decay=1.5)
    with pytest.raises(ValueError, match="statistics 'average' or 'own'"):
        EMATeacher(small_segmenter(), statistics="none")


pytestmark = pytest.mark.once  # a compilation each


LAST = {"total_steps": 60}
EMA = {"ema_decay": 0.9}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("meanteacher", {**EMA, "consistency_weight": 10.0}),
        ("cutmixmeanteacher", EMA),
        ("augseg", EMA),
        ("imas", {**EMA, "threshold": 0.95}),
        ("dualteacher", {"switch_every": 10}),
        ("daw", {"average_decay": 0.9}),
        ("ael", {"paste_probability": 0.0}),
        ("cps", {"seed": 0}),
        ("cotraining", {}),
        ("u2pl", {**LAST, **EMA}),
        ("dgcl", {**LAST, **EMA}),
        ("css", {**LAST, **EMA}),
        ("esl", {**LAST, **EMA}),
        ("contrastive", LAST),
        ("cct", {**LAST, "consistency_weight": 1.0}),
        ("npsemiseg", {**EMA, "threshold": 0.95}),
        ("corrmatch", {}),
        ("unimatchv2", {}),
        ("logicdiag", {**EMA, "unlabeled_weight": 0.3}),
    ],
)
def test_one_image_is_learned(name, options, small_segmenter, repeat):
    # These read the decoder's last map, which has only 3 x 3 pixels in the small network.
    make = _deeplab if name in ("npsemiseg", "logicdiag") else small_segmenter
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

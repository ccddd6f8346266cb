"""The options that all methods share: statistics, averaged weights, weights of the terms, training on labels alone."""

import keras
import numpy as np
import pytest
from keras import ops
from method_cases import CASES, PIXEL_TERMS

from rankmatch_keras.methods import DAW, ContrastiveUniMatch, CorrMatch, FixMatch, RankMatch, SupervisedOnly
from rankmatch_keras.methods.base import LABELED
from rankmatch_keras.training.optimizers import SGD
from rankmatch_keras.training.state import load_state, save_state

# On the other backends the parity tests run the steps of all methods, and of RankMatch with most of these options.
EVERYWHERE = ("supervised", "fixmatch", "rankmatch", "meanteacher", "cps")
every_method = pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[] if name in EVERYWHERE else pytest.mark.once) for name, case in CASES.items()],
    ids=CASES,
)
APART = {"normalize": "separate", "statistics": "labeled"}
WEAK_TO_STRONG = ("fixmatch", "rankmatch", "daw", "unimatchv2", "corrmatch")
RANKED = {"threshold": 0.0, "seed": 0, "num_agents": 6}


def numpy(value):
    return np.array(ops.convert_to_numpy(value))


def numbers(losses):
    return {name: float(numpy(value)) for name, value in losses.items()}


def moving(network):
    """The running statistics of a segmenter's normalization."""
    return [numpy(v) for v in network.variables if v.name.startswith("moving_")]


def assert_close(found, expected, rtol=1e-5, atol=1e-6):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=atol)


def state_of(method):
    return [numpy(v) for v in [*method.variables, *method.optimizer.variables]]


def fitted(method, dataset):
    """What `fit` logs of one epoch, in order."""
    history = method.fit(dataset, shuffle=False, verbose=0).history
    return {name: value for name, (value,) in history.items()}


def compiled(case, small_segmenter, **options):
    keras.backend.clear_session()  # or the layers' names would count on
    method = case.make(small_segmenter, **options)
    method.compile(SGD(0.01, head_multiplier=10.0))
    return method


# Statistics.


@every_method
def test_only_labeled_images_move_the_statistics_on_request(case, small_segmenter, random_batch, repeat):
    batch, method = random_batch(), compiled(case, small_segmenter, **APART)
    networks = [type(network).from_config(network.get_config()) for network in method.students]
    for network, student in zip(networks, method.students, strict=True):
        network.set_weights(student.get_weights())
        network(batch["labeled_image"], training=True)
    losses = fitted(method, repeat(batch, 1))
    assert np.isfinite(list(losses.values())).all()
    for network, student in zip(networks, method.students, strict=True):
        assert_close(moving(student), moving(network))


@pytest.mark.parametrize("second_view", [False, True])
@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (FixMatch, {"threshold": 0.0}),
        (FixMatch, {"threshold": 0.0, "ema_decay": 0.9}),
        (RankMatch, RANKED),
        (RankMatch, {**RANKED, "feature_dropout": None, "ema_decay": 0.9}),
    ],
)
def test_unlabeled_images_of_weight_zero_change_no_gradient(
    kind, options, second_view, small_segmenter, random_batch, gradients
):
    batch, gradients_of = random_batch(labeled=2, second_view=second_view), {}
    for name, normalization in (("apart", APART), ("together", {})):
        method = kind(small_segmenter(), unlabeled_weight=0.0, **normalization, **options)
        share = method.term_weights["supervised"]
        found = gradients(lambda m=method: m.compute_losses(batch)["loss"], method.segmenter)
        gradients_of[name] = [gradient / share for gradient in found]
    alone = SupervisedOnly(small_segmenter())
    expected = gradients(lambda: alone.compute_losses(batch)["loss"], alone.segmenter)
    scale = max(np.abs(gradient).max() for gradient in expected)
    assert_close(gradients_of["apart"], expected, atol=1e-5 * scale)
    # As published, batch statistics leak.
    pairs = zip(gradients_of["together"], expected, strict=True)
    assert max(np.abs(one - other).max() for one, other in pairs) > 1e-2 * scale


@every_method
def test_weight_zero_is_a_step_of_the_labels_alone(case, small_segmenter, random_batch, gradients):
    if case.kind is CorrMatch:
        pytest.skip("its second supervised term reads a head, which a step of the labels alone leaves out")
    batch, found = random_batch(), []
    for labels_only in (False, True):
        method = case.make(small_segmenter, unlabeled_weight=0.0, **APART)
        method.use_labels_only(labels_only)
        for student in method.students:
            found.append(gradients(lambda m=method: m.compute_losses(batch)["loss"], student))
    half = len(found) // 2
    for one, other in zip(found[:half], found[half:], strict=True):
        assert_close(one, other, rtol=1e-4, atol=1e-5 * max(np.abs(gradient).max() for gradient in other))


@pytest.mark.once
def test_the_contrast_reads_the_weak_view_whoever_labels_it(small_segmenter, random_batch):
    options = {**CASES["contrastive"].options, **APART, "feature_dropout": None, "ema_decay": 0.9}
    losses = numbers(ContrastiveUniMatch(small_segmenter(), **options).compute_losses(random_batch()))
    assert losses["contrast"] > 0 and np.isfinite(losses["loss"])


# Averaged weights.


@every_method
def test_the_average_is_evaluated(case, small_segmenter):
    method = case.make(small_segmenter, average=0.5)
    assert method.evaluated is method.averaged.network and method.averaged.decay == 0.5
    assert sum(network is method.evaluated for network in method.teachers) == 1
    # One network more, and its number of updates.
    without = case.make(small_segmenter)
    networks = 0 if case.kind is DAW else 1  # which always has one
    assert len(method.teachers) == len(without.teachers) + networks
    added = networks * (len(method.evaluated.variables) + 1)
    assert len(method.variables) == len(without.variables) + added


def test_the_average_by_hand(small_segmenter, random_batch):
    # Decays min(1 - 1 / (t + 1), 0.6) = 0, 1/2, 0.6 of the weights 1, 2, 4 at the beginning of three steps.
    method, batch = SupervisedOnly(small_segmenter(), average=0.6), random_batch()
    moved = []
    for value in (1.0, 2.0, 4.0):
        for variable in method.segmenter.variables:
            variable.assign(np.full(variable.shape, value, "float32"))
        method.compute_losses(batch)
        moved.append([numpy(variable) for variable in method.evaluated.variables])
    for arrays, expected in zip(moved, (1.0, 1.5, 0.6 * 1.5 + 0.4 * 4.0), strict=True):
        for array in arrays:
            np.testing.assert_allclose(array, expected, rtol=1e-6)


def test_one_average_labels_and_is_evaluated(small_segmenter, random_batch):
    shared = FixMatch(small_segmenter(), ema_decay=0.9, average=0.9)
    assert shared.teacher is shared.averaged and shared.teachers == (shared.evaluated,)
    apart = FixMatch(small_segmenter(), ema_decay=0.9, average=0.8)
    assert apart.evaluated is apart.averaged.network and apart.teacher.decay == 0.9
    assert {id(network) for network in apart.teachers} == {id(apart.evaluated), id(apart.teacher.network)}
    assert len(apart.variables) == len(shared.variables) + len(apart.evaluated.variables) + 1
    alone = FixMatch(small_segmenter(), ema_decay=0.9)
    batch, losses = random_batch(), []
    for method in (shared, alone):
        for _ in range(2):
            losses.append(numbers(method.compute_losses(batch)))
            for variable in method.segmenter.trainable_variables:
                variable.assign(variable.value * 1.1)
    assert losses[:2] == [pytest.approx(expected, rel=1e-5) for expected in losses[2:]]
    assert int(numpy(shared.averaged.updates)) == 2


# Weights of the terms.


def test_the_weight_of_unlabeled_terms_by_hand(small_segmenter, random_batch):
    # 2 min(t / 4, 1) from the first of 8 steps on: the ramp is half of the run.
    method = FixMatch(small_segmenter(), threshold=0.0, unlabeled_weight=2.0, unlabeled_ramp=0.5, total_steps=8)
    batch = random_batch()
    for factor in (0.5, 1.0, 1.5, 2.0, 2.0):
        method.use_labels_only()  # a burn-in counts no steps
        losses = numbers(method.compute_losses(batch))
        assert losses == pytest.approx({"loss": losses["supervised"] / 2, "supervised": losses["supervised"]})
        method.use_labels_only(False)
        losses = numbers(method.compute_losses(batch))
        assert losses["loss"] == pytest.approx((losses["supervised"] + factor * losses["strong_1"]) / 2, rel=1e-5)


def test_the_ramp_and_that_of_the_rank_loss_multiply(small_segmenter, random_batch):
    options = {"unlabeled_ramp": 1.0, "rank_ramp": 0.5, "total_steps": 4}
    method, plain = (RankMatch(small_segmenter(), **RANKED, **more) for more in (options, {}))
    losses, expected = (numbers(m.compute_losses(random_batch())) for m in (method, plain))
    assert losses["rank_1"] == pytest.approx(0.5 * expected["rank_1"], rel=1e-5)
    unlabeled = expected["loss"] - expected["supervised"] - 0.05 * (losses["rank_1"] + losses["rank_2"])
    assert losses["loss"] == pytest.approx(expected["supervised"] + 0.25 * unlabeled, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unlabeled_weight": -1.0}, "unlabeled_weight of at least 0"),
        ({"unlabeled_ramp": 1.5, "total_steps": 4}, "unlabeled_ramp from 0 to 1"),
        ({"unlabeled_ramp": 0.5}, "Expected total_steps. Received: none"),
        ({"statistics": "labeled"}, "Expected normalize='separate' with statistics='labeled'"),
        ({"average": 1.5}, "decay=1.5"),
        ({"labeled_loss": "mse"}, "Received: 'mse'"),
        ({"class_weights": (1.0, 2.0)}, "a weight for each of 3 classes. Received: 2"),
        ({"selection": "hard"}, "selection='hard'"),
        ({"alignment": 1.5}, "strength=1.5"),
        ({"unlabeled_loss": "mse"}, "Received: 'mse'"),
    ],
)
def test_wrong_options(options, message, small_segmenter):
    with pytest.raises(ValueError, match=message):
        FixMatch(small_segmenter(), **options)


@pytest.mark.parametrize("kind", [DAW, CorrMatch])
def test_methods_with_a_threshold_of_their_own_take_no_other(kind, small_segmenter):
    with pytest.raises(ValueError, match=f"{kind.__name__} has an adaptive threshold of its own.*'soft'"):
        kind(small_segmenter(), selection="soft")


@pytest.mark.once
@pytest.mark.parametrize("name", WEAK_TO_STRONG)
def test_the_loss_of_pseudo_labels_is_a_choice(name, small_segmenter, random_batch):
    # Labels do not depend on the loss of the first step.
    case, batch = CASES[name], random_batch()
    options = {"class_weights": (1.0, 2.0, 0.5)}
    ce, dice, both = (
        numbers(case.make(small_segmenter, unlabeled_loss=kind, **options).compute_losses(batch))
        for kind in ("ce", "dice", "ce+dice")
    )
    pixel_terms = [term for term in case.terms if term in PIXEL_TERMS[1:] or term.endswith("_correlation")]
    pixel_terms = [term for term in pixel_terms if term != "supervised_correlation"]
    assert len(pixel_terms) >= 1
    for term in pixel_terms:
        assert both[term] == pytest.approx((ce[term] + dice[term]) / 2, rel=1e-5) and 0 < dice[term] < 1, term
    assert both["supervised"] == pytest.approx(ce["supervised"], rel=1e-5)


# What counts of the pseudo-labels.


def softmax(logits):
    odds = np.exp(np.float64(logits))
    return odds / odds.sum(-1, keepdims=True)


@pytest.mark.parametrize("selection", ["threshold", "adaptive", "soft"])
@pytest.mark.parametrize("alignment", [0.0, 0.5])
def test_selected_and_aligned_pseudo_labels_of_rankmatch(selection, alignment, small_segmenter, random_batch):
    options = {**RANKED, "threshold": 0.4, "ema_decay": 0.9, "selection": selection, "alignment": alignment}
    method, batch = RankMatch(small_segmenter(), **options), random_batch()
    method.update_teacher()  # a copy of the student
    valid, known = batch["valid"], batch["labeled_mask"] != 255
    raw = numpy(small_segmenter()(batch["weak_image"], training=False)["logits"])
    labeled = unlabeled = probability = np.full(3, 1 / 3)
    confidence, variance = 1 / 3, 1.0
    for _ in range(2):
        terms, targets = method.weak_stage(batch, None)
        unlabeled = 0.99 * unlabeled + 0.01 * softmax(raw)[valid].mean(0)
        aligned = softmax(raw + alignment * np.log(labeled / unlabeled))
        label, sure = aligned.argmax(-1), aligned.max(-1)
        variance = 0.99 * variance + 0.01 * sure[valid].var()
        confidence = 0.99 * confidence + 0.01 * sure[valid].mean()
        probability = 0.99 * probability + 0.01 * aligned[valid].mean(0)
        weight = {
            "threshold": sure >= 0.4,
            "adaptive": sure >= confidence * probability[label] / probability.max(),
            "soft": np.exp(-2 * np.minimum(sure - confidence, 0) ** 2 / variance),
        }[selection]
        np.testing.assert_array_equal(numpy(targets.weak.label), label)
        np.testing.assert_allclose(numpy(targets.weak.confidence), sure, rtol=1e-4)
        np.testing.assert_allclose(numpy(targets.weak.weight), weight, rtol=1e-4)
        assert float(numpy(terms["mask_ratio"])) == pytest.approx(weight[valid].mean(), rel=1e-4)
        # The labels of a step serve the next one.
        shown = np.bincount(batch["labeled_mask"][known], minlength=3) / known.sum()
        labeled = 0.99 * labeled + 0.01 * shown


@pytest.mark.once
def test_a_run_with_all_options_resumes_from_its_saved_state(small_segmenter, random_batch, repeat, tmp_path):
    options = {
        **APART,
        **{"average": 0.9, "ema_decay": 0.9, "selection": "soft", "alignment": 0.5, "feature_dropout": None},
        **{"unlabeled_loss": "ce+dice", "labeled_loss": "focal", "class_weights": (1.0, 2.0, 0.5)},
        **{"unlabeled_weight": 0.5, "unlabeled_ramp": 1.0, "total_steps": 4},
    }
    data, methods = repeat(random_batch(), 1), []
    for _ in range(2):
        methods.append(compiled(CASES["rankmatch"], small_segmenter, **options))
    whole, resumed = methods
    fitted(whole, data)
    save_state(tmp_path / "state.npz", whole, {})
    load_state(tmp_path / "state.npz", resumed)
    images = random_batch(seed=1)["weak_image"]
    np.testing.assert_array_equal(*(numpy(method.evaluated(images)["logits"]) for method in methods))
    losses = [fitted(method, data) for method in methods]
    assert losses[1] == pytest.approx(losses[0], rel=1e-5)
    assert_close(state_of(resumed), state_of(whole))


# Labels alone.


@every_method
def test_labels_alone_need_no_other_images(case, small_segmenter, random_batch, repeat):
    batch = random_batch()
    labeled = {name: batch[name] for name in LABELED}
    method = compiled(case, small_segmenter, average=0.5)
    start = [numpy(v) for student in method.students for v in student.trainable_variables]
    method.use_labels_only()
    losses = fitted(method, repeat(labeled, 1))
    # Each network learns its own supervised term in a pass of labeled images; other terms are not computed.
    expected = 0.0
    terms = [name for name in case.terms if name.startswith("supervised")][: len(method.students)]
    for name, student in zip(terms, case.make(small_segmenter).students, strict=True):
        if case.kind.__name__ != "NPSemiSeg":  # which samples
            outputs = student(batch["labeled_image"], training=True)
            value = method.supervised_loss(batch["labeled_mask"], outputs[method.labeled_output])
            assert losses[name] == pytest.approx(float(numpy(value)), rel=1e-4)
        expected += method.term_weights[name] * losses[name]
    assert losses["loss"] == pytest.approx(expected, rel=1e-5)
    assert all(losses[name] == 0.0 for name in set(losses) - {"loss", *terms})
    assert int(numpy(method.averaged.updates)) == 1
    moved = [numpy(v) for student in method.students for v in student.trainable_variables]
    assert all((before != after).any() for before, after in zip(start, moved, strict=True))


@pytest.mark.once
@every_method
def test_switching_back_gives_the_step_of_never_switching(case, small_segmenter, random_batch, repeat):
    batch, found = random_batch(), []
    for switched in (False, True):
        method = compiled(case, small_segmenter)
        if switched:
            method.use_labels_only()
            method.use_labels_only(False)
        losses = fitted(method, repeat(batch, 1))
        found.append((losses, state_of(method)))
    assert found[1][0] == pytest.approx(found[0][0], rel=1e-5)
    assert_close(found[1][1], found[0][1])


@pytest.mark.parametrize("name", ["rankmatch", "cps"])
def test_fit_across_the_switch(name, small_segmenter, random_batch, repeat):
    batch, case = random_batch(), CASES[name]
    method = compiled(case, small_segmenter)
    plain = {key: batch[key] for key in LABELED}
    method.use_labels_only()
    burnt_in = fitted(method, repeat(plain, 2))
    state = state_of(method)
    method.use_labels_only(False)
    with pytest.raises(ValueError, match=r"needs a batch.*missing"):
        method.compute_losses(plain)
    losses = fitted(method, repeat(batch, 1))
    assert set(losses) == set(burnt_in) and all(losses[term] > 0 for term in case.terms)
    # The step is that of a method which begins with the burnt-in state.
    other = compiled(case, small_segmenter)
    for variable, value in zip([*other.variables, *other.optimizer.variables], state, strict=True):
        variable.assign(value)
    assert fitted(other, repeat(batch, 1)) == pytest.approx(losses, rel=1e-4)
    assert_close(state_of(other), state_of(method), rtol=1e-4)
    # And back once more: nothing of the unlabeled step is left in the compiled one.
    method.use_labels_only()
    again = fitted(method, repeat(plain, 1))
    assert again["loss"] == pytest.approx(sum(method.term_weights[n] * again[n] for n in again if n.startswith("sup")))


def test_replicas_exchange_a_gradient_of_every_weight(small_segmenter, random_batch):
    if keras.backend.backend() != "torch":
        pytest.skip("the engine of torch alone waits for all gradients")
    batch = random_batch()
    for name, case in CASES.items():
        method = case.make(small_segmenter)
        method.use_labels_only()
        method.compute_losses(batch)["loss"].backward()
        without = [v.path for v in method.trainable_variables if v.value.grad is None]
        assert not without, name

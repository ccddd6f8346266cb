"""The one harness that every method passes through."""

import keras
import numpy as np
import pytest
from method_cases import ALL, CASES

from rankmatch_keras.methods import METHODS
from rankmatch_keras.training.optimizers import SGD
from rankmatch_keras.training.state import load_state, save_state

WEAK_TO_STRONG = ("fixmatch", "unimatch", "rankmatch")
# On the other backends the parity tests run the steps of all methods and compare them with this one's, with all weights
# and state; compiling each of them here as well would take as long again.
EVERYWHERE = ("supervised", "fixmatch", "rankmatch", "meanteacher", "cps")
every_method = pytest.mark.parametrize(
    "case",
    [pytest.param(case, marks=[] if name in EVERYWHERE else pytest.mark.once) for name, case in CASES.items()],
    ids=CASES,
)
# Options of all methods, none at its default.
SHARED = {
    **{"ignore_index": 7, "ohem": (0.6, 50), "labeled_loss": "focal", "class_weights": (1.0, 2.0, 3.0)},
    **{"normalize": "separate", "statistics": "labeled", "average": 0.9},
    **{"unlabeled_weight": 0.5, "unlabeled_ramp": 0.25, "total_steps": 10},
}
LEARNED = [
    pytest.param(case, term, id=f"{name}-{term}", marks=[] if name in EVERYWHERE else pytest.mark.once)
    for name, case in CASES.items()
    for term in case.terms
    if term not in case.for_heads
    if case.shares_terms is None or term not in CASES[case.shares_terms].terms
]


def numbers(losses):
    return {name: float(keras.ops.convert_to_numpy(value)) for name, value in losses.items()}


def all_values(method):
    return [(v.path, keras.ops.convert_to_numpy(v.value)) for v in [*method.variables, *method.optimizer.variables]]


def test_every_method_is_tested():
    assert {case.kind for case in CASES.values()} == set(METHODS.values())


@every_method
def test_loss_is_the_weighted_sum_of_its_terms(case, small_segmenter, random_batch):
    method = case.make(small_segmenter)
    losses = numbers(method.compute_losses(random_batch()))
    assert set(losses) == {"loss", *case.terms, *case.diagnostics}
    assert tuple(method.term_weights) == case.terms and method.diagnostics == case.diagnostics
    expected = sum(method.term_weights[name] * losses[name] for name in case.terms)
    assert losses["loss"] == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(list(losses.values())).all()


@pytest.mark.parametrize("name", WEAK_TO_STRONG)
def test_boxes_of_a_second_view(name, small_segmenter, random_batch):
    losses = numbers(CASES[name].make(small_segmenter).compute_losses(random_batch(second_view=True)))
    assert all(losses[term] > 0 for term in CASES[name].terms)


@pytest.mark.once
@every_method
def test_stages_together_are_the_whole(case, small_segmenter, random_batch):
    batch = random_batch()
    whole = numbers(case.make(small_segmenter).compute_losses(batch))
    method, teacher, parts, loss = case.make(small_segmenter), None, {}, 0.0
    for stage in method.stages():
        terms, teacher = stage(batch, teacher)
        assert not set(terms) & set(parts)
        assert set(terms) & set(case.terms)  # a stage without a loss has no backward pass
        parts.update(numbers(terms))
        loss += float(keras.ops.convert_to_numpy(method.weigh(terms)))
    assert parts == pytest.approx({name: value for name, value in whole.items() if name != "loss"}, rel=1e-5)
    assert loss == pytest.approx(whole["loss"], rel=1e-5)


@pytest.mark.parametrize(("case", "term"), LEARNED)
def test_every_term_teaches_the_encoder(case, term, small_segmenter, random_batch, gradients):
    method = case.make(small_segmenter)
    batch = random_batch()
    if case.begins_alike:
        method.compute_terms(batch)
        for variable in method.segmenter.trainable_variables:
            variable.assign(variable.value * 1.1)
    encoders = [student.encoder for student in method.students]
    found = [gradients(lambda: method.compute_terms(batch)[term], encoder) for encoder in encoders]
    assert all(len(of_encoder) == 6 for of_encoder in found)  # two convolutions, each with its normalization's two
    assert all(np.isfinite(gradient).all() for of_encoder in found for gradient in of_encoder)
    # The convolutions, of one network at least.
    assert any(all(np.abs(gradients[i]).max() > 1e-9 for i in (0, 3)) for gradients in found)


@every_method
def test_a_run_resumes_from_its_saved_state(case, small_segmenter, random_batch, repeat, tmp_path):
    def fitted(method):
        history = method.fit(repeat(random_batch(), 1), shuffle=False, verbose=0).history
        return {name: value for name, (value,) in history.items()}

    def compiled():
        keras.backend.clear_session()  # or the layers' names would count on
        method = case.make(small_segmenter)
        method.compile(SGD(0.01, head_multiplier=10.0))
        return method

    whole = compiled()
    before = [keras.ops.convert_to_numpy(v.value).copy() for v in whole.trainable_variables]
    history = fitted(whole)
    assert set(history) == {"loss", *case.terms, *case.diagnostics}
    assert np.isfinite(list(history.values())).all()
    for variable, start in zip(whole.trainable_variables, before, strict=True):
        assert (keras.ops.convert_to_numpy(variable.value) != start).any(), variable.path
    save_state(tmp_path / "state.npz", whole, {})
    resumed = compiled()
    load_state(tmp_path / "state.npz", resumed)
    last = [fitted(method) for method in (whole, resumed)]
    assert last[1] == pytest.approx(last[0], rel=1e-5)
    for (path, value), (_, other) in zip(all_values(whole), all_values(resumed), strict=True):
        np.testing.assert_allclose(other, value, rtol=1e-5, atol=1e-6, err_msg=path)


@pytest.mark.once
@every_method
def test_missing_entries_are_named(case, small_segmenter, random_batch):
    for name in case.kind.required:
        batch = random_batch()
        del batch[name]
        with pytest.raises(ValueError, match=rf"{case.kind.__name__} needs a batch.*missing: \['{name}'\]"):
            case.make(small_segmenter).check(batch)


@pytest.mark.once
@every_method
def test_required_entries_suffice(case, small_segmenter, random_batch):
    batch = random_batch()
    case.make(small_segmenter).compute_losses({name: batch[name] for name in case.kind.required})


@pytest.mark.once
@every_method
def test_config_round_trip(case, small_segmenter):
    options = {**case.options, **SHARED, "name": "mine"}
    method = case.make(small_segmenter, **options)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(method))
    assert type(copy) is case.kind
    assert copy.term_weights == method.term_weights
    for name, value in options.items():
        assert getattr(copy, name) == value, name
    assert [v.shape for v in copy.variables] == [v.shape for v in method.variables]


@pytest.mark.once
@every_method
def test_options_reach_the_supervised_loss(case, small_segmenter):
    loss = case.make(small_segmenter, **SHARED).supervised_loss
    assert (loss.ignore_index, loss.ohem) == (7, (0.6, 50))
    assert (loss.kind, loss.class_weights) == ("focal", (1.0, 2.0, 3.0))


@pytest.mark.parametrize("name", WEAK_TO_STRONG)
def test_the_threshold_selects(name, small_segmenter):
    options = {key: value for key, value in CASES[name].options.items() if key not in ALL}
    method = CASES[name].kind(small_segmenter(), **options)
    assert method.select.threshold == method.threshold == 0.95


@pytest.mark.parametrize("name", WEAK_TO_STRONG)
def test_padding_teaches_nothing(name, small_segmenter, random_batch):
    batch = random_batch()
    batch["valid"][:] = False
    losses = numbers(CASES[name].make(small_segmenter).compute_losses(batch))
    for value in ("strong_1", "strong_2", "feature_dropout", "mask_ratio", "confidence"):
        assert losses.get(value, 0.0) == 0.0


@pytest.mark.parametrize("name", WEAK_TO_STRONG)
def test_a_teacher_below_the_threshold_teaches_nothing(name, small_segmenter, random_batch):
    losses = numbers(CASES[name].make(small_segmenter, threshold=1.0).compute_losses(random_batch()))
    assert losses["strong_1"] == 0.0 and losses["mask_ratio"] == 0.0
    assert 1 / 3 <= losses["confidence"] < 1.0

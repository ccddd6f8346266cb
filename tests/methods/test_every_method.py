"""The one harness that every method passes through."""

import keras
import numpy as np
import pytest

from rankmatch_keras import FixMatch, RankMatch, SupervisedOnly, UniMatch
from rankmatch_keras.training.optimizers import SGD

PIXEL_TERMS = ["supervised", "strong_1", "strong_2", "feature_dropout"]
TERMS = {
    SupervisedOnly: ["supervised"],
    FixMatch: ["supervised", "strong_1"],
    UniMatch: PIXEL_TERMS,
    RankMatch: [*PIXEL_TERMS, "rank_1", "rank_2"],
}
DIAGNOSTICS = {SupervisedOnly: [], **dict.fromkeys((FixMatch, UniMatch, RankMatch), ["mask_ratio", "confidence"])}
METHODS = list(TERMS)
UNLABELLED_METHODS = METHODS[1:]


def make(kind, segmenter, **options):
    """The method with every pixel counting, and few agents for the 3x3 grid."""
    if kind is not SupervisedOnly:
        options = {"threshold": 0.0, **options}
    if kind is RankMatch:
        options = {"num_agents": 6, **options}
    return kind(segmenter, **options)


def seed_of(kind):
    return {"seed": 0} if kind in (UniMatch, RankMatch) else {}


def numbers(losses):
    return {name: float(keras.ops.convert_to_numpy(value)) for name, value in losses.items()}


@pytest.mark.parametrize("second_view", [False, True])
@pytest.mark.parametrize("kind", METHODS)
def test_loss_is_the_weighted_sum_of_its_terms(kind, second_view, small_segmenter, random_batch):
    method = make(kind, small_segmenter())
    losses = numbers(method.compute_losses(random_batch(second_view=second_view)))
    assert set(losses) == {"loss", *TERMS[kind], *DIAGNOSTICS[kind]}
    assert list(method.term_weights) == TERMS[kind]
    expected = sum(method.term_weights[name] * losses[name] for name in TERMS[kind])
    assert losses["loss"] == pytest.approx(expected, rel=1e-5)
    assert all(losses[name] > 0 for name in TERMS[kind])


@pytest.mark.parametrize("kind", METHODS)
def test_stages_together_are_the_whole(kind, small_segmenter, random_batch):
    batch = random_batch()
    whole = numbers(make(kind, small_segmenter(), **seed_of(kind)).compute_losses(batch))
    method, teacher, parts, loss = make(kind, small_segmenter(), **seed_of(kind)), None, {}, 0.0
    for stage in method.stages():
        terms, teacher = stage(batch, teacher)
        assert not set(terms) & set(parts)
        parts.update(numbers(terms))
        loss += float(keras.ops.convert_to_numpy(method.weigh(terms)))
    assert teacher is None
    assert parts == pytest.approx({name: value for name, value in whole.items() if name != "loss"}, rel=1e-5)
    assert loss == pytest.approx(whole["loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "term"),
    # UniMatch's terms are RankMatch's first four.
    [(kind, term) for kind in (SupervisedOnly, FixMatch, RankMatch) for term in TERMS[kind]],
)
def test_every_term_teaches_the_encoder(kind, term, small_segmenter, random_batch, gradients):
    method = make(kind, small_segmenter())
    batch = random_batch()
    found = gradients(lambda: method.compute_terms(batch)[term], method.segmenter.encoder)
    assert len(found) == 6  # two convolutions, each with scale and offset of its normalisation
    for gradient in found:
        assert np.isfinite(gradient).all()
    assert all(np.abs(gradient).max() > 1e-9 for gradient in (found[0], found[3]))  # the convolutions


@pytest.mark.parametrize("kind", [FixMatch, UniMatch])  # the other two are fitted in test_overfit.py
def test_two_steps_of_fit_log_every_term(kind, small_segmenter, random_batch, repeat):
    method = make(kind, small_segmenter())
    method.compile(SGD(0.01, head_multiplier=10.0))
    before = [keras.ops.convert_to_numpy(v).copy() for v in method.trainable_variables]
    history = method.fit(repeat(random_batch(second_view=True), 2), shuffle=False, verbose=0).history
    assert set(history) == {"loss", *TERMS[kind], *DIAGNOSTICS[kind]}
    assert all(np.isfinite(values).all() for values in history.values())
    assert int(method.optimizer.iterations) == 2
    for start, variable in zip(before, method.trainable_variables, strict=True):
        assert (keras.ops.convert_to_numpy(variable) != start).any(), variable.path


@pytest.mark.parametrize("kind", METHODS)
def test_missing_entries_are_named(kind, small_segmenter, random_batch):
    method = make(kind, small_segmenter())
    for name in kind.required:
        batch = random_batch()
        del batch[name]
        with pytest.raises(ValueError, match=rf"{kind.__name__} needs a batch.*missing: \['{name}'\]"):
            method.compute_losses(batch)


@pytest.mark.parametrize("kind", METHODS)
def test_required_entries_suffice(kind, small_segmenter, random_batch):
    batch = random_batch()
    method = make(kind, small_segmenter())
    method.compute_losses({name: batch[name] for name in kind.required})


@pytest.mark.parametrize("kind", METHODS)
def test_config_round_trip(kind, small_segmenter):
    options = {"ignore_index": 7, "ohem": (0.6, 50), "name": "mine"}
    if kind is not SupervisedOnly:
        options["threshold"] = 0.8
    if kind in (UniMatch, RankMatch):
        options.update(feature_dropout=0.3, seed=5)
    if kind is RankMatch:
        options.update(preset="reference", num_agents=9, top_k=3, rank_weight=0.4)
    method = kind(small_segmenter(), **options)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(method))
    assert type(copy) is kind
    assert copy.term_weights == method.term_weights
    for name, value in options.items():
        assert getattr(copy, name) == value, name
    assert [v.shape for v in copy.trainable_variables] == [v.shape for v in method.trainable_variables]


@pytest.mark.parametrize("kind", METHODS)
def test_options_reach_the_losses(kind, small_segmenter):
    method = kind(small_segmenter(), ignore_index=7, ohem=(0.6, 50))
    assert (method.supervised_loss.ignore_index, method.supervised_loss.ohem) == (7, (0.6, 50))
    if kind is not SupervisedOnly:
        assert method.consistency_loss.threshold == method.threshold == 0.95


@pytest.mark.parametrize("kind", UNLABELLED_METHODS)
def test_padding_teaches_nothing(kind, small_segmenter, random_batch):
    batch = random_batch()
    batch["valid"][:] = False
    losses = numbers(make(kind, small_segmenter()).compute_losses(batch))
    for name in ("strong_1", "strong_2", "feature_dropout", "mask_ratio", "confidence"):
        assert losses.get(name, 0.0) == 0.0


@pytest.mark.parametrize("kind", UNLABELLED_METHODS)
def test_unsure_teacher_teaches_nothing(kind, small_segmenter, random_batch):
    losses = numbers(make(kind, small_segmenter(), threshold=1.0).compute_losses(random_batch()))
    assert losses["strong_1"] == 0.0 and losses["mask_ratio"] == 0.0
    assert 1 / 3 <= losses["confidence"] < 1.0

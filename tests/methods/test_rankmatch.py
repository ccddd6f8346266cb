import inspect

import numpy as np
import pytest
from keras import ops

from rankmatch_keras import RankMatch
from rankmatch_keras.errors import UserError
from rankmatch_keras.losses import RankConsistencyLoss
from rankmatch_keras.methods import build


def test_paper_preset(small_segmenter):
    method = RankMatch(small_segmenter())
    assert (method.num_agents, method.top_k, method.reduction, method.rank_weight) == (128, 4, "per_pixel", 0.1)
    # Eq. 9: L_sup + L_reg + 0.1 L_rank, with L_reg = L_s1 / 4 + L_s2 / 4 + L_fp / 2 and L_rank the mean of two views.
    assert method.term_weights == {
        "supervised": 1.0,
        "strong_1": 0.25,
        "strong_2": 0.25,
        "feature_dropout": 0.5,
        "rank_1": 0.05,
        "rank_2": 0.05,
    }


def test_the_defaults_are_the_paper_preset():
    defaults = {name: option.default for name, option in inspect.signature(RankMatch).parameters.items()}
    assert {name: defaults[name] for name in RankMatch.presets["paper"]} == RankMatch.presets["paper"]


def test_reference_preset(small_segmenter):
    method = RankMatch(small_segmenter(), **RankMatch.presets["reference"])
    assert (method.num_agents, method.top_k, method.reduction, method.rank_weight) == (64, 4, "mean_all", 0.1)
    # (L_x + L_s1 / 4 + L_s2 / 4 + L_fp / 2) / 2 + 0.1 (L_c1 + L_c2) / 2
    assert method.term_weights == {
        "supervised": 0.5,
        "strong_1": 0.125,
        "strong_2": 0.125,
        "feature_dropout": 0.25,
        "rank_1": 0.05,
        "rank_2": 0.05,
    }


@pytest.mark.parametrize("preset", ["paper", "reference"])
def test_presets_reach_the_rank_loss(preset, small_segmenter):
    method = RankMatch(small_segmenter(), **RankMatch.presets[preset], seed=3)
    loss = method.rank_loss
    assert isinstance(loss, RankConsistencyLoss)
    assert (loss.num_agents, loss.top_k, loss.reduction) == (method.num_agents, method.top_k, method.reduction)
    assert loss.seed == 3


def test_overrides(small_segmenter):
    overrides = {"num_agents": 20, "top_k": 3, "reduction": "per_pixel", "rank_weight": 0.4, "pixel_scale": 2.0}
    method = RankMatch(small_segmenter(), **{**RankMatch.presets["reference"], **overrides})
    loss = method.rank_loss
    assert (loss.num_agents, loss.top_k, loss.reduction) == (20, 3, "per_pixel")
    assert list(method.term_weights.values()) == pytest.approx([2.0, 0.5, 0.5, 1.0, 0.2, 0.2])
    method = RankMatch(small_segmenter(), threshold=0.5, feature_dropout=0.2, ignore_index=0, ohem=(0.7, 9))
    assert (method.threshold, method.feature_dropout, method.ignore_index, method.ohem) == (0.5, 0.2, 0, (0.7, 9))


@pytest.mark.parametrize("wrong", ["num_agent", "treshold", "preset"])
def test_a_misspelt_option_is_a_type_error(wrong, small_segmenter):
    with pytest.raises(TypeError, match=f"unexpected keyword argument '{wrong}'"):
        RankMatch(small_segmenter(), **{wrong: 1})


def test_config_of_an_earlier_version_names_its_preset(small_segmenter):
    method = RankMatch(small_segmenter(), num_agents=20)
    copy = RankMatch.from_config({**method.get_config(), "preset": "reference"})
    assert copy.get_config() == method.get_config()


def test_building_by_name_takes_given_over_preset_over_usual(small_segmenter):
    usual = {"num_agents": 9, "threshold": 0.7, "stride": 2}
    method = build("rankmatch", small_segmenter(), {"pixel_scale": 3.0}, usual, preset="reference")
    assert (method.num_agents, method.pixel_scale, method.threshold) == (64, 3.0, 0.7)
    assert build("rankmatch", small_segmenter(), {"num_agents": 8}, usual, preset="paper").num_agents == 8
    assert build("fixmatch", small_segmenter(), {}, usual, preset="reference").threshold == 0.7
    with pytest.raises(UserError, match="an option of rankmatch.*'pixel_scales'.*Did you mean pixel_scale"):
        build("rankmatch", small_segmenter(), {"pixel_scales": 1.0})
    with pytest.raises(UserError, match="an option of fixmatch.*'preset'"):
        build("fixmatch", small_segmenter(), {"preset": "paper"})


def number(value):
    return float(ops.convert_to_numpy(value))


@pytest.mark.parametrize("second_view", [False, True])
def test_rank_terms_compare_the_mixed_teacher_with_the_strong_views(second_view, small_segmenter, random_batch):
    # All 9 pixels of the grid are agents, so that no random choice matters.
    method = RankMatch(small_segmenter(), num_agents=9, seed=0)
    batch = random_batch(second_view=second_view)
    seen = []
    compare = method.rank_loss.compare
    method.rank_loss.compare = lambda t, s: seen.append(compare(t, s)) or seen[-1]
    terms = method.compute_terms(batch)
    means = [number(ops.mean(pixels)) for pixels in seen]
    assert [number(terms["rank_1"]), number(terms["rank_2"])] == pytest.approx(means, rel=1e-6)

    other = RankMatch(small_segmenter(), num_agents=9, seed=0)  # the same weights and statistics as before the step
    _, teacher = other.weak_stage(batch, None)
    views = [other.strong_view(batch, number, teacher) for number in (1, 2)]
    features = other.segmenter(ops.concatenate([view.image for view in views]), training=True)["features"]
    for view, student, name in zip(views, (features[:2], features[2:]), ("rank_1", "rank_2"), strict=True):
        target = view.target.features
        assert tuple(target.shape) == tuple(student.shape) == (2, 3, 3, 16)
        expected = RankConsistencyLoss(9)(target, student)
        assert number(terms[name]) == pytest.approx(number(expected), rel=1e-4)


def test_pixel_terms_are_unimatchs(small_segmenter, random_batch):
    from rankmatch_keras import UniMatch

    batch = random_batch()
    rank = RankMatch(small_segmenter(), threshold=0.0, seed=0).compute_losses(batch)
    uni = UniMatch(small_segmenter(), threshold=0.0, seed=0).compute_losses(batch)
    for name in ("supervised", "strong_1", "strong_2", "feature_dropout"):
        assert number(rank[name]) == pytest.approx(number(uni[name]), rel=1e-5)


def test_identical_views_have_no_rank_loss(small_segmenter, random_batch):
    # In inference mode equal images give equal features, and boxes from the same images change nothing.
    method = RankMatch(small_segmenter(), num_agents=6)
    method.segmenter.trainable = False
    batch = random_batch(second_view=True)
    for name in (
        "strong_image_1",
        "strong_image_2",
        "source_weak_image",
        "source_strong_image_1",
        "source_strong_image_2",
    ):
        batch[name] = batch["weak_image"]
    terms = method.compute_terms({name: ops.convert_to_tensor(value) for name, value in batch.items()})
    np.testing.assert_allclose([number(terms["rank_1"]), number(terms["rank_2"])], 0.0, atol=1e-6)


@pytest.mark.parametrize("correlation", ["kl", "ce", "l2"])
def test_another_divergence_takes_the_rank_loss_place(correlation, small_segmenter, random_batch):
    method = RankMatch(small_segmenter(), correlation=correlation, num_agents=6, threshold=0.0, seed=0)
    assert list(method.term_weights)[-2:] == ["correlation_1", "correlation_2"]
    losses = method.compute_losses(random_batch())
    assert all(number(losses[name]) > 0 for name in method.term_weights)


def test_the_rank_loss_begins_and_grows(small_segmenter, random_batch):
    options = {"num_agents": 6, "threshold": 0.0, "seed": 0}
    plain = RankMatch(small_segmenter(), **options)
    grown = RankMatch(small_segmenter(), **options, rank_start=0.25, rank_ramp=0.5, total_steps=8)
    shares = []
    for _ in range(8):
        full, part = (number(method.compute_losses(random_batch())["rank_1"]) for method in (plain, grown))
        shares.append(part / full)
    # At the t-th of 8 batches t / 8 is done.
    assert shares == pytest.approx([0.0, 0.0, 0.25, 0.5, 0.75, 1.0, 1.0, 1.0], abs=1e-5)


def test_padding_and_confidence_reach_the_rank_loss(small_segmenter, random_batch):
    batch = random_batch()
    batch["valid"][:, :, 9:] = False  # of the 3 x 3 grid only the first column is left
    options = {"num_agents": 6, "threshold": 0.0, "seed": 0}
    values = [
        number(RankMatch(small_segmenter(), **options, **more).compute_losses(batch)["rank_2"])
        for more in ({}, {"leave_out_padding": True}, {"weight_by_confidence": True})
    ]
    assert len({round(found, 7) for found in values}) == 3 and min(values) > 0
    batch["valid"][:] = False
    method = RankMatch(small_segmenter(), **options, leave_out_padding=True)
    assert number(method.compute_losses(batch)["rank_1"]) == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"correlation": "cosine"}, "correlation in"),
        ({"rank_ramp": 0.2}, "Expected total_steps"),
        ({"rank_start": 2.0, "total_steps": 3}, "fraction of the run"),
    ],
)
def test_values_of_options_are_checked(options, message, small_segmenter):
    with pytest.raises(ValueError, match=message):
        RankMatch(small_segmenter(), **options)

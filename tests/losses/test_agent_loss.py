"""Options of both agent losses: agents, similarity, pixel weights, gradient."""

import numpy as np
import pytest

from rankmatch_keras.layers import AllAgents
from rankmatch_keras.losses import CorrelationConsistencyLoss, RankConsistencyLoss, agent_loss

LOSSES = {
    "rank": lambda **options: RankConsistencyLoss(top_k=3, **options),
    **{
        name: lambda n=name, **options: CorrelationConsistencyLoss(divergence=n, **options)
        for name in ("kl", "ce", "l2")
    },
}


@pytest.fixture
def maps():
    return np.random.default_rng(0).normal(scale=0.7, size=(2, 2, 4, 5, 6)).astype("float32")


@pytest.mark.parametrize("agent_gradient", [True, False])
@pytest.mark.parametrize("name", LOSSES)
def test_all_pixels_in_blocks_are_all_pixels(name, agent_gradient, maps, monkeypatch, value_and_gradient):
    monkeypatch.setattr(agent_loss, "BLOCK", 7)
    teacher, student = maps
    weight = np.random.default_rng(1).random((2, 4, 5)).astype("float32")
    options = {"temperature": 0.8, "agent_gradient": agent_gradient}
    whole = LOSSES[name](num_agents=20, **options)
    whole.select_agents = AllAgents()  # all pixels on the path that holds every similarity at once
    blocks = LOSSES[name](num_agents=20, agents="all", **options)
    for weights in (None, weight):
        expected, slope = value_and_gradient(lambda s, w=weights: whole(teacher, s, weight=w), student)
        value, gradient = value_and_gradient(lambda s, w=weights: blocks(teacher, s, weight=w), student)
        assert value == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(gradient, slope, rtol=1e-4, atol=1e-6 * np.abs(slope).max())


@pytest.mark.parametrize("name", LOSSES)
def test_weights_make_a_weighted_mean(name, maps):
    teacher, student = maps
    weight = np.zeros((2, 4, 5), "float32")
    layer, first = LOSSES[name](num_agents=8), np.int32([3, 11])
    alone = []
    for b, y, x in ((0, 1, 2), (1, 3, 4)):
        weight[:] = 0
        weight[b, y, x] = 1
        alone.append(float(layer(teacher, student, first_index=first, weight=weight)))
    weight[:] = 0
    weight[0, 1, 2], weight[1, 3, 4] = 1.0, 3.0
    both = float(layer(teacher, student, first_index=first, weight=weight))
    assert both == pytest.approx((alone[0] + 3 * alone[1]) / 4, rel=1e-5)


def test_padding_is_left_out(maps, value_and_gradient):
    teacher, student = maps
    valid = np.ones((2, 4, 5), dtype=bool)
    valid[:, :, 3:] = False
    layer, first = LOSSES["rank"](num_agents=6), np.int32([0, 5])
    value, gradient = value_and_gradient(lambda s: layer(teacher, s, first_index=first, valid=valid), student)
    assert (gradient[:, :, 3:] == 0).all() and (gradient[:, :, :3] != 0).any()
    other = np.where(valid[..., None], teacher, 9.0)
    assert float(layer(other, student, first_index=first, valid=valid)) == pytest.approx(value, rel=1e-6)
    assert float(layer(teacher, student, first_index=first, valid=np.zeros_like(valid))) == 0.0


def test_the_cosine_ignores_lengths(maps):
    teacher, student = maps
    layer = LOSSES["kl"](num_agents=8, similarity="cosine", temperature=0.1)
    first = np.int32([3, 11])
    lengths = np.random.default_rng(2).uniform(0.5, 4.0, size=(2, 4, 5, 1)).astype("float32")
    value = float(layer(teacher, student, first_index=first))
    assert value > 0.01
    assert float(layer(teacher * lengths, student * lengths[::-1], first_index=first)) == pytest.approx(value, rel=1e-4)


def test_the_temperature_divides_the_products(maps):
    teacher, student = maps
    first = np.int32([3, 11])
    hot = float(LOSSES["rank"](num_agents=8, temperature=4.0)(teacher, student, first_index=first))
    same = float(LOSSES["rank"](num_agents=8)(teacher / 2, student / 2, first_index=first))
    assert hot == pytest.approx(same, rel=1e-5)


def test_without_agent_gradient_agents_do_not_move(maps, value_and_gradient):
    teacher, student = maps
    weight = np.zeros((2, 4, 5), "float32")
    weight[:, 0, 0] = 1  # the loss of one pixel reaches only that pixel
    layer = LOSSES["rank"](num_agents=8, agent_gradient=False)
    _, gradient = value_and_gradient(lambda s: layer(teacher, s, first_index=np.int32([3, 11]), weight=weight), student)
    moved = np.abs(gradient).max(-1) > 0
    assert moved[:, 0, 0].all() and moved.sum() == 2


@pytest.mark.parametrize(
    ("option", "message"),
    [({"agents": "best"}, "agents in"), ({"similarity": "l1"}, "similarity in"), ({"temperature": 0}, "above 0")],
)
def test_arguments_are_checked(option, message):
    with pytest.raises(ValueError, match=message):
        RankConsistencyLoss(**option)

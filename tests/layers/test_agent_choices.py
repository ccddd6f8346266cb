import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers import AllAgents, OrthogonalAgents, RandomAgents, TopAgents, agent_choices
from rankmatch_keras.layers.grid import on_grid


def features(shape=(2, 5, 6, 4), seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def top_twin(pixels, count):
    """Column sums of softmax(F F^T) in float64, pixel by pixel."""
    sums = np.zeros(len(pixels))
    for pixel in np.float64(pixels):
        row = np.exp(pixels @ pixel)
        sums += row / row.sum()
    return set(np.argsort(-sums)[:count])


@pytest.mark.parametrize("block", [7, 256])
def test_top_agents_against_numpy(block, monkeypatch):
    monkeypatch.setattr(agent_choices, "BLOCK", block)
    maps = features()
    found = ops.convert_to_numpy(TopAgents(9)(maps))
    assert found.dtype == np.int32
    for agents, one in zip(found, maps, strict=True):
        assert set(agents) == top_twin(one.reshape(30, 4), 9)


def test_random_agents_are_different_and_everywhere():
    layer = RandomAgents(4, seed=1)
    draws = np.concatenate([ops.convert_to_numpy(layer(features())) for _ in range(100)])
    assert all(len(set(agents)) == 4 for agents in draws)
    # 30 pixels, 200 draws of 4: 26.7 a pixel, deviation 4.8
    assert (np.abs(np.bincount(draws.ravel(), minlength=30) - 26.7) < 22).all()


def test_all_agents_are_all_pixels_in_order():
    assert ops.convert_to_numpy(AllAgents()(features())).tolist() == [list(range(30))] * 2
    assert keras.KerasTensor((2, 5, 6, 4)).shape and AllAgents().compute_output_spec(
        keras.KerasTensor((2, 5, 6, 4))
    ).shape == (2, 30)


@pytest.mark.parametrize("kind", [OrthogonalAgents, RandomAgents, TopAgents])
def test_no_agent_stands_on_padding(kind):
    valid = np.random.default_rng(2).random((2, 5, 6)) < 0.5
    for _ in range(5):
        for agents, allowed in zip(ops.convert_to_numpy(kind(6, seed=3)(features(), valid=valid)), valid, strict=True):
            assert len(set(agents)) == 6 and allowed.ravel()[agents].all()


def test_few_valid_pixels_are_picked_again():
    valid = np.zeros((1, 5, 6), dtype=bool)
    valid[0, 2, 3:5] = True
    agents = ops.convert_to_numpy(OrthogonalAgents(5, seed=0)(features((1, 5, 6, 4)), valid=valid))[0]
    assert set(agents) == {15, 16}


def test_the_grid_is_sampled_at_its_positions():
    values = np.arange(33 * 17).reshape(1, 33, 17)
    found = ops.convert_to_numpy(on_grid(values, (3, 2)))
    assert found.tolist() == [[[0, 16], [16 * 17, 16 * 17 + 16], [32 * 17, 32 * 17 + 16]]]

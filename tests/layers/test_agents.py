import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers import AllAgents, OrthogonalAgents, RandomAgents, TopAgents, gather_agents


def agents_twin(features, num_agents, first):
    """One image, in order of selection, as Section 3.2 states it: every cosine with every agent, no running maximum."""
    pixels = features.reshape(-1, features.shape[-1]).astype("float64")
    chosen = [int(first)]
    while len(chosen) < min(num_agents, len(pixels)):
        best, best_value = None, np.inf
        for p, pixel in enumerate(pixels):
            if p in chosen:
                continue
            cosines = [
                abs(pixel @ pixels[a]) / (np.linalg.norm(pixel) * np.linalg.norm(pixels[a]) + 1e-30) for a in chosen
            ]
            if max(cosines) < best_value:
                best, best_value = p, max(cosines)
        chosen.append(best)
    return chosen


def select(features, num_agents, first):
    layer = OrthogonalAgents(num_agents)
    return ops.convert_to_numpy(layer(features, first_index=np.array(first, dtype="int32")))


@pytest.mark.parametrize("name", ["rank_loss_small", "rank_loss_large"])
def test_same_set_as_published_program(golden, name):
    numbers = golden(name)
    agents = select(numbers["features_teacher"], 16, numbers["first_index"])
    np.testing.assert_array_equal(agents[:, 0], numbers["first_index"])
    np.testing.assert_array_equal(np.sort(agents, axis=1), numbers["agent_indices_sorted"])


@pytest.mark.parametrize("signed", [True, False])
def test_order_of_selection_against_numpy(signed):
    features = np.random.default_rng(1).normal(size=(2, 5, 6, 7)).astype("float32")
    features = features if signed else np.abs(features)
    agents = select(features, 12, [4, 29])
    for b, first in enumerate([4, 29]):
        assert agents[b].tolist() == agents_twin(features[b], 12, first)


def test_length_of_features_is_ignored():
    features = np.random.default_rng(2).normal(size=(1, 4, 5, 6)).astype("float32")
    lengths = np.random.default_rng(3).uniform(0.1, 50.0, size=(1, 4, 5, 1)).astype("float32")
    np.testing.assert_array_equal(select(features * lengths, 8, [3]), select(features, 8, [3]))


def test_opposite_features_are_equal():
    # Pixel 1 is minus pixel 0: |cos| = 1. Pixel 2 has cos 0.6.
    features = np.array([[[[1.0, 0.0], [-1.0, 0.0], [0.6, 0.8]]]], dtype="float32")
    assert select(features, 2, [0]).tolist() == [[0, 2]]


def test_ties_go_to_the_first_pixel():
    # Pixels e0 e1 e1 e2 e2. After pixel 0, four pixels have |cos| 0: 1 is first. Then 3 and 4 have 0: 3. Then 2 and 4
    # have 1: 2.
    features = np.eye(3, dtype="float32")[[0, 1, 1, 2, 2]].reshape(1, 1, 5, 3)
    assert select(features, 4, [0]).tolist() == [[0, 1, 3, 2]]


def test_equal_and_zero_pixels_are_picked_in_order_and_never_twice():
    features = np.stack([np.ones((2, 3, 4)), np.zeros((2, 3, 4))]).astype("float32")
    assert select(features, 5, [2, 5]).tolist() == [[2, 0, 1, 3, 4], [5, 0, 1, 2, 3]]


def test_fewer_pixels_than_agents_gives_all_pixels():
    features = np.random.default_rng(4).normal(size=(1, 2, 3, 4)).astype("float32")
    assert sorted(select(features, 128, [1])[0].tolist()) == [0, 1, 2, 3, 4, 5]


def test_a_single_agent_is_the_first():
    features = np.random.default_rng(5).normal(size=(2, 2, 3, 4)).astype("float32")
    assert select(features, 1, [5, 0]).tolist() == [[5], [0]]


def test_random_first_agent_covers_the_grid():
    layer = OrthogonalAgents(num_agents=1, seed=0)
    first = ops.convert_to_numpy(layer(np.ones((300, 2, 2, 1), dtype="float32")))[:, 0]
    # Uniform over 4 pixels: each expects 75 of 300, standard deviation 7.5.
    counts = np.bincount(first, minlength=4)
    assert first.min() >= 0 and counts.sum() == 300 and len(counts) == 4
    assert (np.abs(counts - 75) < 40).all()


def test_seed_repeats_the_sequence():
    features = np.ones((64, 4, 5, 1), dtype="float32")
    one, other = OrthogonalAgents(1, seed=7), OrthogonalAgents(1, seed=7)
    draws = [ops.convert_to_numpy(layer(features)).tolist() for layer in (one, one, other, other)]
    assert draws[0] == draws[2] and draws[1] == draws[3]
    assert draws[0] != draws[1]


def test_shared_seed_generator():
    generator = keras.random.SeedGenerator(3)
    features = np.ones((64, 4, 5, 1), dtype="float32")
    first = ops.convert_to_numpy(OrthogonalAgents(1, seed=generator)(features))
    second = ops.convert_to_numpy(OrthogonalAgents(1, seed=generator)(features))
    assert (first != second).any()


def test_compiled(compiled):
    features = np.random.default_rng(6).normal(size=(2, 4, 5, 8)).astype("float32")
    layer = OrthogonalAgents(6)
    agents = compiled(lambda x, first: layer(x, first_index=first))(
        ops.convert_to_tensor(features), ops.convert_to_tensor([3, 11])
    )
    np.testing.assert_array_equal(ops.convert_to_numpy(agents), select(features, 6, [3, 11]))


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="only tf.function has unknown sizes")
def test_unknown_sizes_in_a_tensorflow_graph():
    import tensorflow as tf

    layer = OrthogonalAgents(6)
    signature = [tf.TensorSpec((None, None, None, 8)), tf.TensorSpec((None,), tf.int32)]
    function = tf.function(lambda x, first: layer(x, first_index=first), input_signature=signature)
    for size in ((4, 5), (3, 7)):
        features = np.random.default_rng(7).normal(size=(2, *size, 8)).astype("float32")
        np.testing.assert_array_equal(function(features, [3, 11]).numpy(), select(features, 6, [3, 11]))


@pytest.mark.parametrize(("size", "count"), [((4, 5), 6), ((2, 2), 4), ((None, None), 6)])
def test_symbolic_shape(size, count):
    agents = OrthogonalAgents(6)(keras.Input((*size, 8)))
    assert tuple(agents.shape) == (None, count)
    assert agents.dtype == "int32"


def test_gradient_flows_only_through_gathering(value_and_gradient):
    features = np.random.default_rng(8).normal(size=(1, 2, 3, 4)).astype("float32")
    layer = OrthogonalAgents(2)

    def total(x):
        return ops.sum(gather_agents(x, layer(x, first_index=np.array([4]))))

    _, gradient = value_and_gradient(total, features)
    expected = np.zeros((6, 4))
    expected[agents_twin(features[0], 2, 4)] = 1.0  # a sum has slope one at what it adds, nothing elsewhere
    np.testing.assert_array_equal(gradient.reshape(6, 4), expected)


def test_half_precision_features_are_compared_in_float32():
    features = np.random.default_rng(9).normal(size=(1, 4, 5, 8)).astype("float16")
    np.testing.assert_array_equal(select(features, 6, [3]), select(features.astype("float32"), 6, [3]))


def test_no_agents_is_an_error():
    with pytest.raises(ValueError, match="at least 1 agent.*num_agents=0"):
        OrthogonalAgents(0)


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
    monkeypatch.setattr("rankmatch_keras.layers.agents.BLOCK", block)
    maps = features()
    found = ops.convert_to_numpy(TopAgents(9)(maps))
    assert found.dtype == np.int32
    for agents, one in zip(found, maps, strict=True):
        assert set(agents) == top_twin(one.reshape(30, 4), 9)


def test_random_agents_are_distinct_and_everywhere():
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
def test_no_agent_is_on_padding(kind):
    valid = np.random.default_rng(2).random((2, 5, 6)) < 0.5
    for _ in range(5):
        for agents, allowed in zip(ops.convert_to_numpy(kind(6, seed=3)(features(), valid=valid)), valid, strict=True):
            assert len(set(agents)) == 6 and allowed.ravel()[agents].all()


def test_few_valid_pixels_are_picked_again():
    valid = np.zeros((1, 5, 6), dtype=bool)
    valid[0, 2, 3:5] = True
    agents = ops.convert_to_numpy(OrthogonalAgents(5, seed=0)(features((1, 5, 6, 4)), valid=valid))[0]
    assert set(agents) == {15, 16}

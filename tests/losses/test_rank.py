import itertools
import math

import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers import OrthogonalAgents
from rankmatch_keras.layers.pixels import flatten_pixels, gather_agents
from rankmatch_keras.losses import RankConsistencyLoss

RANKINGS = list(itertools.permutations(range(4)))
SETS = ["rank_loss_small", "rank_loss_large"]


def ranking_probabilities(logits):
    """Eq. 6 for arrays of logits `(..., 4)`: the 24 probabilities `(..., 24)` in float64."""
    factors = np.exp(np.float64(logits) - np.max(logits, axis=-1, keepdims=True))
    columns = []
    for ranking in RANKINGS:
        ordered = factors[..., list(ranking)]
        remaining = np.cumsum(ordered[..., ::-1], axis=-1)[..., ::-1]
        columns.append(np.prod(ordered / remaining, axis=-1))
    return np.stack(columns, axis=-1)


def rank_loss_twin(teacher, student, agents):
    """Eq. 4, 6 and 8 per pixel, `(B, P)` in float64, with 4 of the given agents `(B, N)`."""
    losses = []
    for f_t, f_s, chosen in zip(teacher, student, agents, strict=True):
        f_t, f_s = (np.float64(f).reshape(-1, f.shape[-1]) for f in (f_t, f_s))
        s_t, s_s = f_t @ f_t[chosen].T, f_s @ f_s[chosen].T
        top = np.argsort(-s_t, axis=-1)[:, :4]
        p_t, p_s = (ranking_probabilities(np.take_along_axis(s, top, axis=-1)) for s in (s_t, s_s))
        losses.append((p_t * (np.log(p_t) - np.log(p_s))).sum(-1))
    return np.stack(losses)


@pytest.fixture(params=SETS)
def numbers(request, golden):
    return golden(request.param)


def loss_layer(**options):
    return RankConsistencyLoss(num_agents=16, **options)


def call(layer, numbers, student=None):
    student = numbers["features_student"] if student is None else student
    return layer(numbers["features_teacher"], student, first_index=numbers["first_index"].astype("int32"))


def test_published_value(numbers):
    value = call(loss_layer(reduction="mean_all"), numbers)
    np.testing.assert_allclose(float(value), numbers["loss_mean_all"], rtol=1e-4)


def test_published_gradient(numbers, value_and_gradient):
    layer = loss_layer(reduction="mean_all")
    _, gradient = value_and_gradient(lambda s: call(layer, numbers, s), numbers["features_student"])
    expected = numbers["grad_student_mean_all"]
    # The published program adds 1e-10 to probabilities, which alters the large set's gradient where rankings are about
    # that improbable. So the whole gradient is compared, not each entry.
    error = np.linalg.norm(np.float64(gradient) - expected) / np.linalg.norm(np.float64(expected))
    assert error < 1e-4


def test_exact_value(numbers):
    value = call(loss_layer(), numbers)
    # Per pixel float32 rounds to 1e-6 of the largest divergence; the mean of 198 pixels does better.
    np.testing.assert_allclose(float(value), numbers["kl_per_pixel_exact_float64"].mean(), rtol=1e-5)


def test_exact_value_of_every_pixel(numbers):
    layer = loss_layer()
    pixels = []
    # What `compare` averages, read pixel by pixel.
    teacher, student = (ops.convert_to_tensor(numbers[f"features_{name}"]) for name in ("teacher", "student"))
    agents = ops.convert_to_tensor(numbers["agent_indices_sorted"].astype("int32"))
    teacher, student = (layer.products(flatten_pixels(f), gather_agents(f, agents)) for f in (teacher, student))
    for b, p in [(0, 0), (0, 17), (0, 98), (1, 5), (1, 50), (1, 97)]:
        pixels.append(float(layer.compare(teacher[b : b + 1, p : p + 1], student[b : b + 1, p : p + 1])[0, 0]))
    expected = numbers["kl_per_pixel_exact_float64"].reshape(2, 99)[[0, 0, 0, 1, 1, 1], [0, 17, 98, 5, 50, 97]]
    np.testing.assert_allclose(pixels, expected, rtol=2e-5)


def test_twin_is_exact(numbers):
    losses = rank_loss_twin(numbers["features_teacher"], numbers["features_student"], numbers["agent_indices_sorted"])
    # The reference lists rankings in float64, but its dot products were float32.
    np.testing.assert_allclose(losses.reshape(2, 9, 11), numbers["kl_per_pixel_exact_float64"], rtol=1e-5)


def test_products_are_the_published_correlation(numbers):
    layer = loss_layer()
    agents = ops.convert_to_tensor(numbers["agent_indices_sorted"].astype("int32"))
    for name in ("teacher", "student"):
        features = ops.convert_to_tensor(numbers[f"features_{name}"])
        products = layer.products(flatten_pixels(features), gather_agents(features, agents))
        correlation = ops.convert_to_numpy(ops.softmax(products)).reshape(2, 9, 11, 16)
        np.testing.assert_allclose(correlation, numbers[f"correlation_{name}"], rtol=1e-4)


def test_equation_6_gives_the_published_ranking_probabilities(golden):
    # Of the small set: in the large one the published 1e-10 shows.
    numbers = golden("rank_loss_small")
    for name in ("teacher", "student"):
        features = numbers[f"features_{name}"].reshape(2, 99, 64)
        top = numbers["top4_indices"].reshape(2, 99, 4)
        logits = np.stack([np.einsum("pc,pkc->pk", f, f[i]) for f, i in zip(features, top, strict=True)])
        np.testing.assert_allclose(
            ranking_probabilities(logits).reshape(2, 9, 11, 24), numbers[f"permutation_prob_{name}"], rtol=1e-4
        )


def test_mean_all_is_per_pixel_over_24(numbers):
    ratio = float(call(loss_layer(), numbers)) / float(call(loss_layer(reduction="mean_all"), numbers))
    assert ratio == pytest.approx(24.0, rel=1e-5)


@pytest.mark.parametrize(("height", "width", "num_agents"), [(4, 5, 8), (2, 3, 128)])
def test_value_and_gradient_against_numpy(height, width, num_agents, value_and_gradient, finite_differences):
    rng = np.random.default_rng(0)
    teacher, student = rng.normal(scale=0.7, size=(2, 2, height, width, 3)).astype("float32")
    first = np.array([1, 4], dtype="int32")
    agents = ops.convert_to_numpy(OrthogonalAgents(num_agents)(teacher, first_index=first))
    layer = RankConsistencyLoss(num_agents)
    value, gradient = value_and_gradient(lambda s: layer(teacher, s, first_index=first), student)
    assert value == pytest.approx(rank_loss_twin(teacher, student, agents).mean(), rel=1e-5)
    expected = finite_differences(lambda s: rank_loss_twin(teacher, s, agents).mean(), student)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


def test_no_gradient_to_the_teacher(value_and_gradient):
    teacher, student = np.random.default_rng(1).normal(size=(2, 1, 3, 3, 4)).astype("float32")
    layer = RankConsistencyLoss(6)
    first = np.array([0], dtype="int32")
    _, gradient = value_and_gradient(lambda t: layer(t, student, first_index=first) + 0.0 * ops.sum(t), teacher)
    np.testing.assert_array_equal(gradient, np.zeros_like(teacher))


@pytest.mark.parametrize("top_k", [2, 3, 6])
def test_other_numbers_of_top_agents(top_k):
    teacher, student = np.random.default_rng(2).normal(size=(2, 1, 3, 4, 5)).astype("float32")
    first = np.array([2], dtype="int32")
    full = float(RankConsistencyLoss(8, top_k=top_k)(teacher, student, first_index=first))
    mean = float(RankConsistencyLoss(8, top_k=top_k, reduction="mean_all")(teacher, student, first_index=first))
    assert full / mean == pytest.approx(math.factorial(top_k), rel=1e-5)
    assert full > 0


def test_equal_features_cost_nothing():
    features = np.random.default_rng(3).normal(size=(2, 4, 4, 8)).astype("float32")
    assert float(RankConsistencyLoss(8)(features, features)) == 0.0


def test_random_first_agent_is_seeded():
    teacher, student = np.random.default_rng(4).normal(size=(2, 2, 6, 6, 8)).astype("float32")
    one, other = RankConsistencyLoss(8, seed=1), RankConsistencyLoss(8, seed=1)
    values = [float(layer(teacher, student)) for layer in (one, one, other, other)]
    assert values[:2] == values[2:]
    assert values[0] != values[1]


def test_large_features_stay_finite(value_and_gradient):
    teacher, student = np.random.default_rng(5).normal(scale=100.0, size=(2, 1, 3, 3, 8)).astype("float32")
    layer = RankConsistencyLoss(6)
    first = np.array([0], dtype="int32")
    value, gradient = value_and_gradient(lambda s: layer(teacher, s, first_index=first), student)
    assert np.isfinite(value) and value > 0
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize(
    "options",
    [{"top_k": 1}, {"top_k": 11}, {"top_k": 8, "num_agents": 4}, {"reduction": "sum"}, {"agents": "best"}],
)
def test_wrong_options(options):
    with pytest.raises(ValueError, match="Expected .*Received: "):
        RankConsistencyLoss(**options)

import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers import OrthogonalAgents
from rankmatch_keras.losses import CorrelationConsistencyLoss


def correlation(features, agents):
    """Eq. 4 in float64: `(B, h, w, C)`, `(B, N)` -> `(B, P, N)`."""
    pixels = np.float64(features).reshape(len(features), -1, features.shape[-1])
    logits = np.stack([f @ f[chosen].T for f, chosen in zip(pixels, agents, strict=True)])
    factors = np.exp(logits - logits.max(-1, keepdims=True))
    return factors / factors.sum(-1, keepdims=True)


DIVERGENCES = {
    "kl": lambda t, s: (t * np.log(t / s)).sum(-1).mean(),
    "ce": lambda t, s: -(t * np.log(s)).sum(-1).mean(),
    "l2": lambda t, s: ((t - s) ** 2).sum(-1).mean(),
}


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_value_and_gradient_against_numpy(divergence, value_and_gradient, finite_differences):
    teacher, student = np.random.default_rng(0).normal(scale=0.7, size=(2, 2, 3, 4, 3)).astype("float32")
    first = np.array([1, 7], dtype="int32")
    agents = ops.convert_to_numpy(OrthogonalAgents(5)(teacher, first_index=first))

    def twin(s):
        return DIVERGENCES[divergence](correlation(teacher, agents), correlation(s, agents))

    layer = CorrelationConsistencyLoss(5, divergence)
    value, gradient = value_and_gradient(lambda s: layer(teacher, s, first_index=first), student)
    assert value == pytest.approx(twin(student), rel=1e-5)
    expected = finite_differences(twin, student)
    np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["rank_loss_small", "rank_loss_large"])
@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_value_of_the_published_correlations(golden, name, divergence):
    numbers = golden(name)
    teacher, student = (np.float64(numbers[f"correlation_{n}"]) for n in ("teacher", "student"))
    layer = CorrelationConsistencyLoss(16, divergence)
    first = numbers["first_index"].astype("int32")
    value = float(layer(numbers["features_teacher"], numbers["features_student"], first_index=first))
    assert value == pytest.approx(DIVERGENCES[divergence](teacher, student), rel=1e-3)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_equal_features_minimize_the_loss(divergence):
    features = np.random.default_rng(1).normal(size=(1, 3, 4, 3)).astype("float32")
    first = np.array([2], dtype="int32")
    t = correlation(features, ops.convert_to_numpy(OrthogonalAgents(5)(features, first_index=first)))
    value = float(CorrelationConsistencyLoss(5, divergence)(features, features, first_index=first))
    entropy = -(t * np.log(t)).sum(-1).mean()
    assert value == pytest.approx(entropy if divergence == "ce" else 0.0, rel=1e-5)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_large_features_stay_finite(divergence, value_and_gradient):
    teacher, student = np.random.default_rng(2).normal(scale=100.0, size=(2, 1, 3, 3, 8)).astype("float32")
    layer = CorrelationConsistencyLoss(6, divergence)
    first = np.array([0], dtype="int32")
    value, gradient = value_and_gradient(lambda s: layer(teacher, s, first_index=first), student)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_no_gradient_to_the_teacher(value_and_gradient):
    teacher, student = np.random.default_rng(3).normal(size=(2, 1, 3, 3, 4)).astype("float32")
    layer = CorrelationConsistencyLoss(6)
    first = np.array([0], dtype="int32")
    _, gradient = value_and_gradient(lambda t: layer(t, student, first_index=first) + 0.0 * ops.sum(t), teacher)
    np.testing.assert_array_equal(gradient, np.zeros_like(teacher))


@pytest.mark.parametrize("options", [{"divergence": "js"}, {"agents": "best"}, {"num_agents": 0}])
def test_wrong_options(options):
    with pytest.raises(ValueError, match="Expected .*Received: "):
        CorrelationConsistencyLoss(**options)

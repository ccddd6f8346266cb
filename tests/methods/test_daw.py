"""DAW: threshold and alignment of UniMatch's labels."""

import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.methods import DAW, UniMatch
from rankmatch_keras.methods.daw import GaussianThreshold

# The tests of parity compare the backends.
pytestmark = pytest.mark.once


def numbers(value):
    return ops.convert_to_numpy(value)


def test_aligned_probabilities_by_hand(small_segmenter):
    method = DAW(small_segmenter(), momentum=1.0)  # averages that stay
    method.labeled_confidences.averages.assign([0.8, 0.4, 0.5])
    method.unlabeled_confidences.averages.assign([0.4, 0.8, 0.5])
    probability = np.float32([[[[0.3, 0.5, 0.2], [0.1, 0.8, 0.1]]]])
    outputs = {"logits": np.log(probability), "features": ops.zeros((1, 1, 1, 4))}
    decision = method.pseudo_label(outputs, np.ones((1, 1, 2), bool))
    # (0.6, 0.25, 0.2) / 1.05 and (0.2, 0.4, 0.1) / 0.7.
    assert numbers(decision.label).tolist() == [[[0, 1]]]
    np.testing.assert_allclose(numbers(decision.confidence)[0, 0], [0.6 / 1.05, 0.4 / 0.7], rtol=1e-5)


def test_state_follows_labeled_and_unlabeled_predictions(small_segmenter, random_batch):
    method, batch = DAW(small_segmenter(), momentum=0.5, seed=0), random_batch()
    stream = UniMatch(small_segmenter(), seed=0).weak_stream(batch)  # before any alignment
    method.compute_terms(batch)
    logits = np.float64(numbers(stream.labeled_logits))
    probability = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    label, confidence, mask = probability.argmax(-1), probability.max(-1), batch["labeled_mask"]
    known = mask != 255

    def averages(label, confidence, counted):
        means = [confidence[counted & (label == c)] for c in range(3)]
        return [0.5 + 0.5 * found.mean() if found.size else 1.0 for found in means]

    np.testing.assert_allclose(
        numbers(method.labeled_confidences.values()), averages(label, confidence, known), rtol=1e-4
    )
    weak = stream.weak
    expected = averages(numbers(weak.label), numbers(weak.confidence), batch["valid"])
    np.testing.assert_allclose(numbers(method.unlabeled_confidences.values()), expected, rtol=1e-4)
    right, wrong = confidence[known & (label == mask)], confidence[known & (label != mask)]
    expected = [0.5 / 3 + 0.5 * right.mean(), 0.5 / 3 + 0.5 * wrong.mean()]
    np.testing.assert_allclose(numbers(method.adaptive_threshold.means), expected, rtol=1e-4)


def test_the_threshold_decides_which_labels_are_kept(small_segmenter, random_batch):
    found = {}
    for value in (0.0, 1.0):
        method = DAW(small_segmenter(), seed=0)
        method.adaptive_threshold.update = lambda *_: None
        method.adaptive_threshold.threshold.assign(value)
        found[value] = {k: float(numbers(v)) for k, v in method.compute_terms(random_batch()).items()}
        assert found[value]["threshold"] == value
    unimatch = UniMatch(small_segmenter(), threshold=0.0, seed=0).compute_terms(random_batch())
    # The averages are equal in the beginning, so that the first labels are UniMatch's but for one moved average.
    assert found[0.0]["supervised"] == pytest.approx(float(numbers(unimatch["supervised"])), rel=1e-5)
    assert found[0.0]["mask_ratio"] == 1.0 and found[1.0]["mask_ratio"] == 0.0
    for term in ("strong_1", "strong_2", "feature_dropout"):
        assert found[1.0][term] == 0.0 < found[0.0][term]


def test_the_ema_is_evaluated_and_follows_the_student(small_segmenter):
    method = DAW(small_segmenter(), average_decay=0.5)
    assert method.evaluated is method.averaged.network and method.teachers == (method.averaged.network,)
    kernel = method.segmenter.encoder.trainable_variables[0]
    copy = next(v for v in method.averaged.network.variables if v.shape == kernel.shape)
    for value in (1.0, 2.0):
        kernel.assign(ops.zeros(kernel.shape) + value)
        method.begin_step()
    np.testing.assert_allclose(numbers(copy.value), 1.5, rtol=1e-6)


def state(layer):
    return [ops.convert_to_numpy(v) for v in (layer.means, layer.variances)]


def crossing(means, variances):
    """Where the density of the correct passes that of the wrong ones, by looking for it."""
    x = np.linspace(0, 1, 2_000_001)
    log_densities = [-((x - m) ** 2) / (2 * v) - np.log(v) / 2 for m, v in zip(means, variances, strict=True)]
    above = log_densities[0] >= log_densities[1]
    return x[np.flatnonzero(np.diff(above.astype(int)) == 1)[-1]]


def given(means, variances, initial=0.95, classes=5):
    """A layer with a state, after a batch without labeled pixels."""
    layer = GaussianThreshold(classes, initial)
    layer.means.assign(means)
    layer.variances.assign(variances)
    nothing = np.zeros((1, 2, 2), bool)
    layer.update(np.full((1, 2, 2), 0.9, "float32"), nothing, nothing)
    for now, before in zip(state(layer), (means, variances), strict=True):
        np.testing.assert_allclose(now, before, rtol=1e-6)
    return float(ops.convert_to_numpy(layer.value()))


@pytest.mark.parametrize(
    ("means", "variances"),
    [
        ((0.9, 0.6), (0.01, 0.02)),
        ((0.97, 0.7), (0.002, 0.03)),
        ((0.8, 0.5), (0.02, 0.02)),  # equal spread: half of the way
        ((0.8, 0.5), (0.02, 0.0200001)),
        ((0.7, 0.65), (0.01, 0.05)),
    ],
)
def test_threshold_is_where_the_densities_meet(means, variances):
    assert given(means, variances) == pytest.approx(crossing(means, variances), abs=2e-5)


def test_threshold_stays_within_its_bounds():
    assert given((0.99, 0.985), (1e-6, 0.5)) <= 1.0
    assert given((0.21, 0.01), (0.01, 0.01), classes=5) == pytest.approx(0.2)  # they meet at 0.11


def test_without_a_real_root_it_stays():
    # Alike in all, as in the beginning: nothing to be found.
    assert given((0.2, 0.2), (0.5, 0.5), initial=0.9) == pytest.approx(0.9)


def test_means_and_variances_follow_batches_of_at_least_ten_pixels():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 1.0, (2, 5, 6)).astype("float32")
    correct = rng.uniform(size=confidence.shape) < 0.7
    valid = rng.uniform(size=confidence.shape) < 0.9
    layer = GaussianThreshold(4, momentum=0.8)
    layer.update(confidence, correct, valid)
    groups = [confidence[valid & correct], confidence[valid & ~correct]]
    assert min(map(len, groups)) >= 10
    expected = [[0.8 * 0.25 + 0.2 * g.mean() for g in groups], [0.8 * 0.5 + 0.2 * g.var() for g in groups]]
    for found, wanted in zip(state(layer), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-5)
    # Nine wrong pixels are too few to count, and the correct ones still do.
    few = np.ones(confidence.shape, bool)
    few.flat[:9] = False
    before = state(layer)
    layer.update(confidence, few, np.ones_like(few))
    assert (state(layer)[0] != before[0]).tolist() == [True, False]
    assert (state(layer)[1] != before[1]).tolist() == [True, False]


def test_config_and_wrong_arguments():
    layer = GaussianThreshold(4, 0.9, 0.7)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert (copy.num_classes, copy.initial, copy.momentum) == (4, 0.9, 0.7)
    assert len(layer.non_trainable_variables) == 3 and not layer.trainable_variables
    with pytest.raises(ValueError, match="Received: initial=0.95, momentum=1.5"):
        GaussianThreshold(4, momentum=1.5)

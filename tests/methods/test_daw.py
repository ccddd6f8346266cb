"""DAW: threshold and alignment of UniMatch's labels."""

import numpy as np
import pytest
from keras import ops

from rankmatch_keras.methods import DAW, UniMatch

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
    decision = method.decide(outputs, np.ones((1, 1, 2), bool))
    # (0.6, 0.25, 0.2) / 1.05 and (0.2, 0.4, 0.1) / 0.7.
    assert numbers(decision.label).tolist() == [[[0, 1]]]
    np.testing.assert_allclose(numbers(decision.confidence)[0, 0], [0.6 / 1.05, 0.4 / 0.7], rtol=1e-5)


def test_state_follows_labelled_and_unlabelled_predictions(small_segmenter, random_batch):
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


def test_threshold_decides_what_counts(small_segmenter, random_batch):
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


def test_the_average_is_evaluated_and_follows_the_student(small_segmenter):
    method = DAW(small_segmenter(), average_decay=0.5)
    assert method.evaluated is method.average.network and method.teachers == (method.average.network,)
    kernel = method.segmenter.encoder.trainable_variables[0]
    copy = next(v for v in method.average.network.variables if v.shape == kernel.shape)
    for value in (1.0, 2.0):
        kernel.assign(ops.zeros(kernel.shape) + value)
        method.follow()
    np.testing.assert_allclose(numbers(copy.value), 1.5, rtol=1e-6)

"""Confident mistakes: margins and windows against slow twins."""

import numpy as np
import pytest
from pytest import approx

from rankmatch_keras import data
from rankmatch_keras.evaluation.mistakes import WINDOW, predict_margins, surest_mistake

pytestmark = pytest.mark.once


def test_margins_are_zero_where_it_is_right_or_ignored(place_dependent):
    rng = np.random.default_rng(0)
    image, truth = rng.integers(0, 256, (20, 30, 1)).astype(np.uint8), rng.choice([0, 1, 2, 255], (20, 30))
    (probabilities,) = place_dependent.predict_on_batch(image[None])
    classes, confidence, margin = predict_margins(place_dependent, image, truth)
    for y, x in np.ndindex(truth.shape):
        found = probabilities[y, x]
        wanted = 0.0 if truth[y, x] == 255 else found.max() - found[truth[y, x]]
        assert classes[y, x] == found.argmax() and confidence[y, x] == approx(found.max(), abs=1e-6)
        assert margin[y, x] == approx(wanted, abs=1e-6)
    flipped = predict_margins(place_dependent, image, truth, data.Protocol(flip=True))
    assert flipped[1].max() <= 1 and not np.array_equal(flipped[1], confidence)


@pytest.mark.parametrize("size", [(50, 40), (21, 33), (3, 2)])
def test_the_window_is_the_one_with_the_largest_mean(size):
    rng = np.random.default_rng(1)
    margin = rng.random(size) ** 3
    truth, classes, confidence = np.zeros(size, int), np.ones(size, int), rng.random(size)
    found = surest_mistake(truth, classes, confidence, margin)
    height, width = (max(1, round(WINDOW * side)) for side in size)
    means = {
        (y, x): margin[y : y + height, x : x + width].mean()
        for y in range(size[0] - height + 1)
        for x in range(size[1] - width + 1)
    }
    place = max(means, key=means.get)
    assert (found.rows, found.columns) == (slice(place[0], place[0] + height), slice(place[1], place[1] + width))
    assert found.margin == approx(means[place])


def test_what_is_taken_for_what():
    truth = np.zeros((20, 20), int)
    truth[2:6, 2:6] = 3
    classes, confidence, margin = truth.copy(), np.full((20, 20), 0.9), np.zeros((20, 20))
    classes[2:6, 2:6], margin[2:6, 2:6], confidence[2:6, 2:5], confidence[2:6, 5] = 1, 0.8, 0.9, 0.5
    classes[6, 2:4], margin[6, 2:4] = 2, 0.5  # fewer pixels of background taken for 2
    found = surest_mistake(truth, classes, confidence, margin)
    assert (found.truth, found.prediction) == (3, 1)
    assert found.confidence == approx((12 * 0.9 + 4 * 0.5) / 16)
    assert surest_mistake(truth, truth, confidence, np.zeros((20, 20))) is None

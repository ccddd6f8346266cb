import math

import numpy as np
import pytest

from rankmatch_keras.suggestion.choice import Pick, choose, class_weights, reason
from rankmatch_keras.suggestion.scores import Scores

pytestmark = pytest.mark.once

LABELED = np.array([[0.0]])
CANDIDATES = np.array([[1.0], [10.0], [10.5], [5.0], [-4.0]])
UNSURE = np.array([0.9, 0.2, 0.2, 0.2, 0.6])


@pytest.mark.parametrize(
    ("by", "expected"),
    [
        ("diversity", [(2, 10.5), (3, 5.0), (4, 4.0), (0, 1.0), (1, 0.5)]),  # 1 is nearly 2, so it comes last
        ("uncertainty", [(0, 1.0), (4, 4.0), (1, 9.0), (2, 0.5), (3, 4.0)]),
        ("both", [(4, 4.0), (2, 10.5), (3, 5.0), (0, 1.0), (1, 0.5)]),  # 0.6 * 4 = 2.4 against 0.2 * 10.5 = 2.1
    ],
)
def test_the_rule_by_hand(by, expected):
    picks = choose(CANDIDATES, LABELED, UNSURE, 5, by)
    unit = (1 + 10 + 10.5 + 5 + 4) / 5
    assert [pick.number for pick in picks] == [number for number, _ in expected]
    assert [pick.distance for pick in picks] == pytest.approx([distance / unit for _, distance in expected])


def test_the_rule_as_it_is_written():
    rng = np.random.default_rng(0)
    features, labeled, unsure = rng.normal(size=(30, 5)), rng.normal(size=(4, 5)), rng.uniform(size=30)
    centers, chosen = [*labeled], []
    for _ in range(12):
        values = [
            -1.0 if n in chosen else unsure[n] * min(math.dist(features[n], center) for center in centers)
            for n in range(30)
        ]
        chosen.append(values.index(max(values)))
        centers.append(features[chosen[-1]])
    assert [pick.number for pick in choose(features, labeled, unsure, 12)] == chosen


def test_copies_of_labeled_images_come_last_and_once_each():
    assert [pick.number for pick in choose(np.zeros((3, 2)), np.zeros((1, 2)), np.ones(3), 3)] == [0, 1, 2]


def test_rare_classes_weigh_more():
    weights = class_weights(np.array([60, 40, 0]))
    np.testing.assert_allclose(weights, [1 / math.log(1.62), 1 / math.log(1.42), 1 / math.log(1.02)])


def test_a_reason_in_words():
    scores = [Scores(0.1, 0.9, 0.0, u, np.array(shares)) for u, shares in ((0.3, [0.9, 0.1]), (0.5, [1.0, 0.0]))]
    found = reason(Pick(0, 2.04), scores, np.array([1000, 5]), ("road", "sign"))
    assert found == (
        "2.0 times the usual distance to images labeled or chosen; less sure than 0 % of the images; "
        "may show sign, hardly labeled"
    )
    assert reason(Pick(1, 0.5), scores, np.array([1000, 5]), ("road", "sign")).endswith(
        "less sure than 50 % of the images"
    )

import numpy as np
import pytest

from rankmatch_keras.losses import NodeLoss

PARENTS = (3, 3, -1, -1)  # two classes in a group, and one alone
PATHS = np.array([[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 1, 0]])
LOG3 = np.log(3.0)


def random_case(seed=0):
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 3, (2, 4, 5)).astype("int32")
    mask[rng.uniform(size=mask.shape) < 0.3] = 255
    return mask, rng.normal(scale=2.0, size=(2, 4, 5, 4)).astype("float32")


def loss(mask, nodes, *options):
    return float(NodeLoss(PARENTS, *options)(np.int32(mask), np.float32(nodes)))


def pixels(mask, nodes):
    """Of the labeled pixels the classes, the truth of the nodes and their probabilities."""
    label, z = mask[mask != 255], np.float64(nodes)[mask != 255]
    return label, PATHS[label], 1 / (1 + np.exp(-z))


def cross_entropies(truth, p):
    return -np.log(np.where(truth == 1, p, 1 - p))


def test_one_pixel_by_hand():
    # Probabilities 3/4 (own leaf), 1/4, 1/2, 1/2 (group): -2 log 3/4 - 2 log 1/2.
    assert loss([[[0]]], [[[[LOG3, -LOG3, 0, 0]]]]) == pytest.approx(-2 * np.log(0.75) - 2 * np.log(0.5), rel=1e-6)
    assert loss([[[0, 255]]], [[[[LOG3, -LOG3, 0, 0], [9, 9, 9, 9]]]]) == pytest.approx(
        -2 * np.log(0.75) - 2 * np.log(0.5), rel=1e-6
    )


def test_mean_over_labeled_pixels_of_the_sum_over_nodes():
    mask, nodes = random_case()
    _, truth, p = pixels(mask, nodes)
    assert loss(mask, nodes) == pytest.approx(cross_entropies(truth, p).sum(-1).mean(), rel=1e-5)


def test_kinds_and_class_weights():
    mask, nodes = random_case(1)
    label, truth, p = pixels(mask, nodes)
    right = np.where(truth == 1, p, 1 - p)
    weights = np.array([1.0, 2.0, 0.5])[label]
    focal = ((1 - right) ** 2 * -np.log(right)).sum(-1)
    assert loss(mask, nodes, 255, None, "focal") == pytest.approx(focal.mean(), rel=1e-5)
    weighted = (cross_entropies(truth, p).sum(-1) * weights).sum() / weights.sum()
    assert loss(mask, nodes, 255, None, "ce", (1.0, 2.0, 0.5)) == pytest.approx(weighted, rel=1e-5)
    dice = np.mean(1 - 2 * (p * truth).sum(0) / (p**2 + truth).sum(0))
    assert loss(mask, nodes, 255, None, "dice") == pytest.approx(dice, rel=1e-4)
    both = (cross_entropies(truth, p).sum(-1).mean() + dice) / 2
    assert loss(mask, nodes, 255, None, "ce+dice") == pytest.approx(both, rel=1e-4)


def test_hard_pixels_are_those_of_a_small_product_along_the_path():
    mask, nodes = random_case(2)
    _, truth, p = pixels(mask, nodes)
    product = np.prod(np.where(truth == 1, p, 1.0), axis=-1)
    limit = max(0.2, np.sort(product)[4])
    assert (product <= limit).sum() < len(product)
    expected = cross_entropies(truth, p).sum(-1)[product <= limit].mean()
    assert loss(mask, nodes, 255, (0.2, 5)) == pytest.approx(expected, rel=1e-5)


def test_all_ignored_is_zero_with_zero_gradient(value_and_gradient):
    mask, nodes = np.full((1, 2, 2), 255, dtype="int32"), np.ones((1, 2, 2, 4), dtype="float32")
    value, gradient = value_and_gradient(lambda z: NodeLoss(PARENTS)(mask, z), nodes)
    assert value == 0.0
    np.testing.assert_array_equal(gradient, np.zeros_like(nodes))


def test_the_gradient_of_a_node_is_its_error(value_and_gradient):
    mask, nodes = random_case(3)
    _, gradient = value_and_gradient(lambda z: NodeLoss(PARENTS)(mask, z), nodes)
    _, truth, p = pixels(mask, nodes)
    np.testing.assert_allclose(gradient[mask != 255], (p - truth) / len(p), rtol=1e-4, atol=1e-7)
    assert not gradient[mask == 255].any()

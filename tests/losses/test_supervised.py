import numpy as np
import pytest
from keras import ops

from rankmatch_keras.losses import SupervisedLoss

LOG3 = np.log(3.0)


def loss(mask, logits, **options):
    return float(SupervisedLoss(**options)(np.int32(mask), np.float32(logits)))


def cross_entropies(mask, logits):
    """`-log softmax(z)[label]` of the labeled pixels, in float64."""
    z, labels = np.float64(logits)[mask != 255], mask[mask != 255]
    probability = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    return -np.log(probability[np.arange(len(labels)), labels])


def ohem_twin(mask, logits, threshold, min_kept):
    """Sorts the probabilities of the true class and keeps those up to max(threshold, min_kept-th smallest)."""
    cross_entropy = cross_entropies(mask, logits)
    if len(cross_entropy) <= min_kept:
        return cross_entropy.mean()
    limit = max(threshold, np.sort(np.exp(-cross_entropy))[min_kept - 1])
    return cross_entropy[np.exp(-cross_entropy) <= limit].mean()


def random_case(seed=0, scale=2.0):
    rng = np.random.default_rng(seed)
    mask = rng.integers(0, 4, (2, 5, 6)).astype("int32")
    mask[rng.uniform(size=mask.shape) < 0.3] = 255
    return mask, rng.normal(scale=scale, size=(2, 5, 6, 4)).astype("float32")


def test_one_pixel_two_classes():
    # softmax(log 3, 0) = 3/4, 1/4
    assert loss([[[0]]], [[[[LOG3, 0.0]]]]) == pytest.approx(-np.log(0.75), rel=1e-6)
    assert loss([[[1]]], [[[[LOG3, 0.0]]]]) == pytest.approx(-np.log(0.25), rel=1e-6)


def test_mean_is_over_labeled_pixels():
    # Two labeled pixels, -log 3/4 and -log 1/2; the third would add -log of about 0.
    logits = [[[[LOG3, 0.0], [5.0, 5.0], [100.0, 0.0]]]]
    assert loss([[[0, 1, 255]]], logits) == pytest.approx((-np.log(0.75) - np.log(0.5)) / 2, rel=1e-6)


def test_all_correct_and_certain_is_zero():
    assert loss([[[0, 1]]], [[[[1e3, 0.0], [0.0, 1e3]]]]) == 0.0


def test_all_ignored_is_zero_with_zero_gradient(value_and_gradient):
    mask, logits = np.full((1, 2, 2), 255, dtype="int32"), np.ones((1, 2, 2, 3), dtype="float32")
    for ohem in (None, (0.7, 2)):
        layer = SupervisedLoss(ohem=ohem)
        value, gradient = value_and_gradient(lambda z, layer=layer: layer(mask, z), logits)
        assert value == 0.0
        np.testing.assert_array_equal(gradient, np.zeros_like(logits))


def test_other_ignore_value():
    logits = [[[[LOG3, 0.0], [0.0, 9.0]]]]
    assert loss([[[0, 7]]], logits, ignore_index=7) == pytest.approx(-np.log(0.75), rel=1e-6)


def test_against_numpy():
    mask, logits = random_case()
    assert loss(mask, logits) == pytest.approx(cross_entropies(mask, logits).mean(), rel=1e-5)


def test_gradient_is_softmax_minus_truth(value_and_gradient):
    mask, logits = random_case()
    _, gradient = value_and_gradient(lambda z: SupervisedLoss()(mask, z), logits)
    softmax = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    truth = np.eye(4)[np.where(mask == 255, 0, mask)]
    expected = (softmax - truth) * (mask != 255)[..., None] / (mask != 255).sum()
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)


def test_published_value(golden):
    numbers = golden("unimatch_losses")
    value = loss(numbers["labels"], numbers["logits_labeled"])
    assert value == pytest.approx(float(numbers["loss_supervised"]), rel=1e-5)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("threshold", "min_kept"),
    [
        (0.7, 5),  # the threshold decides: more than 5 pixels are below 0.7
        (0.05, 20),  # the 20th smallest probability decides
        (1.0, 1),  # everything is below 1
        (0.01, 1),  # at least the hardest pixel
        (0.7, 55),  # fewer labeled pixels than that: all count
        (0.7, 1000),  # fewer pixels than that: all count
    ],
)
def test_hard_examples_against_sorting(threshold, min_kept, seed):
    mask, logits = random_case(seed)
    value = loss(mask, logits, ohem=(threshold, min_kept))
    assert value == pytest.approx(ohem_twin(mask, logits, threshold, min_kept), rel=1e-5)


def test_hard_examples_by_hand():
    # Probabilities of the true class 3/4, 1/2, 1/4. Up to 0.6: the last two. At least one, up to 0.3: the last.
    mask, logits = [[[0, 0, 1]]], [[[[LOG3, 0.0], [0.0, 0.0], [LOG3, 0.0]]]]
    assert loss(mask, logits, ohem=(0.6, 1)) == pytest.approx((np.log(2) + np.log(4)) / 2, rel=1e-6)
    assert loss(mask, logits, ohem=(0.3, 1)) == pytest.approx(np.log(4), rel=1e-6)
    # The second smallest, 1/2, exceeds 0.3 and raises the limit.
    assert loss(mask, logits, ohem=(0.3, 2)) == pytest.approx((np.log(2) + np.log(4)) / 2, rel=1e-6)


def test_equally_hard_pixels_all_count():
    # Three pixels of probability 1/2 and one of 3/4; the 2nd smallest is 1/2, which all three have.
    logits = [[[[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [LOG3, 0.0]]]]
    assert loss([[[0, 1, 0, 0]]], logits, ohem=(0.1, 2)) == pytest.approx(np.log(2), rel=1e-6)


def test_hard_examples_gradient_counts_only_kept_pixels(value_and_gradient):
    mask, logits = random_case()
    _, gradient = value_and_gradient(lambda z: SupervisedLoss(ohem=(0.05, 20))(mask, z), logits)
    touched = np.abs(gradient).sum(-1) > 0
    assert touched.sum() == 20 and (mask[touched] != 255).all()


@pytest.mark.parametrize("ohem", [(0.0, 10), (1.1, 10), (0.7, 0)])
def test_wrong_hard_example_options(ohem):
    with pytest.raises(ValueError, match="Received: ohem="):
        SupervisedLoss(ohem=ohem)


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
def test_mask_types(dtype):
    mask, logits = random_case()
    value = float(SupervisedLoss()(ops.convert_to_tensor(mask.astype(dtype)), logits))
    assert value == pytest.approx(loss(mask, logits), rel=1e-6)

import numpy as np
import pytest
from keras import ops

from rankmatch_keras.methods import CorrMatch

# On the other backends the parity tests run these methods.
pytestmark = pytest.mark.once

UNLABELLED = ("strong_1", "divergence", "feature_dropout", "weak_correlation", "strong_correlation")


def numbers(losses):
    return {name: float(ops.convert_to_numpy(value)) for name, value in losses.items()}


def test_weights(small_segmenter):
    method = CorrMatch(small_segmenter())
    # [L_sup / 2 + L_sup_c / 2 + (L_s + L_kl + L_fp + (L_wc + L_sc) / 2) / 4] / 2
    weights = {"supervised": 1 / 4, "supervised_correlation": 1 / 4, "strong_1": 1 / 8, "divergence": 1 / 8}
    weights |= {"feature_dropout": 1 / 8, "weak_correlation": 1 / 16, "strong_correlation": 1 / 16}
    assert method.term_weights == weights
    assert (method.threshold, method.threshold_momentum, method.num_regions) == (0.85, 0.999, 128)


def test_the_threshold_moves_before_it_decides(small_segmenter, random_batch):
    # From 1.0, which no pixel reaches, to the mean of the surest pixels of the classes: a few lie above it.
    method = CorrMatch(small_segmenter(), threshold=1.0, threshold_momentum=0.0, num_regions=1)
    losses = numbers(method.compute_losses(random_batch()))
    assert 1 / 3 < losses["adaptive_threshold"] < 1.0 and 0.0 < losses["mask_ratio"] < 0.5
    still = CorrMatch(small_segmenter(), threshold=1.0, threshold_momentum=1.0)
    losses = numbers(still.compute_losses(random_batch()))
    assert losses["adaptive_threshold"] == 1.0 and not any(losses[name] for name in (*UNLABELLED, "mask_ratio"))


def test_padding_teaches_nothing(small_segmenter, random_batch):
    batch = random_batch()
    batch["valid"][:] = False
    losses = numbers(CorrMatch(small_segmenter(), threshold=0.0).compute_losses(batch))
    assert not any(losses[name] for name in UNLABELLED)
    assert losses["adaptive_threshold"] == 0.0


def test_pasted_boxes_have_no_divergence(small_segmenter, random_batch):
    batch = random_batch()
    batch["cutmix_box_1"][:] = 0, 0, 33, 33
    losses = numbers(CorrMatch(small_segmenter(), threshold=0.0).compute_losses(batch))
    assert losses["divergence"] == 0.0 and losses["strong_1"] > 0


def test_regions_grow_where_most_pixels_are_sure(small_segmenter, random_batch):
    # With every pixel sure, regions of one class grow over others' pixels: another loss than without regions.
    def strong(batch, **options):
        return numbers(CorrMatch(small_segmenter(), threshold=0.0, seed=0, **options).compute_losses(batch))

    batch = random_batch()
    with_regions, few = strong(batch), strong(batch, num_regions=1)
    assert with_regions["strong_1"] != pytest.approx(few["strong_1"], rel=1e-4)
    for name in ("supervised", "divergence", "feature_dropout", "weak_correlation"):
        assert with_regions[name] == pytest.approx(few[name], rel=1e-5)


def test_rows_are_drawn_anew(small_segmenter):
    method = CorrMatch(small_segmenter(), num_regions=40, seed=0)
    correlation = ops.zeros((1, 9, 9))
    first, second = (ops.convert_to_numpy(method._draw_rows(correlation)) for _ in range(2))
    assert set(first) | set(second) == set(range(9)) and (first != second).any()
    assert np.issubdtype(first.dtype, np.integer)

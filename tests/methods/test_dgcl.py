"""DGCL's density and contrast."""

import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.methods.dgcl import DensityContrast, density


def numpy(value):
    return ops.convert_to_numpy(value)


@pytest.mark.parametrize("stored", [0, 5, 20, 40])
def test_density_is_the_mean_of_the_nearest(stored):
    rng = np.random.default_rng(stored)
    features, memory = (rng.normal(size=(2, count, 3)).astype("float32") for count in (4, 40))
    filled = np.arange(40)[None] < np.array([[stored], [40]])
    found = numpy(density(*map(ops.convert_to_tensor, (features, memory, filled))))
    for c in range(2):
        there = memory[c][filled[c]]
        for p in range(4):
            cosine = sorted(
                (features[c, p] @ m / np.linalg.norm(features[c, p]) / np.linalg.norm(m) for m in there), reverse=True
            )
            expected = np.mean([np.mean(cosine[:k]) for k in (8, 16, 32)]) if len(there) else 0.0
            assert found[c, p] == pytest.approx(expected, abs=1e-5)


def test_the_sparsest_pixels_go_to_the_mean_of_the_densest():
    """One class with three stored features along x: of three pixels the one along y is the anchor."""
    loss = DensityContrast(2, 2, 2, capacity=3, added=3, candidates=3, anchors=1, dense=1, negatives=2, first_class=0)
    features = np.float32([[1, 0.1], [1, 0], [1, -0.1], [0, 1], [0, 1], [0, 1]])
    projections = np.float32([[1, 2], [3, 4], [5, 6], [7, 8], [7, 8], [7, 8]])
    label, everywhere = np.int32([0, 0, 0, 1, 1, 1]), np.ones(6, bool)
    scores = np.float32([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    inputs = [(ops.convert_to_tensor(features), ops.convert_to_tensor(projections))] * 2
    loss(*inputs, label, label, everywhere, everywhere, scores)
    student = np.float32([[1, 0], [0, 1], [1, 0.2], [0, 1], [0, 1], [0, 1]])
    anchors, chosen = loss.sparsest(
        (ops.convert_to_tensor(student), ops.convert_to_tensor(projections)),
        ops.convert_to_tensor(label[None] == np.arange(2)[:, None]),
        scores,
    )
    np.testing.assert_allclose(ops.convert_to_numpy(anchors)[0], [[3, 4]])
    assert ops.convert_to_numpy(chosen).all()
    assert ops.convert_to_numpy(loss.memory.filled()).all()
    stored = ops.convert_to_tensor(loss.memory.vectors)
    densest = loss.densest([stored, stored], [loss.memory.filled()] * 2)
    assert tuple(densest.shape) == (2, 1, 2)
    assert keras.ops.convert_to_numpy(densest)[1].ravel().tolist() == [7, 8]

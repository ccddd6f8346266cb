"""Negatives of U2PL's contrast."""

import numpy as np
from keras import ops

from rankmatch_keras.methods.u2pl import UnreliableContrast


def test_negatives_of_u2pl():
    """Eight pixels of five classes: the first four labeled, the others not."""
    rng = np.random.default_rng(3)
    probabilities = rng.dirichlet(np.ones(5), 8).astype("float32")
    label = np.int32([0, 1, 2, 4, 3, 3, 0, 1])
    labeled, counted = np.arange(8) < 4, np.arange(8) != 6
    loss = UnreliableContrast(5, 2, capacity=4)
    tensors = [ops.convert_to_tensor(x) for x in (probabilities, label, labeled, counted)]
    found = ops.convert_to_numpy(loss.negative_pixels(*tensors))
    for pixel in range(8):
        order = np.argsort(-probabilities[pixel]).tolist()
        for c in range(5):
            rank = order.index(c)
            expected = label[pixel] != c and rank < 3 if labeled[pixel] else rank >= 3
            assert found[c, pixel] == (expected and counted[pixel]), (pixel, c)


def test_two_classes_have_negatives_too():
    loss = UnreliableContrast(2, 2, capacity=4)
    tensors = [np.float32([[0.9, 0.1], [0.2, 0.8]]), np.int32([0, 1]), np.array([True, False]), np.ones(2, bool)]
    found = ops.convert_to_numpy(loss.negative_pixels(*(ops.convert_to_tensor(x) for x in tensors)))
    assert found.tolist() == [[False, True], [True, False]]

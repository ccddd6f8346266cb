"""CorrMatch's two propagations against slow ones in NumPy, written as the article writes them."""

import keras
import numpy as np
from keras import ops

from rankmatch_keras.layers.correlation_propagation import (
    CorrelationPropagation,
    correlated_regions,
    propagate_labels,
)


def softmax(x):
    e = np.exp(x - np.max(x))
    return e / e.sum()


def test_logits_spread_along_the_correlation():
    rng = np.random.default_rng(0)
    features = rng.normal(size=(2, 2, 3, 5)).astype("float32")
    logits = rng.normal(size=(2, 2, 3, 4)).astype("float32")  # at the grid already
    layer = CorrelationPropagation(4)
    layer.build(features.shape)
    assert len(layer.trainable_variables) == 3
    sent, bias, received = (ops.convert_to_numpy(v) for v in (*layer.sender.weights, *layer.receiver.weights))
    found, correlation = (ops.convert_to_numpy(x) for x in layer(features, logits))
    for image in range(2):
        pixels, z = features[image].reshape(6, 5), logits[image].reshape(6, 4)
        sender, receiver = pixels @ sent[0, 0] + bias, pixels @ received[0, 0]
        rows = np.stack([softmax([sender[i] @ receiver[j] / np.sqrt(4) for j in range(6)]) for i in range(6)])
        np.testing.assert_allclose(correlation[image], rows, rtol=1e-4, atol=1e-6)
        spread = [sum(rows[i, j] * z[i] for i in range(6)) for j in range(6)]
        np.testing.assert_allclose(found[image].reshape(6, 4), spread, rtol=1e-4, atol=1e-5)


def test_the_second_output_has_the_size_of_the_image_and_teaches_features_alone(value_and_gradient):
    rng = np.random.default_rng(0)
    features, logits = (rng.normal(size=(1, n, n, 3)).astype("float32") for n in (3, 9))
    layer = CorrelationPropagation(3)
    layer.build(features.shape)
    assert layer(features, logits).logits.shape == (1, 9, 9, 3)
    _, gradient = value_and_gradient(lambda x: ops.sum(layer(x, logits).logits ** 2), features)
    assert np.abs(gradient).max() > 1e-3
    _, gradient = value_and_gradient(lambda z: ops.sum(layer(features, z).logits ** 2) + 0.0 * ops.sum(z), logits)
    np.testing.assert_array_equal(gradient, 0.0)


def test_regions_lie_above_the_middle_of_their_row():
    row = np.float32([[0.1, 0.2, 0.3], [0.0, 0.5, 0.9]])
    rows = ops.convert_to_tensor(np.stack([row.reshape(-1), np.full(6, 0.2, "float32")])[None])
    found = ops.convert_to_numpy(correlated_regions(rows, (2, 3), (2, 3)))
    np.testing.assert_array_equal(found[0, 0], row > 0.45)
    assert not found[0, 1].any()  # a flat row marks nothing
    # Between the columns, aligned corners: 0 0.25 0.5 0.7 0.9 in the lower row, the middle of 0..0.9 is 0.45.
    wide = ops.convert_to_numpy(correlated_regions(rows, (2, 3), (2, 5)))
    np.testing.assert_array_equal(wide[0, 0], [[False] * 5, [False, False, True, True, True]])


def slow_propagation(label, sure, regions, threshold):
    label, sure, old, old_sure = label.copy(), sure.copy(), label, sure
    for image in range(len(label)):
        for region in regions[image]:
            voters = region & old_sure[image]
            if not voters.any() or voters.sum() / region.sum() < threshold:
                continue
            classes, counts = np.unique(old[image][voters], return_counts=True)
            if counts.max() / counts.sum() > threshold:
                label[image][region] = classes[counts.argmax()]
                sure[image] |= region
    return label, sure


def test_regions_take_the_class_of_their_sure_pixels():
    rng = np.random.default_rng(3)
    label = np.where(rng.random((2, 8, 9)) < 0.15, rng.integers(0, 4, (2, 8, 9)), np.int32([[[1]], [[2]]]))
    sure = rng.random((2, 8, 9)) < 0.7
    regions = np.zeros((2, 6, 8, 9), bool)
    for region in regions.reshape(12, 8, 9)[1:]:  # the first one is empty
        y, x = rng.integers(0, 6, 2)
        region[y : y + 3, x : x + 3] = True
    expected = slow_propagation(label, sure, regions, 0.68)
    inputs = (ops.convert_to_tensor(x) for x in (label.astype("int32"), sure, regions))
    found = propagate_labels(*inputs, 0.68, num_classes=4)
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ops.convert_to_numpy(value), wanted)
    assert (expected[0] != label).any() and expected[1].sum() > sure.sum() and not expected[1].all()


def test_config_round_trip():
    layer = CorrelationPropagation(7)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert copy.num_classes == 7

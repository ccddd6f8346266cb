import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers.class_means import ClassAverages, class_means

LABEL = np.int32([[[0, 0, 1], [1, 1, 255]], [[3, 0, 1], [0, 0, 0]]])
VALID = LABEL != 255
VALID[1, 1] = False
VALUE = np.float32([[[0.2, 0.4, 0.1], [0.6, 0.8, 9.0]], [[0.7, 0.9, 0.5], [9.0, 9.0, 9.0]]])
# Class 0: .2 .4 .9; class 1: .1 .6 .8 .5; class 2 is absent; class 3: .7.
MEANS, COUNTS = [0.5, 0.5, 0.0, 0.7], [3, 4, 0, 1]


def averages(layer):
    return ops.convert_to_numpy(layer.values())


def test_means_by_hand():
    means, counts = (ops.convert_to_numpy(value) for value in class_means(VALUE, LABEL, VALID, 4))
    np.testing.assert_allclose(means, MEANS, rtol=1e-6)
    np.testing.assert_array_equal(counts, COUNTS)


@pytest.mark.parametrize(("absent", "third"), [("keep", 0.3), ("zero", 0.3 * 0.9)])
def test_averages_move_by_their_momentum(absent, third):
    layer = ClassAverages(4, momentum=0.9, initial=0.3, absent=absent)
    np.testing.assert_allclose(averages(layer), 0.3, rtol=1e-6)
    layer.update(VALUE, LABEL, VALID)
    np.testing.assert_allclose(averages(layer), [0.32, 0.32, third, 0.34], rtol=1e-6)
    layer.update(VALUE, LABEL, VALID & False)
    expected = averages(layer) if absent == "keep" else None
    assert expected is None or expected[0] == pytest.approx(0.32)


def test_saved_state_and_config():
    layer = ClassAverages(4, 0.5, 0.1, "zero")
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert (copy.num_classes, copy.momentum, copy.initial, copy.absent) == (4, 0.5, 0.1, "zero")
    assert [v.shape for v in layer.non_trainable_variables] == [(4,)] and not layer.trainable_variables


@pytest.mark.parametrize("options", [{"momentum": 1.2}, {"absent": "drop"}])
def test_wrong_arguments(options):
    with pytest.raises(ValueError, match="Received: "):
        ClassAverages(3, **options)

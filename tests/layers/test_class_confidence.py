import keras
import numpy as np
import pytest

from rankmatch_keras.layers.class_confidence import ClassConfidenceThreshold

LABEL = np.int32([[[0, 0, 2], [2, 2, 1]]])
CONFIDENCE = np.float32([[[0.6, 0.9, 0.7], [0.5, 0.95, 0.99]]])
VALID = np.array([[[True, True, True], [True, False, False]]])


def test_mean_of_the_surest_pixel_of_each_class():
    layer = ClassConfidenceThreshold(initial=0.8, momentum=0.9)
    layer.update(LABEL, CONFIDENCE, VALID, num_classes=4)
    # Class 0: 0.9. Class 2: 0.7, as the pixel of 0.95 is not valid. Class 1 has no valid pixel, class 3 none at all.
    first = 0.9 * 0.8 + 0.1 * (0.9 + 0.7) / 2
    assert float(layer.value()) == pytest.approx(first, rel=1e-6)
    layer.update(LABEL, CONFIDENCE, ~VALID, num_classes=4)  # class 1: 0.99, class 2: 0.95
    assert float(layer.value()) == pytest.approx(0.9 * first + 0.1 * 0.97, rel=1e-6)


def test_stays_without_valid_pixels():
    layer = ClassConfidenceThreshold()
    layer.update(LABEL, CONFIDENCE, np.zeros_like(VALID), num_classes=3)
    assert float(layer.value()) == pytest.approx(0.85)
    assert [v.name for v in layer.non_trainable_variables] == ["threshold"] and not layer.trainable_variables


@pytest.mark.parametrize("options", [{"initial": 1.2}, {"momentum": -0.1}])
def test_arguments_are_checked(options):
    with pytest.raises(ValueError, match="from 0 to 1"):
        ClassConfidenceThreshold(**options)


def test_config_round_trip():
    layer = ClassConfidenceThreshold(0.7, 0.8)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert (copy.initial, copy.momentum) == (0.7, 0.8)

import keras
import numpy as np
from keras import ops

from rankmatch_keras.layers import ClassMix

RNG = np.random.default_rng(0)


def masks(label, **kwargs):
    return ops.convert_to_numpy(ClassMix(6, seed=0)(ops.convert_to_tensor(label), **kwargs))


def test_half_of_the_classes_rounded_up_and_all_their_pixels():
    label = RNG.integers(0, 6, (40, 8, 9)).astype("int32")
    label[20:] %= 3
    drawn = masks(label)
    assert drawn.dtype == bool and drawn.shape == label.shape
    chosen = []
    for mask, classes in zip(drawn, label, strict=True):
        pasted = set(classes[mask].tolist())
        np.testing.assert_array_equal(mask, np.isin(classes, [*pasted]))
        chosen.append(pasted)
    assert {len(pasted) for pasted in chosen[:20]} == {3} and {len(pasted) for pasted in chosen[20:]} == {2}
    # Every class is drawn for some image, and not always.
    counts = [sum(c in pasted for pasted in chosen[:20]) for c in range(6)]
    assert min(counts) > 2 and max(counts) < 18


def test_one_class_is_pasted_whole():
    assert masks(np.full((2, 3, 3), 4, "int32")).all()


def test_padding_is_not_pasted_and_its_classes_do_not_count():
    label = np.int32([[[0, 0, 1, 1, 2, 3]]])
    valid = np.array([[[True, True, True, False, False, False]]])
    for _ in range(5):
        drawn = masks(label, valid=ops.convert_to_tensor(valid))[0, 0]
        # Two classes are left, one of them is pasted.
        assert drawn.tolist() in ([True, True, False, False, False, False], [False, False, True, False, False, False])


def test_config_round_trip():
    layer = ClassMix(5, seed=2)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert (copy.num_classes, copy.seed) == (5, 2)

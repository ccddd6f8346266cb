import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.layers import RandomBoxes
from rankmatch_keras.layers.replicas import Replicas, own_rows, set_replicas

SIZE = (40, 60)
once = pytest.mark.once  # the numbers are the same on every backend that draws alike


def masks(images=400, size=SIZE, **options):
    return ops.convert_to_numpy(RandomBoxes(**{"seed": 0, **options})(images, size))


def sides(mask):
    """Height and width of the one box of a mask, after checking that it is one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    return len(rows), len(columns)


@once
def test_half_of_the_area_in_every_form_that_fits():
    drawn = masks(area=(0.5, 0.5))
    assert drawn.dtype == bool and drawn.shape == (400, *SIZE)
    found = np.array([sides(mask) for mask in drawn])
    np.testing.assert_allclose(found.prod(1) / 2400, 0.5, atol=0.02)  # whole pixels
    # The height's share is log-uniform in 1/2 to 1: its quartiles are 2^-3/4, 2^-1/2, 2^-1/4.
    quartiles = np.quantile(found[:, 0] / SIZE[0], [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quartiles, 2 ** np.array([-0.75, -0.5, -0.25]), atol=0.05)


@once
def test_ratio_is_of_the_shares_and_the_box_lies_anywhere():
    drawn = masks(area=(0.25, 0.25), ratio=1.0)
    assert {sides(mask) for mask in drawn} == {(20, 30)}
    corners = np.array([[np.flatnonzero(mask.any(axis))[0] for axis in (1, 0)] for mask in drawn])
    assert corners.min(0).tolist() == [0, 0] and corners.max(0).tolist() == [20, 30]
    np.testing.assert_allclose(corners.mean(0), [10, 15], atol=1.5)
    ratios = np.array([(h / 40) / (w / 60) for h, w in map(sides, masks(area=(0.04, 0.04), ratio=(0.5, 2.0)))])
    assert 0.42 < ratios.min() < 0.6 and 1.7 < ratios.max() < 2.4  # whole pixels


@once
@pytest.mark.parametrize(
    ("law", "mean", "deviation"),
    # Of the area in 0..0.8: uniform; root uniform, E a = 0.8/3 and E a^2 = 0.64/5; Beta(4, 4): mean 1/2, variance 1/36.
    [
        ("uniform", 0.4, 0.8 / 12**0.5),
        ("side", 0.8 / 3, (0.128 - 0.64 / 9) ** 0.5),
        ((4, 4), 0.4, 0.8 / 6),
        ((2, 8), 0.16, 0.8 * (16 / 1100) ** 0.5),
    ],
)
def test_law_of_the_area(law, mean, deviation):
    areas = masks(1000, area=(0.0, 0.8), ratio=1.0, law=law).mean((1, 2))
    assert areas.mean() == pytest.approx(mean, abs=0.03)
    assert areas.std() == pytest.approx(deviation, abs=0.02)


@once
def test_several_boxes_share_the_area_and_flip_each_other():
    drawn = masks(area=(0.3, 0.3), count=3, ratio=1.0)
    areas = drawn.mean((1, 2))
    assert areas.max() <= 0.32 and areas.min() < 0.2
    # Apart they cover all of it; a hole inside shows that overlaps flip back.
    assert areas.max() > 0.28
    ones = masks(area=(0.1, 0.1), ratio=1.0)
    assert abs(areas.max() - 3 * ones.mean((1, 2)).max()) < 0.02


@once
def test_two_boxes_of_the_whole_image_leave_nothing():
    # Each has half the area, so its sides are 0.7: they overlap by 0.4 x 0.4 at least, which is outside again.
    drawn = masks(area=(1.0, 1.0), count=2, ratio=1.0)
    assert drawn.mean((1, 2)).max() <= 2 * (0.5 - 0.16) + 0.03


@once
def test_probability():
    drawn = masks(1000, probability=0.3)
    assert drawn.any((1, 2)).mean() == pytest.approx(0.3, abs=0.06)


def test_replicas_draw_what_one_would():
    class OneOf(Replicas):
        count = 2

        def __init__(self, number):
            self.number = number

        def index(self):
            return self.number

    whole = masks(8, count=2)
    try:
        for number in range(2):
            set_replicas(OneOf(number))
            np.testing.assert_array_equal(masks(4, count=2), whole[own_rows(8, 2, number)])
    finally:
        set_replicas(Replicas())


@once
def test_seed_repeats_and_config_round_trip():
    layer = RandomBoxes((0.1, 0.4), (0.5, 2.0), law=(2, 8), count=2, probability=0.7, seed=3)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    np.testing.assert_array_equal(*(ops.convert_to_numpy(each(5, SIZE)) for each in (layer, copy)))


@once
@pytest.mark.parametrize(
    "options",
    [{"area": (0.5, 1.2)}, {"area": (0.5, 0.2)}, {"ratio": 0.0}, {"count": 0}, {"probability": 2.0}, {"law": (0.5, 2)}],
)
def test_wrong_arguments(options):
    with pytest.raises(ValueError, match="Received: "):
        RandomBoxes(**options)

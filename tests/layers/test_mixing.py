import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.backend.replicas import Replicas, own_rows, set_replicas
from rankmatch_keras.layers import ClassMix, RandomBoxes, box_mask, mix

BOXES = np.array([[2, 3, 7, 5], [0, 0, 9, 6], [4, 4, 4, 4]], dtype="int32")  # some, all, none of a 9x6 image


def resize_twin(x, size):
    """Bilinear resizing of `(H, W)` with aligned corners, in float64."""

    def weights(count, length):
        positions = np.arange(count) * (length - 1) / (count - 1)
        return np.maximum(0.0, 1.0 - np.abs(positions[:, None] - np.arange(length)))

    return weights(size[0], x.shape[0]) @ x @ weights(size[1], x.shape[1]).T


def test_mask_is_the_slice():
    expected = np.zeros((3, 9, 6), dtype=bool)
    for image, (y0, x0, y1, x1) in zip(expected, BOXES, strict=True):
        image[y0:y1, x0:x1] = True
    mask = ops.convert_to_numpy(box_mask(BOXES, (9, 6)))
    assert mask.dtype == bool
    np.testing.assert_array_equal(mask, expected)


def test_grid_of_the_images_size_is_the_image():
    np.testing.assert_array_equal(
        ops.convert_to_numpy(box_mask(BOXES, (9, 6), (9, 6))), ops.convert_to_numpy(box_mask(BOXES, (9, 6)))
    )


def test_boxes_on_a_grid_by_hand():
    # A 3x2 grid on 9x6 pixels sits at rows 0, 4, 8 and columns 0, 5. Box rows 4..7 hold row 4, columns 3..5 column 5.
    mask = ops.convert_to_numpy(box_mask([[4, 3, 8, 6], [0, 0, 5, 5]], (9, 6), (3, 2)))
    assert mask.astype(int).tolist() == [[[0, 0], [0, 1], [0, 0]], [[1, 0], [1, 0], [0, 0]]]


def test_grid_of_one_pixel_is_the_corner():
    mask = ops.convert_to_numpy(box_mask([[0, 0, 3, 3], [1, 0, 3, 3]], (9, 6), (1, 1)))
    assert mask[:, 0, 0].tolist() == [True, False]


@pytest.mark.parametrize("shape", [(3, 9, 6), (3, 9, 6, 2)])
@pytest.mark.parametrize("dtype", ["float32", "int32", "bool"])
def test_mix_pastes_slices(shape, dtype):
    rng = np.random.default_rng(0)
    target, source = (rng.integers(0, 2 if dtype == "bool" else 99, shape).astype(dtype) for _ in range(2))
    expected = target.copy()
    for b, (y0, x0, y1, x1) in enumerate(BOXES):
        expected[b, y0:y1, x0:x1] = source[b, y0:y1, x0:x1]
    mixed = ops.convert_to_numpy(
        mix(ops.convert_to_tensor(target), ops.convert_to_tensor(source), box_mask(BOXES, (9, 6)))
    )
    assert mixed.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(mixed, expected)


@pytest.mark.parametrize(("size", "grid"), [(321, 21), (513, 33), (801, 51)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mixing_on_the_grid_equals_mixing_at_image_size(size, grid, seed):
    rng = np.random.default_rng(seed)
    (y0, y1), (x0, x1) = np.sort(rng.integers(0, size + 1, (2, 2)), axis=1)
    # Also boxes that begin and end exactly on grid points, where off-by-one would show.
    y0, y1 = (y0 // 16 * 16, y1 // 16 * 16 + 1) if seed == 1 else (y0, y1)
    target, source = rng.normal(size=(2, grid, grid))
    large = resize_twin(target, (size, size))
    large[y0:y1, x0:x1] = resize_twin(source, (size, size))[y0:y1, x0:x1]
    expected = resize_twin(large, (grid, grid))

    mask = box_mask([[y0, x0, y1, x1]], (size, size), (grid, grid))
    mixed = ops.convert_to_numpy(mix(ops.convert_to_tensor(target[None]), ops.convert_to_tensor(source[None]), mask))[0]
    np.testing.assert_array_equal(mixed, expected.astype(mixed.dtype))


def test_compiled(compiled):
    mask = compiled(lambda boxes: box_mask(boxes, (9, 6), (3, 2)))(ops.convert_to_tensor(BOXES))
    np.testing.assert_array_equal(ops.convert_to_numpy(mask), ops.convert_to_numpy(box_mask(BOXES, (9, 6), (3, 2))))


SIZE = (40, 60)
once = pytest.mark.once  # the numbers are the same on every backend that draws alike


def box_masks(images=400, size=SIZE, **options):
    return ops.convert_to_numpy(RandomBoxes(**{"seed": 0, **options})(images, size))


def box_sides(mask):
    """Height and width of the one box of a mask, after checking that it is one."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    return len(rows), len(columns)


@once
def test_half_of_the_area_in_every_shape_that_fits():
    drawn = box_masks(area=(0.5, 0.5))
    assert drawn.dtype == bool and drawn.shape == (400, *SIZE)
    found = np.array([box_sides(mask) for mask in drawn])
    np.testing.assert_allclose(found.prod(1) / 2400, 0.5, atol=0.02)  # whole pixels
    # The height's share is log-uniform in 1/2 to 1: its quartiles are 2^-3/4, 2^-1/2, 2^-1/4.
    quartiles = np.quantile(found[:, 0] / SIZE[0], [0.25, 0.5, 0.75])
    np.testing.assert_allclose(quartiles, 2 ** np.array([-0.75, -0.5, -0.25]), atol=0.05)


@once
def test_ratio_is_relative_to_the_image_and_the_box_is_anywhere():
    drawn = box_masks(area=(0.25, 0.25), ratio=1.0)
    assert {box_sides(mask) for mask in drawn} == {(20, 30)}
    corners = np.array([[np.flatnonzero(mask.any(axis))[0] for axis in (1, 0)] for mask in drawn])
    assert corners.min(0).tolist() == [0, 0] and corners.max(0).tolist() == [20, 30]
    np.testing.assert_allclose(corners.mean(0), [10, 15], atol=1.5)
    ratios = np.array([(h / 40) / (w / 60) for h, w in map(box_sides, box_masks(area=(0.04, 0.04), ratio=(0.5, 2.0)))])
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
    areas = box_masks(1000, area=(0.0, 0.8), ratio=1.0, law=law).mean((1, 2))
    assert areas.mean() == pytest.approx(mean, abs=0.03)
    assert areas.std() == pytest.approx(deviation, abs=0.02)


@once
def test_several_boxes_split_the_area_and_flip_each_other():
    drawn = box_masks(area=(0.3, 0.3), count=3, ratio=1.0)
    areas = drawn.mean((1, 2))
    assert areas.max() <= 0.32 and areas.min() < 0.2
    # Apart they cover all of it; a hole inside shows that overlaps flip back.
    assert areas.max() > 0.28
    ones = box_masks(area=(0.1, 0.1), ratio=1.0)
    assert abs(areas.max() - 3 * ones.mean((1, 2)).max()) < 0.02


@once
def test_two_boxes_of_the_whole_image_leave_nothing():
    # Each has half the area, so its sides are 0.7: they overlap by 0.4 x 0.4 at least, which is outside again.
    drawn = box_masks(area=(1.0, 1.0), count=2, ratio=1.0)
    assert drawn.mean((1, 2)).max() <= 2 * (0.5 - 0.16) + 0.03


@once
def test_probability():
    drawn = box_masks(1000, probability=0.3)
    assert drawn.any((1, 2)).mean() == pytest.approx(0.3, abs=0.06)


def test_replicas_sample_what_one_would():
    class OneOf(Replicas):
        count = 2

        def __init__(self, number):
            self.number = number

        def index(self):
            return self.number

    whole = box_masks(8, count=2)
    try:
        for number in range(2):
            set_replicas(OneOf(number))
            np.testing.assert_array_equal(box_masks(4, count=2), whole[own_rows(8, 2, number)])
    finally:
        set_replicas(Replicas())


@once
def test_a_copy_repeats_the_boxes():
    layer = RandomBoxes((0.1, 0.4), (0.5, 2.0), law=(2, 8), count=2, probability=0.7, seed=3)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    np.testing.assert_array_equal(*(ops.convert_to_numpy(each(5, SIZE)) for each in (layer, copy)))


@once
@pytest.mark.parametrize(
    "options",
    [{"area": (0.5, 1.2)}, {"area": (0.5, 0.2)}, {"ratio": 0.0}, {"count": 0}, {"probability": 2.0}, {"law": (0.5, 2)}],
)
def test_wrong_arguments_of_boxes(options):
    with pytest.raises(ValueError, match="Received: "):
        RandomBoxes(**options)


RNG = np.random.default_rng(0)


def class_masks(label, **kwargs):
    return ops.convert_to_numpy(ClassMix(6, seed=0)(ops.convert_to_tensor(label), **kwargs))


def test_half_of_the_classes_rounded_up_and_all_their_pixels():
    label = RNG.integers(0, 6, (40, 8, 9)).astype("int32")
    label[20:] %= 3
    drawn = class_masks(label)
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
    assert class_masks(np.full((2, 3, 3), 4, "int32")).all()


def test_padding_is_not_pasted_and_its_classes_do_not_count():
    label = np.int32([[[0, 0, 1, 1, 2, 3]]])
    valid = np.array([[[True, True, True, False, False, False]]])
    for _ in range(5):
        drawn = class_masks(label, valid=ops.convert_to_tensor(valid))[0, 0]
        # Two classes are left, one of them is pasted.
        assert drawn.tolist() in ([True, True, False, False, False, False], [False, False, True, False, False, False])

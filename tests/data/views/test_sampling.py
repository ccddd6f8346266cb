import itertools
from dataclasses import replace

import numpy as np
import pytest

from rankmatch_keras.data.views.policies import POLICIES, ChannelJitter
from rankmatch_keras.data.views.sampling import (
    LABELED,
    ViewSettings,
    generator,
    sample_box,
    sample_example,
    sample_geometry,
)
from rankmatch_keras.data.views.strong_numpy import strong_view
from rankmatch_keras.data.views.weak_numpy import part_of, valid_area, weak_image

SETTINGS = ViewSettings(3, (40, 48), (0.5, 2.0), POLICIES["jitter"], 2, True)


def boxes(size, count=2000, **kwargs):
    sampled = np.stack([sample_box(np.random.default_rng(n), size, **kwargs) for n in range(count)])
    assert sampled.shape == (count, 4) and sampled.dtype == np.int32
    return sampled


def published(rng, size):
    """The published loop: sample until the box fits."""
    while True:
        area = rng.uniform(0.02, 0.4) * size * size
        ratio = rng.uniform(0.3, 1 / 0.3)
        height, width = int(np.sqrt(area * ratio)), int(np.sqrt(area / ratio))
        y, x = rng.integers(size), rng.integers(size)
        if y + height <= size and x + width <= size:
            return y, x, y + height, x + width


def test_boxes_lie_inside_and_half_of_them_are_empty():
    y0, x0, y1, x1 = boxes((60, 90)).T
    empty = (y1 == y0) & (x1 == x0)
    assert 900 < empty.sum() < 1100
    assert (np.stack([y0, x0, y1, x1])[:, empty] == 0).all()
    assert (y0 >= 0).all() and (x0 >= 0).all() and (y1 <= 60).all() and (x1 <= 90).all()
    full = ~empty
    fraction = ((y1 - y0) * (x1 - x0))[full] / (60 * 90)
    ratio = (y1 - y0)[full] / (x1 - x0)[full]
    assert fraction.min() > 0.015 and fraction.max() < 0.401
    assert ratio.min() > 0.25 and ratio.max() < 4.0  # sides are cut to whole pixels


def test_distribution_is_that_of_the_published_loop():
    sampled = boxes((100, 100), probability=1.0)
    rng = np.random.default_rng(0)
    expected = np.array([published(rng, 100) for _ in range(4000)])
    assert (sampled[:, 2] > sampled[:, 0]).all()
    for column in range(4):
        np.testing.assert_allclose(
            np.quantile(sampled[:, column], [0.1, 0.25, 0.5, 0.75, 0.9]),
            np.quantile(expected[:, column], [0.1, 0.25, 0.5, 0.75, 0.9]),
            atol=4,
        )


def test_a_view_of_one_pixel():
    assert boxes((1, 1), 20, probability=1.0).max() <= 1


def test_geometry_covers_its_ranges():
    sampled = [sample_geometry(np.random.default_rng(n), (40, 80), (30, 100)) for n in range(400)]
    height, width, top, left, flip = np.array(sampled).T
    assert width.min() < 45 and width.max() > 155 and 40 <= width.min() and width.max() <= 160
    assert abs(width.mean() - 100) < 6  # uniform in 40..160; standard error 1.75
    np.testing.assert_array_equal(height, np.floor(40 * width / 80 + 0.5))  # the ratio is kept
    assert (top <= np.maximum(height - 30, 0)).all() and (left <= np.maximum(width - 100, 0)).all()
    assert top.max() > 40 and left.max() > 45
    assert 150 < flip.sum() < 250


def test_every_view_has_random_numbers_of_its_own():
    places = list(itertools.product((0, 1, 2**40), (1, 2, 3), (0, 1, 2, 10**9), (0, 1, 11)))
    assert len({generator(*place).random() for place in places}) == len(places)
    assert generator(1, 2, 3, 4).random() == generator(1, 2, 3, 4).random()


def test_an_example_depends_on_its_number_alone():
    one, again, other = (str(sample_example(SETTINGS, False, n, (90, 120))) for n in (5, 5, 6))
    assert one == again != other


def test_parts_of_an_example_do_not_depend_on_which_others_are_wanted():
    whole = sample_example(SETTINGS, False, 5, (90, 120))
    fewer = sample_example(replace(SETTINGS, strong_views=1, second_view=False), False, 5, (90, 120))
    assert fewer.view == (whole.view.geometry, whole.view.strong[:1]) and fewer.second_view == ()
    np.testing.assert_array_equal(fewer.cutmix_boxes, whole.cutmix_boxes[:1])
    assert whole.second_view[0].geometry != whole.view.geometry
    assert len({*whole.view.strong, *whole.second_view[0].strong}) == 4
    labeled = sample_example(SETTINGS, True, 5, (90, 120))
    assert (labeled.view.strong, labeled.cutmix_boxes, labeled.second_view) == ((), (), ())
    assert labeled.view.geometry != whole.view.geometry


@pytest.mark.parametrize("policy", [POLICIES["jitter"], POLICIES["intensity"], ChannelJitter(1, bounded=True)])
def test_every_second_labeled_view_may_be_a_strong_one(policy):
    settings = replace(SETTINGS, policy=policy, strong_labeled=True)
    weak, strong = (sample_example(settings, True, n, (90, 120)).view for n in (4, 5))
    assert weak.geometry == sample_example(SETTINGS, True, 4, (90, 120)).view.geometry
    assert str(strong.strong) == str((policy.sample(generator(SETTINGS.seed, LABELED, 5, 1)),))
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 1 if isinstance(policy, ChannelJitter) else 3))
    image = image.astype(np.float32)
    np.testing.assert_array_equal(strong_view(image, policy, weak.strong[0]), image)


@pytest.mark.parametrize("size", [(60, 90), (20, 31)])  # the smaller is shown whole, with padding
def test_a_context_holds_the_view_where_it_says(size):
    settings = replace(SETTINGS, crop=(33, 35), scale=(0.5, 2.0), context=(66, 70))
    ramp = np.stack(np.mgrid[: size[0], : size[1]], axis=-1).astype(np.float32)  # each pixel says where it lies
    for number in range(40):
        example = sample_example(settings, False, number, size)
        (context,), geometry = example.context, example.view.geometry
        part = part_of(ramp, context.top, context.left, settings.context)
        seen = valid_area(geometry, settings.crop)
        found = np.stack(np.broadcast_arrays(context.rows[:, None] + context.top, context.columns + context.left), -1)
        # A view that shrinks is smoothed: pixels at the edges of the image move, and others by less than a tenth.
        reach = max(1.0, size[0] / geometry.height, size[1] / geometry.width)
        inner = seen & (found >= reach).all(-1) & (found <= np.subtract(size, 1 + reach)).all(-1)
        assert inner.any()
        np.testing.assert_allclose(
            found[inner], weak_image(ramp, geometry, settings.crop)[inner], atol=1e-3 if reach == 1 else 0.1
        )
        rows, columns = np.round(context.rows).astype(int), np.round(context.columns).astype(int)
        assert 0 <= rows.min() and rows.max() < 66 and 0 <= columns.min() and columns.max() < 70
        at = np.stack(np.broadcast_arrays(rows[:, None] + context.top, columns + context.left), -1)
        np.testing.assert_array_equal(part[rows][:, columns][seen], at[seen])
        for start, length, whole in zip(context[:2], settings.context, size, strict=True):
            assert start == 0 if length >= whole else 0 <= start <= whole - length


def test_a_view_lies_in_the_middle_of_its_context():
    settings = replace(SETTINGS, crop=(33, 33), scale=(1.0, 1.0), context=(65, 65))
    example = sample_example(settings, False, 4, (500, 700))
    geometry, (context,) = example.view.geometry, example.context
    assert (context.top, context.left) == (geometry.top - 16, geometry.left - 16)
    np.testing.assert_array_equal(context.rows, np.arange(16, 49))
    columns = np.arange(16, 49)
    np.testing.assert_array_equal(context.columns, columns[::-1] if geometry.flip else columns)


def test_the_numbers_of_a_seed_stay_what_they_are():
    # A run that is resumed with a later version sees the same views.
    example = sample_example(SETTINGS, False, 7, (90, 120))
    assert example.view.geometry == (89, 118, 39, 0, True)
    assert np.array(example.cutmix_boxes).tolist() == [[2, 21, 19, 48], [0, 0, 0, 0]]
    assert [f.order for f in example.view.strong] == [(2, 3, 1, 0), (0, 2, 3, 1)]
    np.testing.assert_allclose([f.sigma for f in example.view.strong], [0.7932938140856323, 0.23685910373124455])

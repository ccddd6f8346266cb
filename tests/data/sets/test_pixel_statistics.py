from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankmatch_keras.data.readers.sources import Array
from rankmatch_keras.data.sets.pixel_statistics import (
    ImageFormat,
    channel_statistics,
    class_pixels,
    image_format,
    thin_out,
)
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.errors import UserError


def samples_of(*images, dtype=np.float32):
    return [Sample(f"{n}", Array(np.asarray(image, dtype), f"images[{n}]")) for n, image in enumerate(images)]


def test_by_hand():
    # Channel 0: 1, 3 and 2, 2, 2, 2 -> mean 2, variance (1 + 1) / 6. Channel 1: 10 everywhere.
    two = samples_of([[[1, 10], [3, 10]]], [[[2, 10], [2, 10]], [[2, 10], [2, 10]]])
    mean, std = channel_statistics(two)
    assert mean == pytest.approx((2, 10)) and std == pytest.approx((np.sqrt(1 / 3), 1))


@pytest.mark.parametrize("dtype, offset", [(np.uint8, 0), (np.float32, 0), (np.float32, 1e5)])
def test_like_numpy_over_all_pixels(dtype, offset, monkeypatch):
    monkeypatch.setattr("rankmatch_keras.data.sets.pixel_statistics.BLOCK", 40)  # several blocks of rows
    rng = np.random.default_rng(0)
    images = [(rng.uniform(0, 256, (h, w, 3)) + offset).astype(dtype) for h, w in ((5, 7), (16, 3), (1, 1), (9, 60))]
    pixels = np.concatenate([image.reshape(-1, 3) for image in images]).astype(np.float64)
    mean, std = channel_statistics(samples_of(*images, dtype=dtype))
    np.testing.assert_allclose(mean, pixels.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(std, pixels.std(axis=0), rtol=1e-9)


def test_constant_channels_have_no_tiny_std():
    mean, std = channel_statistics(samples_of(*[np.full((3, 5, 1), 0.1)] * 7))
    assert mean == pytest.approx((0.1,)) and std == (1.0,)
    assert channel_statistics(samples_of(np.zeros((2, 2, 2)))) == ((0.0, 0.0), (1.0, 1.0))


def test_limit_takes_an_even_subset():
    samples = samples_of(*[np.full((1, 1, 1), n) for n in range(10)])
    assert [s.name for s in thin_out(samples, 5)] == ["0", "2", "4", "6", "8"]
    assert [s.name for s in thin_out(samples, 3)] == ["0", "3", "6"]
    assert channel_statistics(samples, limit=5)[0] == (4.0,)
    assert channel_statistics(samples, limit=None)[0] == channel_statistics(samples)[0] == (4.5,)
    with pytest.raises(UserError, match="at least 1 image"):
        thin_out(samples, 0)


def test_format():
    assert image_format(samples_of(np.zeros((2, 3, 5)))) == ImageFormat(5, "float32")
    assert image_format(samples_of(np.zeros((2, 3, 1)), dtype=np.uint8)) == ImageFormat(1, "uint8")


def test_bad_images_are_named():
    with pytest.raises(UserError, match="an empty list"):
        channel_statistics([])
    with pytest.raises(UserError, match=r"1 channels of float32 as in 'images\[0\]'; found 2 channels .*'images\[1\]'"):
        channel_statistics(samples_of(np.zeros((2, 2, 1)), np.zeros((2, 2, 2))))
    mixed = samples_of(np.zeros((2, 2, 1))) + samples_of(np.zeros((2, 2, 1)), dtype=np.uint8)
    with pytest.raises(UserError, match="channels of uint8"):
        channel_statistics(mixed)
    with pytest.raises(UserError, match=r"infinity in 'images\[1\]'"):
        channel_statistics(samples_of(np.zeros((2, 2, 1)), [[[1.0], [np.inf]]]))
    with pytest.raises(UserError, match="gone.png"):
        channel_statistics([*samples_of(np.zeros((2, 2, 3))), Sample("gone", Path("gone.png"))])


@given(data=st.data())
@settings(max_examples=30, deadline=None, derandomize=True)
def test_pixels_without_data_do_not_count(data):
    images = []
    for seed in range(3):
        rng = np.random.default_rng(data.draw(st.integers(0, 99)) + 100 * seed)
        image = rng.normal(300, 20, (5, 7, 2)).astype(np.float32)
        image[rng.random(image.shape) < data.draw(st.sampled_from([0.0, 0.3, 0.9]))] = np.nan
        images.append(image)
    pixels = np.concatenate([image.reshape(-1, 2) for image in images])
    mean, std = channel_statistics(samples_of(*images))
    np.testing.assert_allclose(mean, np.nanmean(pixels, 0, np.float64), rtol=1e-9)
    np.testing.assert_allclose(std, np.nanstd(pixels.astype(float), 0), rtol=1e-6)


def test_images_of_no_data_alone():
    nothing = np.full((2, 2, 1), np.nan, np.float32)
    assert channel_statistics(samples_of(nothing, np.ones((2, 2, 1)))) == ((1.0,), (1.0,))
    with pytest.raises(UserError, match="data in every channel; found none in 1 image\\."):
        channel_statistics(samples_of(nothing))


def test_class_pixels():
    masks = [np.array([[0, 1, 255]], np.int32), np.array([[2, 2, 2], [0, 2, 2]], np.int32)]
    samples = [Sample(f"{n}", Array(mask, ""), Array(mask, f"masks[{n}]")) for n, mask in enumerate(masks)]
    np.testing.assert_array_equal(class_pixels(samples, 3), [[1, 1, 0], [1, 0, 5]])
    with pytest.raises(UserError, match=r"0..1 or 255 .*2 at 5 pixels of 'masks\[1\]'"):
        class_pixels(samples, 2)

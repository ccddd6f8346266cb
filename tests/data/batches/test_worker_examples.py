import pickle

import numpy as np
import pytest

from rankmatch_keras.data import Array, Sample
from rankmatch_keras.data.batches.settings import Normalization
from rankmatch_keras.data.batches.worker_examples import WorkerExamples
from rankmatch_keras.data.sets.pixel_statistics import ImageFormat
from rankmatch_keras.data.views.policies import POLICIES
from rankmatch_keras.data.views.sampling import ViewSettings
from rankmatch_keras.errors import UserError

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (30, 34, 3), dtype=np.uint8)
MASK = RNG.integers(0, 4, (30, 34), dtype=np.int32)


def examples(mean=(0.0, 0.0, 0.0), over=(1.0, 1.0, 1.0), crop=(20, 22), scale=(0.5, 2.0)):
    views = ViewSettings(0, crop, scale, POLICIES["jitter"], strong_views=2, second_view=True)
    return WorkerExamples(ImageFormat(3, "uint8"), Normalization(np.float32(mean), np.float32(over), False), views)


def sample(image=IMAGE, mask=MASK):
    return Sample("s", Array(image, "image s"), Array(mask, "mask s"))


def test_an_example_depends_on_its_number_alone():
    make = examples()
    make(False, 9, sample())
    for labeled in (True, False):
        first, copy = make(labeled, 4, sample()), pickle.loads(pickle.dumps(make))(labeled, 4, sample())
        other = make(labeled, 5, sample())
        for name in first:
            np.testing.assert_array_equal(first[name], copy[name])
        assert any((first[name] != other[name]).any() for name in first)


def test_all_views_are_sampled_apart():
    # At scale 1 crop and flip differ; there is a box in half of the examples.
    made = [examples(scale=(1.0, 1.0))(False, n, sample()) for n in range(12)]
    for one, other in (
        ("strong_image_1", "strong_image_2"),
        ("weak_image", "source_weak_image"),
        ("strong_image_1", "source_strong_image_1"),
        ("cutmix_box_1", "cutmix_box_2"),
    ):
        assert sum((example[one] != example[other]).any() for example in made) >= 5, (one, other)


def test_strong_views_are_of_the_same_weak_view():
    # Gray, blur and jitter keep where the bright half of an image lies.
    image = np.zeros((40, 40, 3), np.uint8)
    image[:, 20:] = 200
    for n in range(10):
        views = examples(crop=(16, 16))(False, n, sample(image, np.zeros((40, 40), np.int32)))
        weak, strong = (views[name].mean(-1) for name in ("weak_image", "strong_image_1"))
        if np.ptp(weak) > 100 and np.ptp(strong) > 20:
            assert np.corrcoef(weak.ravel(), strong.ravel())[0, 1] > 0.9


def test_normalization():
    mean, over = (10.0, 20.0, 30.0), (0.5, 2.0, 0.1)
    raw, made = (m(True, 0, sample())["labeled_image"] for m in (examples(), examples(mean=mean, over=over)))
    np.testing.assert_allclose(made, (raw - np.float32(mean)) * np.float32(over), rtol=1e-6)


def test_other_images_are_refused_by_name():
    with pytest.raises(UserError, match="3 channels of uint8.*4 channels of float32 in 'image s'"):
        examples()(False, 0, sample(np.zeros((9, 9, 4), np.float32)))
    with pytest.raises(UserError, match=r"size of its image \(30, 34\).*\(30, 33\) in 'mask s'"):
        examples()(True, 0, sample(mask=MASK[:, :-1]))

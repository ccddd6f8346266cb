import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from rankmatch_keras.check import duplicates
from rankmatch_keras.check.duplicates import fingerprint, identical, near


def scene(seed, size=(90, 120), dtype=np.uint8):
    """Make a picture with coarse structure, different for each seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(20, 200, (6, 8, 3)).astype(np.uint8))
    smooth = coarse.resize(size[::-1], Image.Resampling.BICUBIC)
    return (np.asarray(smooth) + rng.integers(0, 20, (*size, 3))).astype(dtype)


def jpeg(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=30)
    return np.asarray(Image.open(file))


def resized(image):
    return np.asarray(Image.fromarray(image).resize((77, 51)))


def blurred(image):
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1)))


CHANGES = {
    "jpeg": jpeg,
    "another size": resized,
    "blur": blurred,
    "brightness": lambda image: np.minimum(image * 1.2, 255).astype(np.uint8),
    "noise": lambda image: (image + np.random.default_rng(9).integers(0, 12, image.shape)).astype(np.uint8),
    "gray": lambda image: image.mean(-1, keepdims=True).astype(np.uint8),
    "other units": lambda image: image.astype(np.float32) * 257,
}
SCENES = [fingerprint(scene(seed)) for seed in range(40)]


def test_equal_pixels_are_identical_and_nothing_else():
    one = scene(3)
    prints = [fingerprint(image) for image in (one.copy(), one + np.eye(90, 120, dtype=np.uint8)[..., None])]
    assert identical(prints, SCENES) == {0: 3}
    # The same bytes in another shape or type are another image.
    flat = np.zeros((4, 6, 1), np.uint8)
    others = [flat.reshape(6, 4, 1), flat.reshape(4, 2, 3), flat.view(np.int8).astype(np.float32)]
    assert identical([fingerprint(flat)], [fingerprint(other) for other in others]) == {}


def test_repetitions_within_a_list_point_to_the_first():
    prints = [fingerprint(scene(seed)) for seed in (1, 2, 1, 1, 2)]
    assert identical(prints, prints) == {2: 0, 3: 0, 4: 1}
    assert near(prints, prints) == {}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_near_its_original_only(change):
    changed = [fingerprint(CHANGES[change](scene(seed))) for seed in (5, 30)]
    assert near(changed, SCENES) == {0: 5, 1: 30}
    assert identical(changed, SCENES) == {}


def test_different_scenes_are_not_near():
    assert near(SCENES, SCENES) == {}
    assert near(SCENES[:20], SCENES[20:]) == {}


def test_near_within_a_list_looks_back_only():
    prints = [SCENES[0], fingerprint(jpeg(scene(0))), SCENES[1], fingerprint(blurred(scene(0)))]
    found = near(prints, prints)
    assert found.keys() == {1, 3} and found[1] == 0 and found[3] in (0, 1)


def test_blocks_do_not_change_what_is_found(monkeypatch):
    prints = [fingerprint(image) for seed in range(7) for image in (scene(seed), jpeg(scene(seed)))]
    whole = near(prints, prints), near(prints, SCENES)
    assert len(whole[0]) == 7
    monkeypatch.setattr(duplicates, "BLOCK", 3)
    assert (near(prints, prints), near(prints, SCENES)) == whole


def test_dark_and_plain_images_do_not_match_each_other():
    rng = np.random.default_rng(0)
    dark = [fingerprint(rng.integers(0, 4, (64, 64, 3)).astype(np.uint8)) for _ in range(20)]
    plain = [fingerprint(np.full((64, 64, 3), value, np.uint8)) for value in range(5)]
    assert near(dark + plain, dark + plain) == {}
    noise = [fingerprint(rng.normal(1000, 1e-3, (64, 64, 1)).astype(np.float32)) for _ in range(3)]
    assert near(noise, noise) == {}


def test_float_and_tiny_images_and_undefined_pixels():
    broken = np.full((8, 8, 2), np.nan, np.float32)
    broken[0, 0] = np.inf
    odd = [
        fingerprint(broken),
        fingerprint(np.zeros((1, 1, 5), np.uint8)),
        fingerprint(np.ones((1, 300, 4), np.float32)),
    ]
    assert all(np.isfinite(one.thumbnail).all() for one in odd)
    assert near(odd, SCENES) == {}


def test_nothing_to_compare():
    assert near([], SCENES) == near(SCENES, []) == identical([], []) == {}

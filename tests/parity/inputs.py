"""Initial weights, batches and images: made once, and read from a file on every backend."""

import time

import numpy as np
from cases import CLASSES

CROP = 33  # maps of 3 x 3 pixels at stride 16
# Of only two images the normalization of the one pooled pixel would leave little but rounding.
LABELED, UNLABELED = 6, 4


def write_inputs(path, case, variables):
    """Writes weights for the variables of a network, and a batch per step of the case."""
    rng = np.random.default_rng(case.seed)
    arrays = {f"weights/{i}": _initial_value(variable, rng) for i, variable in enumerate(variables)}
    for step in range(case.steps):
        arrays.update({f"batch/{step}/{entry}": value for entry, value in _make_batch(case, rng).items()})
    np.savez(path.with_suffix(".part.npz"), **arrays)
    path.with_suffix(".part.npz").rename(path)


def arrived(path, seconds=300):
    """The path, once another process has written the file."""
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"no {path}"
        time.sleep(0.1)
    return path


def read_inputs(path, case):
    """The weights in order, and the batches."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    weights = [value for key, value in arrays.items() if key.startswith("weights/")]
    starts = [f"batch/{step}/" for step in range(case.steps)]
    return weights, [
        {key.removeprefix(start): value for key, value in arrays.items() if key.startswith(start)} for start in starts
    ]


def raw_images():
    """Images as a predictor takes them: (4, 97, 129, 3) uint8."""
    noise = _blurred(np.random.default_rng(0), (4, 97, 129, 3))
    return np.clip(127.5 + 50 * noise, 0, 255).astype("uint8")


def _initial_value(variable, rng):
    """None of them at a default that could hide a mistake."""
    shape = tuple(variable.shape)
    if len(shape) == 4:
        return rng.normal(scale=np.sqrt(2 / np.prod(shape[:3])), size=shape).astype("float32")
    around = 1.0 if variable.name in ("gamma", "moving_variance") else 0.0
    return (around + 0.2 * rng.uniform(-1, 1, shape)).astype("float32")


def _make_batch(case, rng):
    """Blurred noise with masks that follow from it, padding and ignored pixels, and boxes in both views."""
    labeled = _images(rng, LABELED)
    mask = ((labeled[..., 0] > 0) + 2 * (labeled[..., 1] > 0)).astype("int32") % CLASSES
    mask[:, -5:] = 255
    batch = {
        "labeled_image": labeled,
        "labeled_mask": mask,
        **_unlabeled(rng, ""),
        "cutmix_box_1": np.int32([[8, 5, 30, 22], [0, 0, 0, 0], [0, 3, 20, 33], [11, 0, 33, 17]]),
        "cutmix_box_2": np.int32([[17, 10, 33, 31], [2, 20, 14, 33], [0, 0, 0, 0], [5, 6, 27, 28]]),
    }
    batch |= {"context_image": _blurred(rng, (UNLABELED, CROP, CROP, 3)), **_places(rng)}
    batch["pseudo_mask"] = np.where(batch["valid"], (batch["weak_image"][..., 0] > 0).astype("int32"), 255)
    return {**batch, **_unlabeled(rng, "source_")} if case.second_view else batch


def _places(rng):
    """Where the views lie in the images around them: some enlarged, some shrunk, one partly outside, one mirrored."""
    start, step = rng.uniform(0, 8, (2, UNLABELED, 1)), np.array([[0.6], [1.7], [1.0], [-0.8]])
    rows, columns = (begin + np.abs(step) * np.arange(CROP) for begin in start)
    columns[3] = columns[3][::-1]
    return {"context_rows": rows.astype("float32"), "context_columns": columns.astype("float32")}


def _unlabeled(rng, prefix):
    valid = np.ones((UNLABELED, CROP, CROP), dtype=bool)
    valid[0, :, -6:] = False
    names = ("weak_image", "strong_image_1", "strong_image_2")
    return {**{prefix + name: _images(rng, UNLABELED) for name in names}, prefix + "valid": valid}


def _images(rng, count):
    return _blurred(rng, (count, CROP, CROP, 3))


def _blurred(rng, shape):
    """Noise of deviation 1, averaged over windows of 5 x 5 pixels."""
    values = rng.normal(size=shape)
    for axis in (1, 2):
        values = sum(np.roll(values, shift, axis) for shift in range(-2, 3)) / 5
    return (5 * values).astype("float32")

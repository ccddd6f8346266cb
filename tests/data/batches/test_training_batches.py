from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from rankmatch_keras import data
from rankmatch_keras.backend.replicas import own_rows
from rankmatch_keras.data import Sample, SampleScenes, choose_labeled, training_batches
from rankmatch_keras.data.batches.pipelines import TF_DATA, choose_pipeline
from rankmatch_keras.data.readers.sources import Array
from rankmatch_keras.data.views.policies import POLICIES
from rankmatch_keras.errors import UserError

SCENES = SampleScenes(Path(__file__).resolve().parents[3] / "data" / "sample")
SPLIT = choose_labeled(SCENES.train[:11], 3, seed=0)
RAW = SimpleNamespace(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), reverse_channels=False)


def batches(pipeline, **kwargs):
    """In this process with one thread, unless told otherwise."""
    options = dict(crop=(40, 48), batch_size=2, unlabeled_batch_size=3, normalization=RAW, steps=3, parallel_calls=0)
    options |= kwargs
    labeled = options.pop("labeled", SPLIT.labeled)
    return training_batches(labeled, options.pop("unlabeled", SPLIT.unlabeled), pipeline=pipeline, **options)


def arrays(made):
    return [{name: np.asarray(value) for name, value in batch.items()} for batch in made]


def assert_same(first, second):
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


CONTRACT = {
    "labeled_image": ((2, 40, 48, 3), "float32"),
    "labeled_mask": ((2, 40, 48), "int32"),
    "weak_image": ((3, 40, 48, 3), "float32"),
    "strong_image_1": ((3, 40, 48, 3), "float32"),
    "strong_image_2": ((3, 40, 48, 3), "float32"),
    "valid": ((3, 40, 48), "bool"),
    "cutmix_box_1": ((3, 4), "int32"),
    "cutmix_box_2": ((3, 4), "int32"),
}


def spec(batch):
    return {name: (value.shape, str(value.dtype)) for name, value in batch.items()}


def test_contract(pipeline):
    made = batches(pipeline)
    assert len(made) == 3
    for batch in arrays(made):
        assert spec(batch) == CONTRACT
        assert set(np.unique(batch["labeled_mask"])) <= {0, 1, 2, 3, 4, 255}
        for name in ("labeled_image", "weak_image", "strong_image_1", "strong_image_2"):
            assert batch[name].min() >= 0 and batch[name].max() <= 255.001
        assert abs(batch["strong_image_1"] - batch["strong_image_2"]).max() > 1


def test_second_view_adds_a_source(pipeline):
    source = {f"source_{name}": CONTRACT[name] for name in CONTRACT if name[:4] in ("weak", "stro", "vali")}
    (batch,) = arrays(batches(pipeline, box_source="second_view", steps=1))
    assert spec(batch) == CONTRACT | source
    assert abs(batch["weak_image"] - batch["source_weak_image"]).mean() > 1
    # The first view does not depend on whether there is a second.
    assert_same([{name: batch[name] for name in CONTRACT}], arrays(batches(pipeline, steps=1)))


def test_one_strong_view_and_none(pipeline):
    (one,) = arrays(batches(pipeline, strong_views=1, steps=1))
    assert spec(one) == {k: v for k, v in CONTRACT.items() if not k.endswith("_2")}
    (none,) = arrays(batches(pipeline, strong_views=0, steps=1))
    assert spec(none) == {k: v for k, v in CONTRACT.items() if not k.startswith(("strong", "cutmix"))}
    assert_same([none], [{name: one[name] for name in none}])
    for nothing in (None, []):
        (batch,) = arrays(batches(pipeline, unlabeled=nothing, steps=1))
        assert spec(batch) == {k: CONTRACT[k] for k in ("labeled_image", "labeled_mask")}


def test_a_context_surrounds_each_view(pipeline):
    (batch,) = arrays(batches(pipeline, context=(81, 97), steps=1))
    places = {"context_rows": ((3, 40), "float32"), "context_columns": ((3, 48), "float32")}
    assert spec(batch) == CONTRACT | {"context_image": ((3, 81, 97, 3), "float32")} | places
    assert_same([{name: batch[name] for name in CONTRACT}], arrays(batches(pipeline, steps=1)))
    rows, columns = (np.round(batch[name]).astype(int) for name in places)
    for image, row, column, weak, valid in zip(
        batch["context_image"], rows, columns, batch["weak_image"], batch["valid"], strict=True
    ):
        found, wanted = image[row][:, column][valid], weak[valid]
        assert np.abs(found - wanted).mean() < 0.5 * np.abs(found[::-1] - wanted).mean()


def test_both_pipelines_cut_the_same_contexts():
    pytest.importorskip("tensorflow")
    normalization = SimpleNamespace(mean=(1.0, 2.0, 3.0), std=(10.0, 20.0, 30.0), reverse_channels=True)
    options = {"context": (113, 97), "steps": 1, "normalization": normalization}
    (one,), (other,) = (arrays(batches(pipeline, **options)) for pipeline in ("tf.data", "workers"))
    assert (one["context_image"][:, -1] != one["context_image"][:, 0]).any(), "scenes have 96 rows: padding below"
    for name in ("context_image", "context_rows", "context_columns"):
        np.testing.assert_allclose(one[name], other[name], atol=1e-5)


def test_how_strong_views_are_made(pipeline):
    policies = POLICIES if pipeline == "workers" else ("jitter", "intensity")  # each takes seconds to trace
    made = {policy: arrays(batches(pipeline, strong=policy, steps=1, strong_views=1))[0] for policy in policies}
    for policy, batch in made.items():
        assert batch["strong_image_1"].min() >= 0 and batch["strong_image_1"].max() <= 255.001, policy
        for name in ("weak_image", "labeled_image", "cutmix_box_1"):
            np.testing.assert_array_equal(batch[name], made["jitter"][name])
    views = [batch["strong_image_1"].tobytes() for batch in made.values()]
    assert len(set(views)) == len(policies)


def test_every_second_labeled_view_may_be_a_strong_one(pipeline):
    (weak,), (strong,) = (arrays(batches(pipeline, steps=1, strong_labeled=value)) for value in (False, True))
    np.testing.assert_array_equal(strong["labeled_mask"], weak["labeled_mask"])
    np.testing.assert_allclose(strong["labeled_image"][::2], weak["labeled_image"][::2], atol=1e-3)
    changed = np.abs(strong["labeled_image"] - weak["labeled_image"]).mean((1, 2, 3))
    assert (changed[1::2] > 0.01).all()


def test_a_run_can_start_at_any_step(pipeline):
    # Steps 4 and 5 lie in the second pass over the 8 unlabeled and in the third over the 3 labeled images.
    run = arrays(batches(pipeline, steps=6))
    assert_same(arrays(batches(pipeline, start_step=4, steps=2)), run[4:])
    endless = iter(batches(pipeline, steps=None, start_step=3))
    assert_same(arrays([next(endless)]), run[3:4])


def test_parallelism_does_not_matter_and_the_seed_does(pipeline):
    run = arrays(batches(pipeline))
    assert_same(arrays(batches(pipeline, parallel_calls=2)), run)
    (other,) = arrays(batches(pipeline, steps=1, seed=1))
    assert abs(run[0]["weak_image"] - other["weak_image"]).mean() > 1


def test_batches_can_be_gone_through_again(pipeline):
    made = batches(pipeline, parallel_calls=1)
    assert_same(arrays(made), arrays(made))


def test_image_and_mask_stay_together(pipeline):
    # At scale 1 and full crop only the flip is left, which must be the same for both.
    batch = arrays(batches(pipeline, scale=(1.0, 1.0), crop=(96, 128), steps=2))
    pairs = [(s.read_image(), s.read_mask()) for s in SPLIT.labeled]
    for image, mask in zip(batch[1]["labeled_image"], batch[1]["labeled_mask"], strict=True):
        errors = []
        for whole, labels in pairs:
            for step in (1, -1):
                same = np.array_equal(mask, labels[:, ::step])
                errors.append(abs(image - whole[:, ::step]).max() if same else np.inf)
        assert min(errors) < 0.01


def test_normalization_comes_last(pipeline):
    norm = SimpleNamespace(mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 5.0), reverse_channels=True)
    (raw,), (normalized,) = (arrays(batches(pipeline, steps=1, **more)) for more in ({}, {"normalization": norm}))
    for name in ("labeled_image", "weak_image", "strong_image_1", "strong_image_2"):
        expected = ((raw[name] - [10, 20, 30]) / [2, 4, 5])[..., ::-1]
        np.testing.assert_allclose(normalized[name], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 2.0)])
def test_pixels_without_data_are_not_valid_and_become_the_mean(pipeline, scale):
    values = np.random.default_rng(0).normal(300, 20, (60, 70, 2)).astype(np.float32)
    values[:, :35, 1] = np.nan
    samples = [Sample("a", Array(values, "a"), Array(np.zeros((60, 70), np.int32), "mask of a"))]
    norm = SimpleNamespace(mean=(300.0, 300.0), std=(20.0, 20.0), reverse_channels=False)
    options = {"labeled": samples, "unlabeled": samples, "normalization": norm, "scale": scale, "crop": (50, 60)}
    shares = []
    for batch in arrays(batches(pipeline, **options)):
        for name, value in batch.items():
            assert np.isfinite(value).all(), name
        # Beside an edge the mean of the missing pixels is smoothed into the others; away from it all is 0, but the
        # padding, which is a raw 0.
        inside = ~batch["valid"] & ~np.roll(batch["valid"], 2, 2) & ~np.roll(batch["valid"], -2, 2)
        views = batch["weak_image"][inside]
        assert np.abs(views[views[:, 0] > -14.9, 1]).max() < 1e-4
        shares.append(batch["valid"].mean())
    if scale == (1.0, 1.0):
        assert all(0.4 < share < 0.6 for share in shares)


def test_padding_is_marked(pipeline):
    (batch,) = arrays(batches(pipeline, crop=(200, 300), scale=(1.0, 1.0), steps=1))
    assert (~batch["valid"]).sum() == 3 * (200 * 300 - 96 * 128)
    assert (batch["weak_image"][~batch["valid"]] == 0).all()
    assert (batch["labeled_mask"] == 255).sum() == 2 * (200 * 300 - 96 * 128)


def test_one_number_is_a_square_crop_and_batch_sizes_agree_by_default(pipeline):
    (batch,) = arrays(batches(pipeline, crop=32, unlabeled_batch_size=None, steps=1))
    assert batch["weak_image"].shape == (2, 32, 32, 3)


def test_masks_of_unlabeled_samples_are_not_read(pipeline, tmp_path):
    peek = [Sample(s.name, s.image, tmp_path / "missing.png") for s in SPLIT.unlabeled]
    assert len(arrays(batches(pipeline, unlabeled=peek, steps=1))) == 1


@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint8"), (6, "float32"), (3, "float32"), (4, "uint8")])
def test_any_number_of_channels(pipeline, channels, dtype):
    rng = np.random.default_rng(0)
    images = [rng.uniform(0, 250, (30, 34, channels)).astype(dtype) for _ in range(4)]
    masks = [rng.integers(0, 3, (30, 34)) for _ in range(2)]
    dataset = data.from_arrays(images[:2], masks, unlabeled=images[2:], class_names=["a", "b", "c"])
    norm = SimpleNamespace(mean=(0.0,), std=(1.0,), reverse_channels=False)
    more = {"labeled": dataset.train, "unlabeled": dataset.unlabeled, "unlabeled_batch_size": 2}
    (batch,) = arrays(batches(pipeline, crop=33, normalization=norm, steps=1, **more))
    for name in ("labeled_image", "weak_image", "strong_image_1", "strong_image_2"):
        assert batch[name].shape == (2, 33, 33, channels)
        assert np.isfinite(batch[name]).all()
    assert (batch["strong_image_1"] != batch["strong_image_2"]).any()


# Replicas.


def rows_of(first, local, total):
    """The rows of the replicas that one process feeds, as a function of the batch size."""
    return lambda size: np.concatenate([own_rows(size, total, first + r) for r in range(local)])


@pytest.mark.parametrize("local, total", [(1, 2), (2, 4)])
def test_processes_share_the_batch_of_one(pipeline, local, total):
    sizes = {"batch_size": 4, "unlabeled_batch_size": 8, "steps": 2, "start_step": 1}
    whole = arrays(batches(pipeline, **sizes))
    for first in range(0, total, local):
        rows = rows_of(first, local, total)
        part = arrays(batches(pipeline, rows=rows, **sizes))
        for name in whole[0]:
            own = rows(len(whole[0][name]))
            for one, other in zip(whole, part, strict=True):
                np.testing.assert_array_equal(other[name], one[name][own], err_msg=name)


@dataclass(frozen=True, eq=False)
class Recorded(Array):
    """An image that notes when it is read."""

    read_names: list

    def read(self):
        self.read_names.append(self.name)
        return super().read()


def test_a_process_reads_only_its_own_rows(pipeline):
    read_names = []
    samples = [
        Sample(
            f"{n}",
            Recorded(np.full((9, 9, 3), n, np.uint8), f"{n}", read_names),
            Array(np.zeros((9, 9), np.int32), "m"),
        )
        for n in range(8)
    ]
    options = {"unlabeled_batch_size": None, "batch_size": 8, "steps": 1, "crop": 9, "scale": (1.0, 1.0)}
    (batch,) = arrays(batches(pipeline, labeled=samples, unlabeled=None, rows=rows_of(1, 1, 4), **options))
    own = {f"{int(image[0, 0, 0])}" for image in batch["labeled_image"]}
    assert len(own) == 2
    assert set(read_names[1:]) == own  # the first is read to see what images are like


@pytest.mark.parametrize("rows", [[], [0, 0], [-1], [99]])
def test_rows_must_be_of_the_batch(pipeline, rows):
    with pytest.raises(UserError, match="different rows of a batch of"):
        batches(pipeline, rows=lambda size: rows)


# Both pipelines use the same random numbers.

# TensorFlow computes the places of a resize in float32, NumPy in float64, and the jitter multiplies the difference.
# Measured: 0.002 of 255 levels for color images, 0.005 for noise.
ROUNDING = 0.01
# Solarize, posterize and equalize have steps: rounding decides on which side of one a level falls. Measured: 7e-4 of
# the pixels.
BESIDE_A_STEP = 3e-3


def assert_parity(**options):
    options = {"box_source": "second_view", "steps": 10} | options
    made = [arrays(batches(name, **options)) for name in (TF_DATA, "workers")]
    differences = []
    for one, other in zip(*made, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            assert one[name].dtype == other[name].dtype
            if "image" not in name:
                np.testing.assert_array_equal(one[name], other[name], err_msg=name)
            elif "strong" in name and options.get("strong") in ("intensity", "two_intensities"):
                differences.append(abs(one[name] - other[name]).max(-1))
            else:
                np.testing.assert_allclose(one[name], other[name], rtol=0, atol=ROUNDING, err_msg=name)
    if differences:
        assert (np.concatenate(differences) > ROUNDING).mean() < BESIDE_A_STEP


needs_tf_data = pytest.mark.skipif(choose_pipeline("auto") != TF_DATA, reason="needs TensorFlow and keras-cv")


@needs_tf_data
@pytest.mark.parametrize("strong", POLICIES)
def test_both_pipelines_make_the_same_batches(strong):
    assert_parity(strong=strong, seed=3)


@needs_tf_data
@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint8"), (6, "float32")])
def test_both_pipelines_make_the_same_batches_of_other_images(channels, dtype):
    rng = np.random.default_rng(0)
    images = [rng.uniform(0, 250, (90, 104, channels)).astype(dtype) for _ in range(4)]
    masks = [rng.integers(0, 3, (90, 104)) for _ in range(2)]
    dataset = data.from_arrays(images[:2], masks, unlabeled=images[2:], class_names=["a", "b", "c"])
    norm = SimpleNamespace(mean=(0.0,), std=(1.0,), reverse_channels=False)
    assert_parity(labeled=dataset.train, unlabeled=dataset.unlabeled, normalization=norm)


@needs_tf_data
def test_both_pipelines_put_pseudo_labels_and_rows_in_the_same_places():
    more = {"start_step": 5, "pseudo_labels": True, "unlabeled": SPLIT.labeled, "crop": (130, 150), "steps": 3}
    assert_parity(rows=lambda size: range(size - 1, 0, -1), **more)


@pytest.mark.parametrize(
    "option, message",
    [
        ({"crop": 0}, "crop height"),
        ({"crop": (32, -1)}, "crop width"),
        ({"batch_size": 0}, "batch size"),
        ({"unlabeled_batch_size": 0}, "unlabeled batch size"),
        ({"steps": 0}, "steps"),
        ({"start_step": -1}, "start_step"),
        ({"parallel_calls": -1}, "parallel_calls"),
        ({"box_source": "other"}, "'other'"),
        ({"strong_views": 3}, "strong views"),
        ({"strong": "jittr"}, "strong views of none, jitter, .*'jittr'"),
        ({"scale": (2.0, 0.5)}, "scale"),
        ({"labeled": []}, "labeled image"),
        ({"labeled": [Sample("x", Path("x.jpg"))]}, "x.jpg"),
        ({"normalization": SimpleNamespace(mean=(0, 0), std=(1, 1), reverse_channels=False)}, "3 channels.*2 means"),
        (
            {"unlabeled": data.from_arrays(None, unlabeled=[np.zeros((9, 9), np.uint8)]).unlabeled},
            "3 channels of uint8.*1 channels of uint8",
        ),
    ],
)
def test_bad_options(pipeline, option, message):
    with pytest.raises(UserError, match=message):
        batches(pipeline, **option)


def test_pseudo_labels_lie_on_the_weak_view(pipeline):
    rng = np.random.default_rng(0)
    mask = np.kron(rng.integers(0, 4, (4, 5)), np.ones((12, 12), int)).astype("uint8")
    image = np.repeat(60 * mask[..., None], 3, axis=-1)
    samples = [Sample(name, Array(image, name), Array(mask.astype("int32"), name)) for name in "ab"]
    options = dict(unlabeled=samples, pseudo_labels=True, strong_views=1, steps=2)
    for batch in arrays(batches(pipeline, **options)):
        assert spec(batch)["pseudo_mask"] == ((3, 40, 48), "int32")
        padding = batch["pseudo_mask"] == 255
        np.testing.assert_array_equal(padding, ~batch["valid"])
        shown = np.round(batch["weak_image"][..., 0] / 60)
        assert (shown == batch["pseudo_mask"])[~padding].mean() > 0.9  # all but some edges
        assert len(np.unique(batch["pseudo_mask"])) > 2
    plain = arrays(batches(pipeline, **{**options, "pseudo_labels": False}))
    made = arrays(batches(pipeline, **options))
    assert_same(plain, [{name: value for name, value in batch.items() if name != "pseudo_mask"} for batch in made])


def test_pseudo_labels_must_be_there_and_fit(pipeline):
    with pytest.raises(UserError, match="a mask for every labeled image"):
        arrays(batches(pipeline, pseudo_labels=True))
    image = np.zeros((20, 30, 3), "uint8")
    other = [Sample("a", Array(image, "a"), Array(np.zeros((20, 31), "int32"), "a"))]
    with pytest.raises(Exception, match="size"):
        arrays(batches(pipeline, unlabeled=other, pseudo_labels=True))

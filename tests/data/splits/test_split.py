import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rankmatch_keras import data
from rankmatch_keras.data.masks.encodings import TwoValues
from rankmatch_keras.data.masks.mask_files import MaskFile
from rankmatch_keras.data.readers.sources import ImageFile
from rankmatch_keras.data.sets.samples import Sample, SegmentationData, seeded_order
from rankmatch_keras.data.splits import choose_labeled, read_list, samples_from_list, split_from_lists
from rankmatch_keras.errors import UserError

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not on this machine")

SAMPLES = [Sample(f"n{i:02d}", Path(f"n{i:02d}.jpg"), Path(f"n{i:02d}.png")) for i in range(40)]


def write(tmp_path, text, name="list.txt"):
    path = tmp_path / name
    path.write_text(text)
    return path


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).touch()


@needs_shared
def test_public_lists():
    labeled = read_list(SHARED / "splits/pascal/92/labeled.txt")
    unlabeled = read_list(SHARED / "splits/pascal/92/unlabeled.txt")
    assert (len(labeled), len(labeled) + len(unlabeled)) == (92, 10582)
    with pytest.raises(UserError, match="missing"):
        samples_from_list(SHARED / "splits/pascal/92/labeled.txt", SHARED / "voc2012_subset")


@needs_shared
@pytest.mark.parametrize("loader, count, known", [("camvid", 23, "e7559c496bcf"), ("lucchi", 10, "9dc7114994a2")])
def test_recorded_splits_do_not_change(loader, count, known):
    dataset = data.open_data({"camvid": "CamVid", "lucchi": "Lucchi"}[loader], root=str(SHARED / loader))
    assert choose_labeled(dataset.train, count, seed=0).id == known


def test_samples_from_list(tmp_path):
    touch(tmp_path, "i/a.jpg", "m/a.png", "i/b.jpg", "s.tif")
    samples = samples_from_list(write(tmp_path, f"i/a.jpg m/a.png\n{tmp_path}/i/b.jpg\ns.tif#12\n"), tmp_path)
    assert samples == (
        Sample("i/a", tmp_path / "i/a.jpg", tmp_path / "m/a.png"),
        Sample("i/b", tmp_path / "i/b.jpg"),
        Sample("s/0012", ImageFile(tmp_path / "s.tif", 12)),
    )


def test_images_listed_twice(tmp_path):
    touch(tmp_path, "a.jpg")
    with pytest.raises(UserError, match="'a' twice in '.*list.txt'"):
        samples_from_list(write(tmp_path, "a.jpg\n./a.jpg\n"), tmp_path)


def test_missing_files_are_counted(tmp_path):
    path = write(tmp_path, "\n".join(f"i{n}.jpg m{n}.png" for n in range(4)))
    with pytest.raises(UserError, match="8 missing") as error:
        samples_from_list(path, tmp_path)
    assert "m1.png" in str(error.value) and "m2.png" not in str(error.value)  # i0 m0 i1 m1 i2: five


def test_choice_is_seeded_and_nested():
    small, large = choose_labeled(SAMPLES, 5, seed=3), choose_labeled(SAMPLES, 20, seed=3)
    assert small.labeled == large.labeled[:5]
    assert [s.name for s in large.labeled] == seeded_order([s.name for s in SAMPLES], 3)[:20]
    assert choose_labeled(SAMPLES[::-1], 5, seed=3).labeled == small.labeled
    assert choose_labeled(SAMPLES, 5, seed=4).labeled != small.labeled
    assert {s.name for s in small.labeled} | {s.name for s in small.unlabeled} == {s.name for s in SAMPLES}
    assert len(small.unlabeled) == 35 and all(s.mask is None for s in small.unlabeled)


def test_id_is_the_hash_of_the_sorted_names():
    split = choose_labeled(SAMPLES, 3, seed=0)
    names = "\n".join(sorted(s.name for s in split.labeled))
    assert split.id == hashlib.sha256(names.encode()).hexdigest()[:12]
    assert choose_labeled(SAMPLES, 4, seed=0).id != split.id


def test_every_sample_is_chosen_about_equally_often():
    chosen = [s.name for seed in range(400) for s in choose_labeled(SAMPLES, 10, seed).labeled]
    counts = [chosen.count(s.name) for s in SAMPLES]
    assert min(counts) > 60 and max(counts) < 140  # 100 expected, standard deviation 8.7


@pytest.mark.parametrize("count", [0, -1, 41])
def test_impossible_counts(count):
    with pytest.raises(UserError, match="1 to 40"):
        choose_labeled(SAMPLES, count, seed=0)


def test_samples_without_mask_are_never_labeled():
    bare = Sample("bare", Path("bare.jpg"))
    split = choose_labeled([*SAMPLES, bare], 40, seed=0)
    assert split.unlabeled == (bare,)
    with pytest.raises(UserError, match="'bare' twice"):
        choose_labeled([*SAMPLES, bare, bare], 1, seed=0)


def test_a_public_split_is_read_unchanged(tmp_path):
    touch(tmp_path, "images/a.jpg", "masks/a.png", "images/b.jpg")
    labeled = write(tmp_path, "images/a.jpg masks/a.png\n", "labeled.txt")
    unlabeled = write(tmp_path, "images/b.jpg masks/hidden.png\n", "unlabeled.txt")
    split = split_from_lists(labeled, unlabeled, tmp_path)
    assert split.labeled == (Sample("images/a", tmp_path / "images/a.jpg", tmp_path / "masks/a.png"),)
    assert split.unlabeled == (Sample("images/b", tmp_path / "images/b.jpg"),)
    assert split.id == hashlib.sha256(b"images/a").hexdigest()[:12]
    with pytest.raises(UserError, match="no mask for 'images/b'"):
        split_from_lists(write(tmp_path, "images/b.jpg\n", "labeled.txt"), None, tmp_path)


@pytest.fixture
def cells(tmp_path):
    """Make a data set of gray images with black-and-white masks, and its folder."""
    touch(tmp_path, *(f"{kind}/{name}.png" for kind in ("images", "masks") for name in "abcd"))
    train = tuple(
        Sample(
            name,
            ImageFile(tmp_path / f"images/{name}.png", channels=1),
            MaskFile(tmp_path / f"masks/{name}.png", encoding=TwoValues(0, 255)),
        )
        for name in "abc"
    )
    val = (Sample("d", ImageFile(tmp_path / "images/d.png", channels=1)),)
    return SegmentationData("cells", train, val, ("no", "yes")), tmp_path


def test_lists_of_a_known_data_set_yield_its_samples(cells):
    dataset, root = cells
    labeled = write(root, "images/b.png masks/b_in_other_coding.png\nimages/a.png\n", "labeled.txt")
    unlabeled = write(root, "images/c.png masks/c.png\n", "unlabeled.txt")
    split = split_from_lists(labeled, unlabeled, root, like=dataset)
    assert split.labeled == (dataset.train[1], dataset.train[0])
    assert split.unlabeled == (replace(dataset.train[2], mask=None),)
    choice = next(choose_labeled(dataset.train, 2, seed) for seed in range(99) if seed_gives(dataset, seed, "ab"))
    assert split.id == choice.id
    (root / "elsewhere").symlink_to(root)
    again = split_from_lists(labeled, unlabeled, root / "elsewhere", like=dataset)
    assert again == split


def seed_gives(dataset, seed, names):
    return {s.name for s in choose_labeled(dataset.train, 2, seed).labeled} == set(names)


def test_other_images_of_a_list_are_read_like_the_data_set(cells):
    dataset, root = cells
    for kind, values in (("images", np.full((2, 3), 9)), ("masks", np.array([[0, 255, 0], [255, 255, 0]]))):
        (root / f"more/{kind}").mkdir(parents=True)
        Image.fromarray(values.astype("uint8")).save(root / f"more/{kind}/x.png")
    (sample,) = samples_from_list(write(root, "more/images/x.png more/masks/x.png\n"), root, like=dataset)
    assert sample.name == "more/images/x" and sample.read_image().shape == (2, 3, 1)
    np.testing.assert_array_equal(sample.read_mask(), [[0, 1, 0], [1, 1, 0]])


def test_masks_of_lists_for_images_without(cells):
    dataset, root = cells
    first, *others = dataset.train
    like = replace(dataset, train=tuple(others), unlabeled=(replace(first, mask=None),))
    labeled = write(root, "images/a.png masks/a.png\n", "labeled.txt")
    assert split_from_lists(labeled, None, root, like=like).labeled == (first,)


def test_the_root_is_the_folder_of_all_training_files_by_default(cells):
    dataset, root = cells
    labeled = write(root, "images/a.png masks/a.png\n", "labeled.txt")
    assert split_from_lists(labeled, None, None, like=dataset).labeled == dataset.train[:1]
    with pytest.raises(UserError, match="Give it as root"):
        split_from_lists(labeled, None, None)


def test_validation_images_are_refused_as_training_images(cells):
    dataset, root = cells
    labeled, other = write(root, "images/a.png masks/a.png\n", "l.txt"), write(root, "images/d.png\n", "u.txt")
    with pytest.raises(UserError, match="d.png', which cells keeps for validation"):
        split_from_lists(labeled, other, root, like=dataset)
    assert split_from_lists(labeled, other, root).unlabeled[0].name == "images/d"

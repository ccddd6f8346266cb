import hashlib
from pathlib import Path

import pytest

from rankmatch_keras.data.samples import Sample
from rankmatch_keras.data.splits import choose_labeled, read_list, samples_from_list, split_from_lists
from rankmatch_keras.errors import UserError

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"

SAMPLES = [Sample(f"n{i:02d}", Path(f"n{i:02d}.jpg"), Path(f"n{i:02d}.png")) for i in range(40)]


def write(tmp_path, text):
    path = tmp_path / "list.txt"
    path.write_text(text)
    return path


def test_read_list(tmp_path):
    path = write(tmp_path, "a.jpg a.png\n\n  b.jpg   b.png  \r\nc.jpg\nmy d.jpg\tmy d.png\n   \n")
    assert read_list(path) == [
        ("a.jpg", "a.png"),
        ("b.jpg", "b.png"),
        ("c.jpg", None),
        ("my d.jpg", "my d.png"),
    ]


@pytest.mark.parametrize("text, message", [("", "blank"), ("\n \n", "blank"), ("a b c\n", "line 1")])
def test_bad_lists(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        read_list(write(tmp_path, text))


def test_missing_list(tmp_path):
    with pytest.raises(UserError, match="nowhere.txt"):
        read_list(tmp_path / "nowhere.txt")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public lists are not on this machine")
def test_public_lists():
    labeled = read_list(SHARED / "splits/pascal/92/labeled.txt")
    unlabeled = read_list(SHARED / "splits/pascal/92/unlabeled.txt")
    assert (len(labeled), len(labeled) + len(unlabeled)) == (92, 10582)
    with pytest.raises(UserError, match="missing"):
        samples_from_list(SHARED / "splits/pascal/92/labeled.txt", SHARED / "voc2012_subset")


def test_samples_from_list(tmp_path):
    for name in ("i/a.jpg", "m/a.png", "i/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    samples = samples_from_list(write(tmp_path, f"i/a.jpg m/a.png\n{tmp_path}/i/b.jpg\n"), tmp_path)
    assert samples[0] == Sample("i/a", tmp_path / "i/a.jpg", tmp_path / "m/a.png")
    assert samples[1].image == tmp_path / "i/b.jpg" and samples[1].mask is None


@pytest.mark.parametrize("name", ["../a.jpg", "i/../../a.jpg", "/etc/passwd"])
def test_paths_outside_the_root_are_refused(tmp_path, name):
    with pytest.raises(UserError, match="below the data root"):
        samples_from_list(write(tmp_path, name), tmp_path)


def test_missing_files_are_counted(tmp_path):
    path = write(tmp_path, "\n".join(f"i{n}.jpg m{n}.png" for n in range(4)))
    with pytest.raises(UserError, match="8 missing") as error:
        samples_from_list(path, tmp_path)
    assert "m1.png" in str(error.value) and "m2.png" not in str(error.value)  # i0 m0 i1 m1 i2: five


def test_choice_is_seeded_and_nested():
    small, large = choose_labeled(SAMPLES, 5, seed=3), choose_labeled(SAMPLES, 20, seed=3)
    assert small.labeled == large.labeled[:5]
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


def test_samples_without_mask_are_never_labelled():
    bare = Sample("bare", Path("bare.jpg"))
    split = choose_labeled([*SAMPLES, bare], 40, seed=0)
    assert split.unlabeled == (bare,)
    with pytest.raises(UserError, match="'bare' twice"):
        choose_labeled([*SAMPLES, bare, bare], 1, seed=0)


def test_a_public_split_is_read_as_it_is(tmp_path):
    for name in ("images/a.jpg", "masks/a.png", "images/b.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "labeled.txt").write_text("images/a.jpg masks/a.png\n")
    (tmp_path / "unlabeled.txt").write_text("images/b.jpg masks/hidden.png\n")
    split = split_from_lists(tmp_path / "labeled.txt", tmp_path / "unlabeled.txt", tmp_path)
    assert [(s.name, s.mask) for s in split.labeled] == [("images/a", tmp_path / "masks/a.png")]
    assert [(s.name, s.mask) for s in split.unlabeled] == [("images/b", None)]
    assert split.id == hashlib.sha256(b"images/a").hexdigest()[:12]
    with pytest.raises(UserError, match="no mask for 'images/b'"):
        (tmp_path / "labeled.txt").write_text("images/b.jpg\n")
        split_from_lists(tmp_path / "labeled.txt", None, tmp_path)

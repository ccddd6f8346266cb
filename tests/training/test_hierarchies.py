"""`--hierarchy`: files, what is refused before data are read, and what a run does with one."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from rankmatch_keras import data, models
from rankmatch_keras.errors import UserError
from rankmatch_keras.training.configuration import OWN_DATA, read_options
from rankmatch_keras.training.hierarchies import parents_in, read_hierarchy, with_hierarchy
from rankmatch_keras.training.options import Options
from rankmatch_keras.training.yaml_files import LARGEST_FILE

pytestmark = pytest.mark.once

GOOD = "thing: [round, 2]\nround: [on]\nwall: [wall]\n"  # texts, whatever YAML makes of on and 2


def test_a_file_of_groups(tmp_path):
    (tmp_path / "h.yaml").write_text(GOOD)
    assert read_hierarchy(tmp_path / "h.yaml") == {"thing": ("round", "2"), "round": ("on",), "wall": ("wall",)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "`group: .classes.` lines; found nothing in"),
        ("- cat\n", "`group: .classes.` lines; found list in"),
        ("animal: [cat\n", "in YAML; found .*h.yaml, which cannot be read"),
        ("animal: [cat]\nanimal: [dog]\n", "animal is given twice"),
        ("animal: cat\n", "a list of names under every group; found another value of 'animal'.*Write a line `animal"),
        ("animal: {cat: dog}\n", "a list of names under every group"),
        ("animal: [[cat], dog]\n", "a list of names under every group"),
        ("animal: [cat, '']\n", "a list of names under every group"),
        ("animal: &a [*a]\n", "cannot be read .found unconstructable recursive node"),
        ("animal: &a [cat]\nbeast: *a\n", "'cat' in 'animal' and in 'beast'"),
        ("animal:\n", "in every group; found nothing in 'animal'"),
        ("a: [b]\nb: [a]\n", "a circle"),
        ("a: [cat, cat]\n", "'cat' in 'a' and in 'a'"),
        ("!!python/object/apply:os.system ['true']: [a]\n", "list|cannot be read"),
        ("[" * 5000, "cannot be read"),
        ("#" * (LARGEST_FILE + 1), "at most 1 MiB"),
        ("\0", "cannot be read"),
    ],
)
def test_bad_files_are_one_line(text, message, tmp_path):
    (tmp_path / "h.yaml").write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        read_hierarchy(tmp_path / "h.yaml")
    assert "h.yaml" in str(caught.value) and "\n" not in str(caught.value)


PIECES = [
    "a",
    "cat",
    "\n",
    ": ",
    "- ",
    "[",
    "]",
    ", ",
    "{",
    "}",
    "&x ",
    "*x",
    "!!",
    "'",
    '"',
    "#",
    "<<",
    "? ",
    "|",
    "  ",
]
PIECES += ["\t", "\0", "\udcff", "a: [cat]\n", "b: [a, dog]\n"]


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.sampled_from(PIECES), max_size=14).map("".join))
def test_any_text_is_a_hierarchy_or_refused_in_one_line(tmp_path, text):
    (tmp_path / "h.yaml").write_bytes(text.encode("utf-8", "surrogateescape"))
    try:
        assert all(children for children in read_hierarchy(tmp_path / "h.yaml").values())
    except UserError as error:
        assert "h.yaml" in str(error) and "\n" not in str(error)


LOGICDIAG = {"method": "logicdiag", "images": "nowhere", "masks": "nowhere"}


def test_what_is_refused_before_data_are_read(tmp_path):
    (tmp_path / "h.yaml").write_text(GOOD)
    missing = "a hierarchy of the classes for --method logicdiag; found none. Write a line `animal: .cat, dog.`"
    with pytest.raises(UserError, match=missing):
        read_options(OWN_DATA, LOGICDIAG)
    with pytest.raises(UserError, match=missing):
        read_options({}, {"method": "logicdiag", "dataset": "Lucchi", "data": "nowhere"})
    with pytest.raises(UserError, match=r"nowhere.yaml, which cannot be read"):
        read_options(OWN_DATA, {**LOGICDIAG, "hierarchy": "nowhere.yaml"})
    with pytest.raises(UserError, match="names of classes and groups; found 'wall' in .*Take one of a, b, thing"):
        read_options(OWN_DATA, {**LOGICDIAG, "hierarchy": tmp_path / "h.yaml", "classes": "a,b"})
    # What fits, or cannot be known yet.
    for values in ({"classes": "wall,2,on"}, {"classes": "3"}, {}):
        read_options(OWN_DATA, {**LOGICDIAG, "hierarchy": tmp_path / "h.yaml", **values})
    for values in ({"dataset": "PascalVOC"}, {"dataset": "Cityscapes"}, {}):
        read_options({}, {"method": "logicdiag", **values})
    # A comparison gives it to every method.
    assert read_options(OWN_DATA, {"method": "supervised", "hierarchy": tmp_path / "h.yaml"}).hierarchy is not None
    assert read_options({}, {"method": "logicdiag", "set": (f"hierarchy={tmp_path}/h.yaml",)}).set == ()


def test_the_hierarchy_of_options_wins_over_that_of_the_data(tmp_path):
    (tmp_path / "h.yaml").write_text("b: [one, two]\n")
    dataset = data.SegmentationData("d", (), (), ("one", "two"), hierarchy={"a": ("one", "two")})
    assert with_hierarchy(dataset, Options(method="logicdiag")) is dataset
    found = with_hierarchy(dataset, Options(method="logicdiag", hierarchy=tmp_path / "h.yaml"))
    assert found.hierarchy == {"b": ("one", "two")}
    bare = data.SegmentationData("d", (), (), ("one", "two"))
    assert with_hierarchy(bare, Options(method="rankmatch")) is bare
    with pytest.raises(UserError, match="for --method logicdiag; found none for the classes one, two. Write"):
        with_hierarchy(bare, Options(method="logicdiag"))


def test_that_of_the_sample_scenes_fits_them(checkout):
    scenes = data.SampleScenes(checkout / "data/sample")
    options = Options(method="logicdiag", hierarchy=checkout / "data/sample/hierarchy.yaml")
    assert parents_in(with_hierarchy(scenes, options)) == (-1, 6, 7, 7, 6, -1, 5, 5)


@pytest.fixture
def flags(tmp_path):
    """Writes images and masks of three classes; returns the flags that name them."""
    rng = np.random.default_rng(0)
    for folder in ("images", "masks", "unlabeled"):
        (tmp_path / folder).mkdir()
    for number in range(6):
        mask = rng.integers(0, 3, (5, 6)).repeat(8, 0).repeat(8, 1).astype("uint8")
        image = Image.fromarray((80 * mask + rng.integers(0, 40, mask.shape)).astype("uint8"))
        image.save(tmp_path / ("images" if number < 3 else "unlabeled") / f"{number}.png")
        if number < 3:
            Image.fromarray(mask).save(tmp_path / f"masks/{number}.png")
    places = [text for name in ("images", "masks", "unlabeled") for text in (f"--{name}", tmp_path / name)]
    return [*places, "--classes", "wall,stone,tile", "--smoke", "--crop", 33, "--method", "logicdiag"]


def test_train_evaluate_and_predict(flags, tmp_path, rankmatch):
    run, file = tmp_path / "run", tmp_path / "h.yaml"
    code, _, err = rankmatch("train", *flags, "--out", run)
    assert code == 2 and "a hierarchy of the classes" in err and "Traceback" not in err and not run.exists()
    file.write_text("thing: [stone, til]\nwall: [wall]\n")
    code, _, err = rankmatch("train", *flags, "--hierarchy", file, "--out", run)
    assert code == 2 and "Did you mean tile?" in err and len(err.splitlines()) == 1 and not run.exists()

    file.write_text("thing: [stone, tile]\nwall: [wall]\n")
    code, out, err = rankmatch("train", *flags, "--hierarchy", file, "--out", run)
    assert code == 0, err
    config = json.loads((run / "config.json").read_text())
    assert config["data"]["hierarchy"] == {"thing": ["stone", "tile"], "wall": ["wall"]}
    model = models.load_predictor(run / "last.keras")
    assert model.output_shape[-1] == 3 and model.get_layer("path_scores").parents == (-1, 3, 3, -1)
    code, out, err = rankmatch("evaluate", run)
    assert code == 0, err
    code, out, err = rankmatch("predict", run, "--images", flags[5], "--out", tmp_path / "seen")
    assert code == 0 and len([*(tmp_path / "seen/masks").iterdir()]) == 3, err

    file.write_text("thing: [stone, wall]\ntile: [tile]\n")
    code, out, err = rankmatch("train", *flags, "--hierarchy", file, "--out", run, "--resume")
    assert code == 2 and "hierarchy was {'thing': ['stone', 'tile']" in err and "Traceback" not in err

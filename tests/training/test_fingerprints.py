"""A run sees the images that it began with, or says what changed."""

import numpy as np
import pytest
from PIL import Image

from rankmatch_keras.data.masks.objects import ObjectMask
from rankmatch_keras.data.readers.sources import Array, ImageFile
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.errors import UserError
from rankmatch_keras.training.fingerprints import fingerprints, require_same, write

pytestmark = pytest.mark.once


@pytest.fixture
def parts(tmp_path):
    """Four labeled images on disk, and an array."""
    for name in "abcd":
        for kind in ("images", "masks"):
            (tmp_path / kind).mkdir(exist_ok=True)
            value = np.full((8, 8), ord(name) if kind == "images" else 1, np.uint8)
            Image.fromarray(value).save(tmp_path / f"{kind}/{name}.png")
    labeled = [Sample(name, tmp_path / f"images/{name}.png", tmp_path / f"masks/{name}.png") for name in "abcd"]
    return {"labeled": labeled, "validation": [Sample("e", Array(np.zeros((8, 8, 1), np.uint8), "e"))]}


def test_the_same_images_are_taken_wherever_they_are_touched(parts, tmp_path):
    table = tmp_path / "images.csv"
    require_same(table, fingerprints(parts))  # an older run has none
    write(table, fingerprints(parts))
    (tmp_path / "images/a.png").touch()
    require_same(table, fingerprints(parts))


def test_what_changed_is_named(parts, tmp_path):
    table = tmp_path / "images.csv"
    write(table, fingerprints(parts))
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "masks/b.png")
    with pytest.raises(UserError, match=r"found 1 changed: labeled b \(by .*images.csv\). Resume with the same files"):
        require_same(table, fingerprints(parts))
    with pytest.raises(UserError, match="1 new: validation a; 4 missing: labeled a, labeled b, labeled c, ..."):
        require_same(table, fingerprints({"labeled": [], "validation": [*parts["validation"], parts["labeled"][0]]}))


def test_all_objects_of_an_image_and_all_neighbors_of_a_slice_count(parts, tmp_path):
    masks = [tmp_path / f"masks/{name}.png" for name in "abc"]
    slices = tuple((tmp_path / f"images/{name}.png", None) for name in "abb")

    def now(count=2):
        sample = Sample("s", ImageFile(slices[1][0], slices=slices), ObjectMask(masks[0].parent, tuple(masks[:count])))
        (value,) = fingerprints({"labeled": [sample]}).values()
        return value

    found = [now(), now(3)]
    for changed in (masks[1], slices[0][0]):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(changed)
        found.append(now())
    assert len({*found}) == 4
    assert found[-1] == now()


def test_the_begin_the_end_and_the_size_of_a_large_file_count(tmp_path):
    def of(content):
        (tmp_path / "a.tif").write_bytes(content)
        return fingerprints({"labeled": [Sample("a", tmp_path / "a.tif")]})[("labeled", "a")]

    content = bytes(300_000)
    assert of(content) == of(content)
    assert len({of(content), of(b"1" + content[1:]), of(content[1:] + b"1"), of(content[1:]), of(b"")}) == 5


@pytest.mark.parametrize("content", [b"", b"[]", b"part,name\n", b"part,name,files\na\n", b"\xff"])
def test_a_damaged_table_is_named(content, tmp_path):
    (tmp_path / "images.csv").write_bytes(content)
    with pytest.raises(UserError, match="images.csv"):
        require_same(tmp_path / "images.csv", {})

import numpy as np
import pytest
from PIL import Image

from rankmatch_keras import data
from rankmatch_keras.data.masks.mask_sets import unused_masks
from rankmatch_keras.errors import UserError

pytestmark = pytest.mark.once

CELLS = (
    [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
    [[0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]],
    [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]],
)
RANDOM = {"one": ["9f3a", "77c0", "b2e8"], "two": ["04dd", "fe1b", "77c0"]}
UNION = [[1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]


def save(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def folders(tmp_path, layout, names=None):
    """Write two images and the objects of each; return the folders of images and masks."""
    for image in ("one", "two"):
        objects = dict(zip(names or RANDOM[image], CELLS, strict=True))
        if layout == "beside":
            save(tmp_path / f"set/{image}/images/{image}.png", np.zeros((3, 4, 3)))
            places = {f"set/{image}/masks/{image}{name}.png": cell for name, cell in objects.items()}
        else:
            save(tmp_path / f"images/{image}.jpg", np.zeros((3, 4, 3)))
            places = {f"masks/{image}/{name}.png": cell for name, cell in objects.items()}
        for place, cell in places.items():
            save(tmp_path / place, np.asarray(cell) * 255)
    return (tmp_path / "set", tmp_path / "set") if layout == "beside" else (tmp_path / "images", tmp_path / "masks")


@pytest.mark.parametrize("layout", ["beside", "below"])
@pytest.mark.parametrize("names", [None, ["1", "2", "3"], ["0a", "0b", "0c"], ["mask_1", "mask_2", "mask_10"]])
def test_union_of_objects(layout, names, tmp_path):
    images, masks = folders(tmp_path, layout, names)
    found = data.ImageFolder(images, masks)
    assert found.class_names == ("background", "foreground")
    assert [sample.name for sample in found.train] == (
        ["one/images/one", "two/images/two"] if layout == "beside" else ["one", "two"]
    )
    for sample in found.train:
        np.testing.assert_array_equal(sample.read_mask(), UNION)
    assert "one file per object" in found.notes[0] and str(found.train[0].mask).endswith("(3 objects)")
    assert data.ImageFolder(images, masks, classes=["resin", "nucleus"]).class_names[1] == "nucleus"
    assert unused_masks(images, masks) == []
    with pytest.raises(UserError, match="3 classes; found 2"):
        data.ImageFolder(images, masks, classes=3)


def test_files_of_classes_are_no_objects(tmp_path):
    images, masks = folders(tmp_path, "below", ["road", "car_1", "car_2"])
    with pytest.raises(UserError, match="'car' and 'road' in several folders of '.*masks', which look like classes"):
        data.ImageFolder(images, masks)


def test_faults(tmp_path):
    images, masks = folders(tmp_path, "below")
    save(masks / "two/fe1b.png", np.zeros((3, 5)))
    with pytest.raises(
        UserError, match=r"objects of one size, 4 x 3 as .*04dd.png'; found 5 x 3 in .*fe1b\.png"
    ) as error:
        data.ImageFolder(images, masks).train[1].read_mask()
    assert "\n" not in str(error.value)
    save(images / "three.jpg", np.zeros((3, 4, 3)))
    with pytest.raises(UserError, match=r"no mask 'three\.\*'"):
        data.ImageFolder(images, masks)
    assert data.ImageFolder(images, masks, strict=False).train[1].mask is None
    (masks / "two/04dd.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"04dd\.png"):
        data.ImageFolder(images, masks, strict=False).train[2].read_mask()


def test_one_mask_per_image_in_its_folder_is_no_object(tmp_path):
    """Class ids in `masks/NAME/mask.png` must not become one class."""
    for image in ("one", "two"):
        save(tmp_path / f"images/{image}.jpg", np.zeros((3, 4, 3)))
        save(tmp_path / f"masks/{image}/mask.png", [[0, 1, 2, 3]] * 3)
    with pytest.raises(UserError, match="no mask 'one"):
        data.ImageFolder(tmp_path / "images", tmp_path / "masks")

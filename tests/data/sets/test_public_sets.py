"""Public data sets, on the real files if they are on this machine and on small trees in their layouts."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from rankmatch_keras import data
from rankmatch_keras.data.sets import photographs
from rankmatch_keras.errors import UserError

CHECKOUT = Path(__file__).resolve().parents[3]
SHARED = CHECKOUT.parent / "shared" / "data"
LISTS = SHARED / "splits"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data sets are not on this machine")


def save(path, values=0, size=(6, 8)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.broadcast_to(np.asarray(values, np.uint8), size).copy()).save(path)


def write_list(path, *lines):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines))


def touch(root, names):
    for folder in {name.rpartition("/")[0] for name in names}:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / name).touch()


def names(samples):
    return [sample.name for sample in samples]


def values(sample):
    return np.unique(sample.read_mask()).tolist()


class TestReal:
    @needs_shared
    def test_camvid(self):
        camvid = data.CamVid(SHARED / "camvid")
        assert (len(camvid.train), len(camvid.val), len(camvid.test)) == (367, 101, 233)
        assert camvid.num_classes == 11 and camvid.class_names[8] == "car" and len(camvid.palette) == 11
        assert all(s.image.path.stem == s.mask.path.stem == s.name for s in camvid.train)
        assert set(values(camvid.train[0])) <= {*range(11), 255}
        assert data.choose_labeled(camvid.train, 23, seed=0).id == "e7559c496bcf"  # as in docs/results.md

    @needs_shared
    def test_lucchi(self):
        lucchi = data.Lucchi(SHARED / "lucchi")
        assert (len(lucchi.train), len(lucchi.val)) == (165, 83)
        assert lucchi.class_names == ("background", "mitochondrion")
        assert lucchi.train[0].read_image().shape == (768, 1024, 1)
        assert values(lucchi.train[0]) == [0, 1]
        assert data.choose_labeled(lucchi.train, 10, seed=0).id == "9dc7114994a2"  # as in docs/results.md

    @needs_shared
    def test_pascal_voc(self):
        voc = data.PascalVOC(SHARED / "voc2012_subset")
        assert (len(voc.train), len(voc.val), voc.num_classes) == (311, 321, 21)
        assert not set(names(voc.train)) & set(names(voc.val))
        assert set().union(*(values(s) for s in voc.train[:20])) <= {*range(21), 255}


class TestPascalVOC:
    @pytest.fixture
    def root(self, tmp_path):
        """5 images; VOC's own masks of the first 3 hold 1, the augmented ones hold 2."""
        for name in "abcde":
            save(tmp_path / f"JPEGImages/{name}.jpg")
        for name in "abc":
            save(tmp_path / f"SegmentationClass/{name}.png", 1)
        write_list(tmp_path / "ImageSets/Segmentation/train.txt", "a", "b")
        write_list(tmp_path / "ImageSets/Segmentation/val.txt", "c")
        return tmp_path

    def augment(self, root):
        for name in "abcde":
            save(root / f"SegmentationClassAug/{name}.png", 2)

    def test_own_masks(self, root):
        voc = data.PascalVOC(root)
        assert names(voc.train) == ["JPEGImages/a", "JPEGImages/b"] and names(voc.val) == ["JPEGImages/c"]
        assert values(voc.train[0]) == [1]
        assert str(voc.protocol) == "whole"

    def test_augmented_masks_are_taken_where_they_are(self, root):
        self.augment(root)
        voc = data.PascalVOC(root)
        assert names(voc.train) == [f"JPEGImages/{name}" for name in "abde"] and names(voc.val) == ["JPEGImages/c"]
        assert values(voc.train[0]) == values(voc.val[0]) == [2]
        own = data.PascalVOC(root, masks="SegmentationClass")
        assert names(own.train) == ["JPEGImages/a", "JPEGImages/b"] and values(own.train[0]) == [1]

    @pytest.mark.parametrize("line", ["{}", "/JPEGImages/{}.jpg /SegmentationClassAug/{}.png"])
    def test_list_of_the_augmented_set(self, root, line):
        self.augment(root)
        write_list(root / "ImageSets/Segmentation/trainaug.txt", *(line.format(name, name) for name in "bd"))
        assert names(data.PascalVOC(root).train) == ["JPEGImages/b", "JPEGImages/d"]
        assert names(data.PascalVOC(root, train="train").train) == ["JPEGImages/a", "JPEGImages/b"]

    def test_names_are_those_of_the_public_lists(self, root):
        write_list(root / "labeled.txt", "JPEGImages/a.jpg SegmentationClass/a.png")
        voc = data.PascalVOC(root)
        assert data.samples_from_list(root / "labeled.txt", root) == voc.train[:1]

    def test_missing_files_are_counted(self, root):
        write_list(root / "ImageSets/Segmentation/train.txt", "a", *(f"no{i}" for i in range(4)))
        with pytest.raises(
            UserError, match=r"train\.txt.*8 missing: .*no0\.jpg.*no0\.png.*no2\.jpg.*, \.\.\."
        ) as error:
            data.PascalVOC(root)
        assert str(error.value).count(str(root / "JPEGImages")) == 3 and "no2.png" not in str(error.value)

    def test_missing_list_and_wrong_masks(self, root):
        with pytest.raises(UserError, match=r"trainval\.txt"):
            data.PascalVOC(root, train="trainval")
        with pytest.raises(UserError, match="'auto', 'SegmentationClass' or 'SegmentationClassAug'"):
            data.PascalVOC(root, masks="SegmentationObject")
        with pytest.raises(UserError, match="no folder SegmentationClassAug"):
            data.PascalVOC(root, masks="SegmentationClassAug")

    def test_palette(self):
        # aeroplane, bicycle, bus, person and tvmonitor, as the development kit's color map has them.
        chosen = {1: (128, 0, 0), 2: (0, 128, 0), 6: (0, 128, 128), 15: (192, 128, 128), 20: (0, 64, 128)}
        assert {i: photographs.VOC_PALETTE[i] for i in chosen} == chosen
        assert len(set(photographs.VOC_PALETTE)) == 21


class TestCityscapes:
    # Train id of the label ids 0, 1, ..., 33, as in the table of the Cityscapes scripts.
    TRAIN_IDS = [
        *[255] * 7, 0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15,
        255, 255, 16, 17, 18,
    ]  # fmt: skip

    def write(self, root, ending="labelIds"):
        for part, city, frame in (
            ("train", "aachen", 0),
            ("train", "aachen", 1),
            ("train", "ulm", 0),
            ("val", "bonn", 7),
        ):
            stem = f"{part}/{city}/{city}_000000_{frame:06d}"
            save(root / f"leftImg8bit/{stem}_leftImg8bit.png", np.zeros((2, 17, 3)), (2, 17, 3))
            save(root / f"gtFine/{stem}_gtFine_{ending}.png", np.arange(34).reshape(2, 17), (2, 17))
            save(root / f"gtFine/{stem}_gtFine_instanceIds.png", 0, (2, 17))
        return root

    def test_label_ids(self, tmp_path):
        cityscapes = data.Cityscapes(self.write(tmp_path))
        assert names(cityscapes.train) == [
            f"leftImg8bit/train/{frame}_leftImg8bit"
            for frame in ("aachen/aachen_000000_000000", "aachen/aachen_000000_000001", "ulm/ulm_000000_000000")
        ]
        assert len(cityscapes.val) == 1 and cityscapes.test == ()
        assert cityscapes.train[0].read_mask().ravel().tolist() == self.TRAIN_IDS
        assert cityscapes.train[0].read_image().shape == (2, 17, 3)

    def test_classes_and_protocol(self, tmp_path):
        cityscapes = data.Cityscapes(self.write(tmp_path))
        assert cityscapes.num_classes == len(cityscapes.palette) == 19
        assert [cityscapes.class_names[i] for i in (0, 10, 13, 18)] == ["road", "sky", "car", "bicycle"]
        assert cityscapes.palette[13] == (0, 0, 142)
        assert str(cityscapes.protocol) == "sliding_window, crop 801, border clip"

    def test_train_ids_are_taken_as_they_are(self, tmp_path):
        root = self.write(tmp_path)
        for path in sorted((root / "gtFine").rglob("*labelIds.png")):
            save(path.with_name(path.name.replace("labelIds", "labelTrainIds")), 18, (2, 17))
        cityscapes = data.Cityscapes(root)
        assert values(cityscapes.train[0]) == [18]
        (root / "gtFine/train/ulm/ulm_000000_000000_gtFine_labelTrainIds.png").unlink()
        half_made = data.Cityscapes(root)
        assert half_made.train[2].read_mask().ravel().tolist() == self.TRAIN_IDS and values(half_made.val[0]) == [18]

    def test_list_of_train_ids_with_label_ids(self, tmp_path):
        root = self.write(tmp_path)
        stem = "train/ulm/ulm_000000_000000"
        write_list(root / "l.txt", f"leftImg8bit/{stem}_leftImg8bit.png gtFine/{stem}_gtFine_labelTrainIds.png")
        cityscapes = data.Cityscapes(root)
        split = data.split_from_lists(root / "l.txt", None, root, like=cityscapes)
        assert split.labeled == cityscapes.train[2:]

    def test_missing_masks_are_counted(self, tmp_path):
        root = self.write(tmp_path)
        (root / "gtFine/train/ulm/ulm_000000_000000_gtFine_labelIds.png").unlink()
        with pytest.raises(UserError, match="1 missing: .*ulm_000000_000000_gtFine_labelIds.png"):
            data.Cityscapes(root)

    def test_no_images(self, tmp_path):
        for folder in ("leftImg8bit/train", "leftImg8bit/val", "gtFine/train", "gtFine/val"):
            (tmp_path / folder).mkdir(parents=True)
        with pytest.raises(UserError, match=r"<city>/\*_leftImg8bit.png; found none in .*leftImg8bit.train"):
            data.Cityscapes(tmp_path)


class TestLucchi:
    def write_stacks(self, root, foreground=255, pages=(5, 4)):
        for stem, count in zip(("training", "testing"), pages, strict=True):
            stack = np.arange(count, dtype=np.uint8)[:, None, None] * np.ones((1, 6, 8), np.uint8)
            tifffile.imwrite(root / f"{stem}.tif", stack, photometric="minisblack")
            tifffile.imwrite(
                root / f"{stem}_groundtruth.tif", (stack % 2) * np.uint8(foreground), photometric="minisblack"
            )
        return root

    @pytest.mark.parametrize("foreground", [1, 255])
    def test_stacks(self, tmp_path, foreground):
        lucchi = data.Lucchi(self.write_stacks(tmp_path, foreground))
        assert names(lucchi.train) == ["train_001", "train_002", "train_003", "train_004", "train_005"]
        assert names(lucchi.val) == ["test_001", "test_002", "test_003", "test_004"]
        for page, sample in enumerate(lucchi.train):
            image = sample.read_image()
            assert image.shape == (6, 8, 1) and image.dtype == np.uint8 and (image == page).all()
            assert values(sample) == [page % 2]

    def test_every_slice(self, tmp_path):
        root = self.write_stacks(tmp_path)
        assert names(data.Lucchi(root, every=2).train) == ["train_001", "train_003", "train_005"]
        thinned = data.Lucchi(root, test_every=3)
        assert len(thinned.train) == 5 and names(thinned.val) == ["test_001", "test_004"]
        with pytest.raises(UserError, match="every 0"):
            data.Lucchi(root, every=0)

    def test_files_and_stacks_have_the_same_names(self, tmp_path):
        stacks = data.Lucchi(self.write_stacks(tmp_path))
        for sample in [*stacks.train, *stacks.val]:
            part = sample.name.partition("_")[0]
            save(tmp_path / f"files/images/{part}/{sample.name}.jpg", sample.read_image()[..., 0])
            save(tmp_path / f"files/masks/{part}/{sample.name}.png", 255 * sample.read_mask())
        files = data.Lucchi(tmp_path / "files")
        assert (names(files.train), names(files.val)) == (names(stacks.train), names(stacks.val))
        assert [values(s) for s in files.train] == [values(s) for s in stacks.train]
        assert files.train[0].read_image().shape == (6, 8, 1)

    def test_missing_stack_and_other_length(self, tmp_path):
        root = self.write_stacks(tmp_path)
        tifffile.imwrite(root / "testing_groundtruth.tif", np.zeros((3, 6, 8), np.uint8), photometric="minisblack")
        with pytest.raises(UserError, match="4 pages in .*testing.tif', 3 in"):
            data.Lucchi(root)
        (root / "testing_groundtruth.tif").unlink()
        with pytest.raises(UserError, match="1 missing: .*testing_groundtruth.tif"):
            data.Lucchi(root)

    def test_other_values_are_refused(self, tmp_path):
        lucchi = data.Lucchi(self.write_stacks(tmp_path, foreground=7))
        with pytest.raises(UserError, match="7"):
            lucchi.train[1].read_mask()


class TestCamVid:
    @pytest.mark.parametrize("layout", [("images/{}", "masks/{}"), ("{}", "{}annot")])
    def test_layouts(self, tmp_path, layout):
        images, masks = layout
        for part, name in (("train", "b"), ("train", "a"), ("val", "c"), ("test", "d")):
            save(tmp_path / images.format(part) / f"{name}.png", np.zeros((1, 13, 3)), (1, 13, 3))
            save(tmp_path / masks.format(part) / f"{name}.png", [[*range(12), 255]], (1, 13))
        camvid = data.CamVid(tmp_path)
        assert [names(part) for part in (camvid.train, camvid.val, camvid.test)] == [["a", "b"], ["c"], ["d"]]
        assert camvid.train[0].read_mask().tolist() == [[*range(11), 255, 255]]

    def test_masks_that_are_missing_are_counted(self, tmp_path):
        for name in ("train/a", "train/b", "train/c", "val/a", "test/a"):
            save(tmp_path / f"images/{name}.jpg")
        for name in ("train/a", "val/a", "test/a"):
            save(tmp_path / f"masks/{name}.png")
        with pytest.raises(UserError, match=r"2 missing: '.*train.b.png', '.*train.c.png'"):
            data.CamVid(tmp_path)


def test_ade20k(tmp_path):
    for part, stem in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        save(tmp_path / f"images/{part}/{stem}.jpg", 0, (1, 151))
        save(tmp_path / f"annotations/{part}/{stem}.png", np.arange(151)[None], (1, 151))
    ade20k = data.ADE20K(tmp_path)
    assert names(ade20k.train) == ["images/training/ADE_train_00000001"]
    assert names(ade20k.val) == ["images/validation/ADE_val_00000001"]
    assert ade20k.train[0].read_mask().tolist() == [[255, *range(150)]]
    # Numbers in objectInfo150.txt, which count from 1.
    numbers = {1: "wall", 13: "person", 21: "car", 90: "television", 116: "bag", 150: "flag"}
    assert {i: ade20k.class_names[i - 1] for i in numbers} == numbers
    assert ade20k.num_classes == len(set(ade20k.class_names)) == 150
    save(tmp_path / "annotations/training/ADE_train_00000001.png", 151, (1, 151))
    with pytest.raises(UserError, match="151"):
        ade20k.train[0].read_mask()


@pytest.mark.parametrize(("images", "masks"), [("images/", "stuffthingmaps/"), ("", "annotations/")])
def test_coco_stuff(tmp_path, images, masks):
    # Numbers in labels.txt of COCO-Stuff, which count from 1; masks hold them less 1.
    labels = {1: "person", 11: "fire hydrant", 13: "stop sign", 90: "toothbrush", 92: "banner", 182: "wood"}
    for part in ("train2017", "val2017"):
        save(tmp_path / f"{images}{part}/000000000009.jpg", 0, (1, 7))
        save(tmp_path / f"{masks}{part}/000000000009.png", [[*(i - 1 for i in labels), 255]], (1, 7))
    coco = data.COCOStuff(tmp_path)
    assert names(coco.train) == ["train2017/000000000009"] and names(coco.val) == ["val2017/000000000009"]
    ids = coco.train[0].read_mask()[0].tolist()
    assert [coco.class_names[i] for i in ids[:-1]] == list(labels.values()) and ids[-1] == 255
    assert ids[3:6] == [79, 80, 170] and coco.num_classes == len(set(coco.class_names)) == 171
    save(tmp_path / f"{masks}train2017/000000000009.png", 11, (1, 7))  # street sign, never annotated
    with pytest.raises(UserError, match="11"):
        coco.train[0].read_mask()


def test_sample_scenes():
    scenes = data.SampleScenes(CHECKOUT / "data/sample")
    assert (len(scenes.train), len(scenes.val), scenes.num_classes) == (128, 40, 5)
    assert set().union(*(values(s) for s in scenes.train[:20])) == {0, 1, 2, 3, 4}


LOADERS = ["PascalVOC", "Cityscapes", "Lucchi", "CamVid", "ADE20K", "COCOStuff", "SampleScenes"]


@pytest.mark.parametrize("loader", LOADERS)
def test_missing_folders_are_named(loader, tmp_path):
    with pytest.raises(UserError, match=rf"the layout of .*; found no folder \w+.* in '{tmp_path}'\. \w+ "):
        getattr(data, loader)(tmp_path)


PUBLIC = {
    "pascal/92": (92, 10490),
    "pascal/183": (183, 10399),
    "pascal/366": (366, 10216),
    "pascal/732": (732, 9850),
    "pascal/1464": (1464, 9118),
    "pascal/u2pl_1_16": (662, 9920),
    "pascal/u2pl_1_8": (1323, 9259),
    "pascal/u2pl_1_4": (2646, 7936),
    "cityscapes/1_16": (186, 2789),
    "cityscapes/1_8": (372, 2603),
    "cityscapes/1_4": (744, 2231),
    "cityscapes/1_2": (1488, 1487),
}


@needs_shared
@pytest.mark.parametrize("folder", PUBLIC)
def test_public_lists(folder, tmp_path):
    labeled, unlabeled = LISTS / folder / "labeled.txt", LISTS / folder / "unlabeled.txt"
    pairs = data.read_list(labeled)
    assert (len(pairs), len(data.read_list(unlabeled))) == PUBLIC[folder]
    for name in pairs[0]:
        save(tmp_path / name)
    # The image and the mask of every line but the first are missing; the first five are named.
    first = ".*".join(f"'[^']*{name}'" for pair in pairs[1:3] for name in pair)
    with pytest.raises(UserError, match=rf"{2 * len(pairs) - 2} missing: {first}") as error:
        data.split_from_lists(labeled, unlabeled, tmp_path)
    assert pairs[3][0] in str(error.value) and pairs[3][1] not in str(error.value)


@needs_shared
def test_public_split_of_the_augmented_pascal_set(tmp_path):
    folder = LISTS / "pascal/92"
    train = [Path(image).stem for image, _ in data.read_list(LISTS / "pascal/train_aug.txt")]
    val = [Path(image).stem for image, _ in data.read_list(LISTS / "pascal/val.txt")]
    assert (len(train), len(val)) == (10582, 1449)
    # The 92 and some of the others: 24,000 files would take longer to make than everything else here.
    pairs = data.read_list(folder / "labeled.txt")
    others = [image for image, _ in data.read_list(folder / "unlabeled.txt")[:300]]
    names_here = [Path(image).stem for image in [image for image, _ in pairs] + others + val[:50]]
    assert set(names_here) <= {*train, *val}
    touch(tmp_path, [f"JPEGImages/{name}.jpg" for name in names_here])
    touch(tmp_path, [f"SegmentationClassAug/{name}.png" for name in names_here])
    write_list(tmp_path / "ImageSets/Segmentation/val.txt", *val[:50])
    write_list(tmp_path / "unlabeled.txt", *others)
    voc = data.PascalVOC(tmp_path)
    assert (len(voc.train), len(voc.val)) == (392, 50)
    split = data.split_from_lists(folder / "labeled.txt", tmp_path / "unlabeled.txt", tmp_path, like=voc)
    assert (len(split.labeled), len(split.unlabeled)) == (92, 300)
    assert {s.mask.path.parent.name for s in split.labeled} == {"SegmentationClassAug"}
    assert {*names(split.labeled), *names(split.unlabeled)} == set(names(voc.train))


@needs_shared
def test_public_split_of_cityscapes(tmp_path):
    folder = LISTS / "cityscapes/1_16"
    pairs = [p for file in ("labeled", "unlabeled") for p in data.read_list(folder / f"{file}.txt")]
    pairs += data.read_list(LISTS / "cityscapes/val.txt")
    touch(tmp_path, [image for image, _ in pairs])
    touch(tmp_path, [mask.replace("labelTrainIds", "labelIds") for _, mask in pairs])
    cityscapes = data.Cityscapes(tmp_path)
    assert (len(cityscapes.train), len(cityscapes.val)) == (2975, 500)
    split = data.split_from_lists(folder / "labeled.txt", folder / "unlabeled.txt", tmp_path, like=cityscapes)
    assert (len(split.labeled), len(split.unlabeled)) == (186, 2789)
    assert {*names(split.labeled), *names(split.unlabeled)} == set(names(cityscapes.train))


@pytest.mark.parametrize("loader", LOADERS[:-1])
def test_every_set_has_its_page(loader):
    index = (CHECKOUT / "data/README.md").read_text()
    row = next(line for line in index.splitlines() if f"`data.{loader}`" in line)
    page = row.partition("](")[2].partition(")")[0]
    assert f'data.{loader}("' in (CHECKOUT / "data" / page).read_text()
    assert f"rankmatch check --dataset {loader} --data" in (CHECKOUT / "data" / page).read_text()

"""Small good files of each kind that the program reads, how to read them, and ways to damage their bytes."""

import functools
import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image

HEIGHT, WIDTH = 24, 32
SQUARE = np.zeros((HEIGHT, WIDTH), np.uint8)
SQUARE[5:15, 8:20] = 1


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        suffix: how its name ends.
        make: writes a good one of a random generator's choice to a path.
        read: reads one, as the program does, and returns what it holds as bytes, arrays or plain data.
        checked: whether the format has checksums over all that matters, so that damage can be told from content.
    """

    suffix: str
    make: Callable[[Path, np.random.Generator], None]
    read: Callable[[Path], object]
    checked: bool = False


def digest(value) -> str:
    """Return a short hash of arrays, or of data that JSON can hold."""
    hashed = hashlib.sha256()
    for part in value if isinstance(value, list | tuple) else [value]:
        if isinstance(part, np.ndarray):
            hashed.update(f"{part.dtype} {part.shape}".encode() + np.ascontiguousarray(part).tobytes())
        else:
            hashed.update(json.dumps(part, sort_keys=True, default=str).encode("utf-8", "surrogatepass"))
    return hashed.hexdigest()[:16]


def _photo(rng, dtype=np.uint8, channels=3):
    return rng.integers(0, np.iinfo(dtype).max, (HEIGHT, WIDTH, channels), dtype=dtype, endpoint=True)


def _picture(**options):
    def make(path, rng):
        Image.fromarray(_photo(rng)).save(path, **options)

    return make


def _tiff(dtype=np.uint8, **options):
    def make(path, rng):
        tifffile.imwrite(path, _photo(rng, dtype), photometric="rgb", **options)

    return make


def _palette_mask(path, rng):
    mask = Image.fromarray(np.roll(SQUARE, int(rng.integers(4)), 1), "P")
    mask.putpalette([0, 0, 0, 255, 0, 0])
    mask.save(path)


def _coco(path, rng):
    corner = int(rng.integers(5))
    x, y = 8 + corner, 5
    polygon = [x, y, x + 12, y, x + 12, y + 10, x, y + 10]
    table = {
        "images": [{"id": 1, "file_name": "a.png", "height": HEIGHT, "width": WIDTH}],
        "categories": [{"id": 1, "name": "cell"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, "segmentation": [polygon]}],
    }
    path.write_text(json.dumps(table))


def _labelme(path, rng):
    shape = {"label": "cell", "shape_type": "polygon", "points": [[8, 5], [20, 5], [20, 15 - int(rng.integers(4))]]}
    text = {"version": "5.0", "shapes": [shape], "imagePath": "a.png", "imageHeight": HEIGHT, "imageWidth": WIDTH}
    path.write_text(json.dumps(text))


@functools.cache
def small_method():
    """Return the trained thing whose state is saved."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shared"))
    import keras
    from small_network import small_segmenter

    from rankmatch_keras import methods

    method = methods.SupervisedOnly(small_segmenter())
    method.compile(keras.optimizers.SGD(0.01))
    method.optimizer.build(method.trainable_variables)
    return method


def _state(path, rng):
    from rankmatch_keras.training.state import save_state

    method = small_method()
    for variable in method.trainable_variables:
        variable.assign(rng.normal(size=variable.shape))
    save_state(path, method, {"epoch": 3})


def _text(*versions):
    def make(path, rng):
        path.write_text(versions[int(rng.integers(len(versions)))])

    return make


def _read_image(path):
    from rankmatch_keras.data.readers.images import read_image

    return read_image(path)


def _read_mask(path):
    from rankmatch_keras.data.readers.images import read_raw_mask

    return read_raw_mask(path)


def _read_annotations(path):
    """Read masks from an annotation file, for the one image that lies beside it."""
    from rankmatch_keras import data

    images = path.parent / "images"
    if not images.is_dir():
        images.mkdir()
        Image.new("RGB", (WIDTH, HEIGHT)).save(images / "a.png")
    masks = path
    if path.name.startswith("labelme"):
        masks = path.parent / f"{path.stem}-folder"
        masks.mkdir(exist_ok=True)
        (masks / "a.json").write_bytes(path.read_bytes())
    found = data.ImageFolder(images, masks)
    return [found.train[0].read_mask(), list(found.class_names)]


def _read_legend(path):
    from rankmatch_keras.data.masks.legends import read_legend

    return {name: str(entry) for name, entry in read_legend(path).items()}


def _read_list(path):
    from rankmatch_keras.data.sets.lists import read_list

    return read_list(path)


def _read_options(path):
    from rankmatch_keras.training.configuration import read_file, read_options

    return read_options({}, {"out": "runs/x"}, path).as_dict() if read_file(path) else {}


def _read_record(path):
    """Read a run's record, as tables do, from a file of the name that it has in a run."""
    from rankmatch_keras.comparison.records import read_record

    folder = path.parent / path.stem
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(CONFIG)
    (folder / "history.csv").write_text(HISTORY)
    (folder / f"{path.stem.split('-')[0]}{path.suffix}").write_bytes(path.read_bytes())
    record = read_record(folder, "rankmatch", 2, 0)
    return [record.config, [*record.history], str(record.cost)]


def _read_state(path):
    from rankmatch_keras.training.state import load_state

    record = load_state(path, small_method())
    return [record, *(np.asarray(variable.numpy()) for variable in small_method().trainable_variables)]


CONFIG = json.dumps(
    {"options": {"method": "rankmatch", "seed": 0, "steps": 4}, "versions": {"keras": "3"}, "classes": []}
)
COST = json.dumps({"train_seconds": 3.5, "seconds": 5.25, "step_seconds": 0.5, "peak_memory_gb": 1.5})
HISTORY = "epoch,loss,mean_iou\n1,0.5,0.1\n2,0.4,0.2\n"
KINDS = {
    "png": Kind(".png", _picture(), _read_image, checked=True),
    "png-palette": Kind(".png", _palette_mask, _read_mask, checked=True),
    "jpeg": Kind(".jpg", _picture(quality=90), _read_image),
    "jpeg-progressive": Kind(".jpg", _picture(quality=90, progressive=True), _read_image),
    "bmp": Kind(".bmp", _picture(), _read_image),
    "gif": Kind(".gif", _palette_mask, _read_mask),
    "webp": Kind(".webp", _picture(lossless=True), _read_image),
    "tiff": Kind(".tif", _tiff(), _read_image),
    "tiff-16-bit": Kind(".tif", _tiff(np.uint16, byteorder=">"), _read_image),
    "tiff-deflate": Kind(".tif", _tiff(compression="zlib", predictor=True), _read_image),
    "tiff-lzw": Kind(".tif", _tiff(compression="lzw"), _read_image),
    "tiff-tiles": Kind(".tif", _tiff(compression="packbits", tile=(16, 16)), _read_image),
    "coco": Kind(".json", _coco, _read_annotations),
    "labelme": Kind(".json", _labelme, _read_annotations),
    "legend": Kind(".csv", _text("ground,0,0,0\ncell,255,0,0\n", "name,red,green,blue\nsky,1,2,3\n"), _read_legend),
    "list": Kind(".txt", _text("images/a.png masks/a.png\nimages/b.png\n"), _read_list),
    "options": Kind(".yaml", _text("method: rankmatch\nsteps: 4\ncrop: 33\n"), _read_options),
    "config": Kind(".json", _text(CONFIG), _read_record),
    "history": Kind(".csv", _text(HISTORY), _read_record),
    "cost": Kind(".json", _text(COST), _read_record),
    "state": Kind(".npz", _state, _read_state, checked=True),
}
_PIECES = (
    b"\0",
    b"\xff",
    b"\r\n",
    b"\x1b[31m",
    b"-1",
    b"1e999",
    b"NaN",
    b"null",
    b"[]",
    b"{}",
    b"\\ud800",
    b"=1+1",
    b"9" * 40,
)


def damage(content: bytes, rng: np.random.Generator, other: bytes) -> bytes:
    """Damage a file's bytes in one random way; the result differs from the original.

    Args:
        content: the file.
        rng: chooses how and where.
        other: another file, parts of which may take the place of this one's.
    """
    while True:
        place, length = int(rng.integers(len(content))), int(rng.integers(1, 33))
        match int(rng.integers(8)):
            case 0:
                changed = _flipped(content, [place], rng)
            case 1:
                changed = _flipped(content, rng.integers(len(content), size=length), rng)
            case 2:
                changed = content[:place]
            case 3:
                changed = content[:place] + content[place + length :]
            case 4:
                changed = content[:place] + content[max(place - length, 0) : place] * 3 + content[place:]
            case 5:
                changed = content[:place] + rng.choice([b"\0", b"\xff"]) * length + content[place + length :]
            case 6:
                changed = content[:place] + _PIECES[int(rng.integers(len(_PIECES)))] + content[place + length % 5 :]
            case _:
                changed = content[:place] + other[place : place + 4 * length] + content[place + 4 * length :]
        if changed != content:
            return changed


def _flipped(content, places, rng):
    changed = bytearray(content)
    for place in places:
        changed[int(place)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def bombs(folder: Path) -> list[Path]:
    """Write small files that ask for much memory or time; each must be refused, or read within the limits.

    Their names begin with their kind.
    """
    made = []

    def add(name, content):
        made.append(folder / name)
        made[-1].write_bytes(content)

    wide = io.BytesIO()
    tifffile.imwrite(wide, np.zeros((4000, 4000, 3), np.uint8), photometric="rgb", compression="zlib")
    add("tiff-zeros.tif", wide.getvalue())
    png = io.BytesIO()
    Image.new("L", (12000, 12000)).save(png, "png")
    add("png-zeros.png", png.getvalue())
    add("coco-nested.json", b"[" * 200_000)
    add(
        "options-aliases.yaml",
        b"a: &a [1]\n" + b"".join(b"%c: &%c [*%c,*%c,*%c]\n" % (n, n, n - 1, n - 1, n - 1) for n in range(98, 118)),
    )
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("record.npy", b"\0" * (400 << 20))
    add("state-zeros.npz", archive.getvalue())
    return made

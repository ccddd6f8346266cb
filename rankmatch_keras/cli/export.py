"""`rankmatch export`: a trained network as a file for programs without Keras."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import click

from rankmatch_keras.environment import MODULES
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import say

PATH = click.Path(path_type=Path)
KINDS = ("onnx", "savedmodel", "tflite", "torch")
LEAST_EQUAL = 0.999
LARGEST_SIDE = 8192
CHECKED_IMAGES = 3
CHECKED_SIDE = 512  # larger images are cropped for the check
CHECKED_SIZES = ((128, 150), (97, 113))  # no multiples of the stride plus 1, and both


@click.command(short_help="Write a trained network for ONNX, TensorFlow, TFLite or PyTorch.")
@click.argument("run", type=PATH)
@click.option("--to", "kind", type=click.Choice(KINDS), required=True, help="Format.")
@click.option("--out", type=PATH, required=True, help="New .onnx, .tflite or .pt2 file, or folder of a SavedModel.")
@click.option("--size", default="dynamic", show_default=True, help="HxW that all images have, or dynamic for any.")
@click.option("--images", type=PATH, help="Images to check the file on; by default the run's validation images.")
@click.option("--weights", type=click.Choice(("best", "last")), help="Which model; by default the one the run keeps.")
def export(run, kind, out, size, images, weights):
    """Write a trained network as a file that needs neither Keras nor this program.

    Raw images go in; classes and probabilities come out: normalization, channel order and padding are inside. Then the
    file is run on images and compared with the network. docs/export.md has a program that uses it.

    RUN is the folder of a training run or a saved .keras file.

    \b
    rankmatch export runs/l10 --to onnx --out cells.onnx
    rankmatch export runs/l10 --to tflite --size 480x640 --out cells.tflite
    rankmatch export cells.keras --to savedmodel --images photos --out cells
    rankmatch predict cells.onnx --images photos --out segmented
    """
    size = parsed_size(size)
    import keras

    from rankmatch_keras.files import replacing
    from rankmatch_keras.models.exported import ExportedPredictor, agreement
    from rankmatch_keras.models.exporting import FORMATS, write_exported, writer_of
    from rankmatch_keras.prediction.models import load_trained

    require_new(out, FORMATS[kind].ending)
    installed = [name for name, module in MODULES.items() if importlib.util.find_spec(module)]
    running = keras.backend.backend()
    writer = writer_of(kind, running, installed)
    if writer != running:
        write_by(writer, FORMATS[kind].title)
        return
    with keras.device("cpu"):  # so that the file asks for no GPU
        trained = load_trained(run, weights)
        predictor, names = trained.model, trained.class_names if trained.names_known else ()
        pictures = check_images(run, images, predictor)
        dtype = "uint8" if pictures[0].dtype == "uint8" else "float32"
        shown = list(at_sizes(pictures, size))
        with replacing(out) as temporary:
            write_exported(predictor, kind, temporary, size, dtype, names)
            share, difference = agreement(predictor, ExportedPredictor(temporary, kind), shown)
            if share < LEAST_EQUAL:
                raise UserError(
                    f"a file that gives at least {LEAST_EQUAL:.1%} of the pixels the network's class",
                    f"{share:.2%}, probabilities differ by {difference:.1e}; it is removed",
                    "Fix the size by --size HxW, choose another --to, or another backend by KERAS_BACKEND.",
                )
    sizes = ", ".join(f"{height}x{width}" for height, width in dict.fromkeys(x.shape[:2] for x in shown))
    say(f"Checked on {len(shown)} images of {sizes}: the same class in {share:.3%} of the pixels or more,")
    say(f"probabilities differ by {difference:.1e} at most")
    shape = " x ".join(map(str, (1, *(size or "HW"), predictor.input_shape[-1])))
    say(f"Written to {out}: images ({dtype}, {shape}) in, classes and probabilities out")


def parsed_size(text):
    """Return `(height, width)` of a text such as 480x640, None of "dynamic".

    Raises:
        UserError: it is neither.
    """
    if text.lower() == "dynamic":
        return None
    found = re.fullmatch(r"(\d{1,5})[xX](\d{1,5})", text)
    sides = tuple(map(int, found.groups())) if found else (0,)
    if not all(1 <= side <= LARGEST_SIDE for side in sides):
        raise UserError(
            f"a height and width of 1 to {LARGEST_SIDE} such as 480x640, or dynamic", f"--size {text}", "Correct it."
        )
    return sides


def require_new(out, ending):
    """Check that an output does not exist, and ends as its format does.

    Raises:
        UserError: it exists, or has another ending.
    """
    if ending and out.suffix != ending:
        raise UserError(f"a file that ends in {ending}", f"--out {out}", f"Give --out {out.with_suffix(ending)}.")
    if out.exists():
        raise UserError("a new file or folder", f"{out}, which is there", "Choose another --out.")


def write_by(backend, title):
    """Run this command again on another backend, which opens the same saved network.

    Raises:
        SystemExit: it failed, with its code.
    """
    say(f"{backend} writes {title}")
    command = [sys.executable, "-m", "rankmatch_keras", *sys.argv[1:]]
    code = subprocess.run(command, env={**os.environ, "KERAS_BACKEND": backend}).returncode
    if code:
        raise SystemExit(code)


def check_images(run, images, predictor):
    """Read a few images to check a file on: of a folder, or of the run's validation set.

    Raises:
        UserError: there are none.
    """
    from rankmatch_keras.data.sets.image_folder import images_to_segment
    from rankmatch_keras.models.predictor import context_of
    from rankmatch_keras.training.records import read_config
    from rankmatch_keras.training.reopening import open_data_of

    if images is not None:
        context = context_of(predictor)
        samples = images_to_segment(images, predictor.input_shape[-1] // (2 * context + 1), context)
    elif run.suffix == ".keras":
        raise UserError("images to check the file on", "a saved network alone", "Give some by --images FOLDER.")
    else:
        samples = open_data_of(run, read_config(run)).val
    if not samples:
        raise UserError("validation images to check the file on", f"none of {run}", "Give some by --images FOLDER.")
    return [sample.read_image() for sample in samples[:: -(-len(samples) // CHECKED_IMAGES)]]


def at_sizes(pictures, size):
    """Yield images of the one size that is fixed; of several, odd and even, where any may come."""
    import numpy as np

    def of(image, height, width):  # cropped, or continued from its start
        rows, columns = (np.arange(new) % old for new, old in zip((height, width), image.shape, strict=False))
        return image[rows][:, columns]

    for picture in pictures:
        yield of(picture, *(size or (min(side, CHECKED_SIDE) for side in picture.shape[:2])))
    if size is None:
        yield from (of(pictures[0], *other) for other in CHECKED_SIZES)

"""`rankmatch predict`: masks and overlays for a folder of images."""

from pathlib import Path

import click

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.data.sets.protocol import BORDERS
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import say

PATH = click.Path(path_type=Path)
# Larger images are predicted in sliding windows, so that memory stays bounded.
WHOLE_PIXELS = 1536 * 1536
WINDOW = 801
LARGEST_RATIO = 10


@click.command(short_help="Segment a folder of images.")
@click.argument("run", type=PATH)
@click.option("--images", type=PATH, required=True, help="Folder of images, an image, or a TIFF stack.")
@click.option("--out", type=PATH, required=True, help="New folder for masks and overlays.")
@click.option("--weights", type=click.Choice(("best", "last")), help="Which model; by default the one the run keeps.")
@click.option(
    "--mode",
    type=click.Choice(("auto", "whole", "sliding_window")),
    default="auto",
    show_default=True,
    help="auto: the whole image up to 2.4 megapixels, sliding windows for larger ones.",
)
@click.option("--crop", type=click.IntRange(min=1), default=WINDOW, show_default=True, help="Side of the windows.")
@click.option("--border", type=click.Choice(BORDERS), default="shift", show_default=True, help="Border windows.")
@click.option("--flip", is_flag=True, help="Add the probabilities of the mirrored image.")
@click.option("--window-batch", type=click.IntRange(min=1), default=1, show_default=True, help="Windows per batch.")
@click.option("--skip-bad", is_flag=True, help="Skip images that cannot be read, and name them at the end.")
def predict(run, images, out, weights, mode, crop, border, flip, window_batch, skip_bad):
    """Segment a folder of images: palette masks of class ids, and overlays to look at.

    RUN is the folder of a training run or a saved .keras file.

    \b
    rankmatch predict runs/l10 --images photos --out segmented
    rankmatch predict runs/l10 --images volume.tif --out segmented
    rankmatch predict cells.keras --images tiles --out segmented --mode sliding_window --crop 513
    """
    from rankmatch_keras import evaluation, models
    from rankmatch_keras.data.readers.folders import not_read
    from rankmatch_keras.data.sets.image_folder import unlabeled_samples
    from rankmatch_keras.data.sets.protocol import Protocol
    from rankmatch_keras.data.views.no_data import without_data
    from rankmatch_keras.evaluation import progress_bar
    from rankmatch_keras.training.run_folder import Run

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError("a new or empty output folder", f"{out} with files", "Choose another --out.")
    predictor = models.load_predictor(run if run.suffix == ".keras" else getattr(Run(run), weights or Run(run).kept))
    samples = unlabeled_samples(images, channels=predictor.input_shape[-1])
    if line := not_read(images):
        say(line)
    windows = Protocol("sliding_window", crop, border, flip)

    def segment(sample):
        # A function, so that a large image is gone before the next one is decoded.
        image = sample.read_image()
        require_known_range(predictor, image, sample)
        large = image.shape[0] * image.shape[1] > WHOLE_PIXELS
        protocol = windows if mode == "sliding_window" or (mode == "auto" and large) else Protocol(flip=flip)
        classes = evaluation.predict_classes(predictor, image, protocol, window_batch)
        if (missing := without_data(image)) is not None:
            classes[missing] = IGNORE_INDEX
        save(out, sample.name, image, classes)

    show, bad = progress_bar("segmented"), []
    for number, sample in enumerate(samples, start=1):
        try:
            segment(sample)
        except UserError as error:
            if not skip_bad:
                raise
            bad.append(error)
        show(number, len(samples))
    say(f"{len(samples) - len(bad)} images: masks and overlays are in {out}")
    for reason in bad:
        say(f"Left out: {reason}", error=True)


def require_known_range(predictor, image, sample):
    """Check that an image is not one of 16 bits for a network that was trained on 8.

    Raises:
        UserError: its values are more than ten times as large as those that the network was trained on.
    """
    from rankmatch_keras.layers import ChannelNormalization

    known = [layer for layer in predictor.layers if isinstance(layer, ChannelNormalization)]
    if image.dtype == "uint8" or not known:
        return
    usual = max(abs(mean) + std for mean, std in zip(known[0].mean, known[0].std, strict=True))
    if abs(image.mean()) > LARGEST_RATIO * usual:
        raise UserError(
            f"values in the range of the training images, about {usual:.0f}",
            f"values of {image.mean():.0f} on average in {sample.image}",
            "Convert them as the training images were, e.g. to 8 bits.",
        )


def save(out, name, image, classes):
    """Write the mask and the overlay of one image."""
    import PIL.Image

    from rankmatch_keras import evaluation
    from rankmatch_keras.files import replacing

    evaluation.save_mask_png(out / "masks" / f"{name}.png", classes)
    picture = out / "overlays" / f"{name}.png"
    with replacing(picture) as temporary:
        PIL.Image.fromarray(evaluation.overlay(image, classes)).save(temporary, format="PNG")

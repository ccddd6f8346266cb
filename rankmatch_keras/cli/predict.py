"""`rankmatch predict`: masks, overlays, measures and outlines for a folder of images."""

from pathlib import Path

import click

from rankmatch_keras.data.sets.protocol import BORDERS
from rankmatch_keras.texts import say

PATH = click.Path(path_type=Path)
STYLES = ("contour+tint", "contour", "tint", "mask")  # written out: their home imports NumPy
KINDS = "masks,overlays,probabilities,uncertainty,polygons,table,stack"


@click.command(short_help="Segment a folder of images.")
@click.argument("run", type=PATH)
@click.option("--images", type=PATH, required=True, help="Folder of images, an image, a TIFF stack, or a video.")
@click.option("--out", type=PATH, required=True, help="New folder for the results.")
@click.option(
    "--save", default="masks,overlays", show_default=True, metavar="KINDS", help=f"Some of {KINDS.replace(',', ', ')}."
)
@click.option(
    "--overlay",
    type=click.Choice(STYLES),
    default=STYLES[0],
    show_default=True,
    help="How overlays show classes; mask nearly covers the image.",
)
@click.option("--weights", type=click.Choice(("best", "last")), help="Which model; by default the one the run keeps.")
@click.option(
    "--mode",
    type=click.Choice(("auto", "whole", "sliding_window")),
    default="auto",
    show_default=True,
    help="auto: the whole image up to 2.4 megapixels, sliding windows for larger ones.",
)
@click.option("--crop", type=click.IntRange(min=1), default=801, show_default=True, help="Side of the windows.")
@click.option("--border", type=click.Choice(BORDERS), default="shift", show_default=True, help="Border windows.")
@click.option("--flip", is_flag=True, help="Add the probabilities of the mirrored image.")
@click.option("--scales", help="Add the probabilities of resized images, e.g. 0.75,1,1.25.")
@click.option("--window-batch", type=click.IntRange(min=1), default=1, show_default=True, help="Windows per batch.")
@click.option("--device", help="Where to compute, e.g. cpu, gpu or gpu:1; by default the first GPU, if there is one.")
@click.option("--skip-bad", is_flag=True, help="Skip images that cannot be read, and name them at the end.")
@click.option("--resume", is_flag=True, help="Go on in a folder that was begun with the same flags.")
def predict(run, images, out, save, overlay, weights, scales, window_batch, device, skip_bad, resume, **protocol):
    """Segment a folder of images: palette masks of class ids, and overlays to look at.

    RUN is the folder of a training run, a saved .keras file, or what `rankmatch export` made of it.

    \b
    rankmatch predict runs/l10 --images photos --out segmented
    rankmatch predict runs/l10 --images volume.tif --out segmented --save stack,table
    rankmatch predict runs/l10 --images clip.mp4 --out segmented
    rankmatch predict runs/l10 --images photos --out segmented --flip --scales 0.75,1,1.25
    rankmatch predict cells.keras --images tiles --out segmented --mode sliding_window --crop 513
    rankmatch predict runs/l10 --images photos --out segmented --resume --skip-bad
    """
    from rankmatch_keras.data.readers.folders import not_read
    from rankmatch_keras.data.sets.image_folder import images_to_segment
    from rankmatch_keras.data.sets.protocol import read_scales
    from rankmatch_keras.models.predictor import context_of
    from rankmatch_keras.prediction.folder import Settings, kinds_of, require_free, segment_folder
    from rankmatch_keras.prediction.models import load_trained, on_device

    multiples = (1.0,) if scales is None else read_scales(scales)
    settings = Settings(kinds_of(save), overlay, scales=multiples, **protocol)
    require_free(out, resume)
    with on_device(device):
        trained = load_trained(run, weights)
        context = context_of(trained.model)
        samples = images_to_segment(images, trained.model.input_shape[-1] // (2 * context + 1), context)
        if line := not_read(images):
            say(line)
        segment_folder(trained.model, samples, out, trained.class_names, settings, window_batch, resume, skip_bad)

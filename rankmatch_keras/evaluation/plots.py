"""Pictures of predictions: overlays, sheets of image, truth and prediction, and palette PNG masks."""

from pathlib import Path

import numpy as np

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.display import to_display
from rankmatch_keras.evaluation.palette import full_palette
from rankmatch_keras.evaluation.sheets import CELL_PIXELS, class_legend, draw_sheet
from rankmatch_keras.evaluation.windows import row_blocks


def colour_classes(classes, palette=None):
    """Class ids as colours.

    Args:
        classes: integer (H, W), 0..255; 255 is ignored and shown almost white.
        palette: (n, 3) of 0..255, e.g. the data set's; None: `default_palette`.

    Returns:
        uint8 (H, W, 3) RGB.
    """
    return full_palette(palette)[_checked(classes)]


def overlay(image, classes, palette=None, strength=0.65, outlines=True):
    """Lays the colours of the classes over an image.

    Args:
        image: (H, W) or (H, W, C) of any dtype, see `to_display`.
        classes: integer (H, W), 0..255; pixels of 255 (ignored) turn pale.
        palette: (n, 3) of 0..255, e.g. the data set's; None: `default_palette`.
        strength: weight of the colour, 0..1.
        outlines: whether to draw the pixels at class boundaries in white.

    Returns:
        uint8 (H, W, 3) RGB.
    """
    image, classes = np.asarray(image), _checked(classes)
    if image.shape[:2] != classes.shape:
        raise UserError(
            "classes at the size of the image", f"{classes.shape} for {image.shape[:2]}", "Pair them rightly."
        )
    shown, colours = to_display(image), full_palette(palette)
    mixed = np.empty((*classes.shape, 3), np.uint8)
    for rows in row_blocks(len(classes), 3 * 8 * classes.shape[1]):
        block = (1.0 - strength) * shown[rows] + strength * colours[classes[rows]]
        mixed[rows] = np.round(block)
    if outlines:
        mixed[_boundaries(classes)] = 255
    return mixed


def save_mask_png(path, classes, palette=None):
    """Writes class ids as a PNG with a palette: the pixel values are the ids, viewers show colours.

    Args:
        path: file to write.
        classes: integer (H, W), 0..255.
        palette: (n, 3) of 0..255, e.g. the data set's; None: `default_palette`.
    """
    from PIL import Image

    picture = Image.fromarray(_checked(classes).astype(np.uint8)).convert("L")
    picture.putpalette(full_palette(palette).tobytes())
    _make_folder(path)
    picture.save(path, format="PNG", optimize=True)


def save_prediction_sheet(path, images, truths, predictions, class_names, palette=None):
    """Writes a PNG with one row per image: image | truth | prediction, and a legend of the classes seen.

    Args:
        path: file to write.
        images: list of (H, W, C) of any dtype, at most about 20.
        truths: list of integer (H, W), 255 ignored; or None for images without masks.
        predictions: list of integer (H, W).
        class_names: names of the K classes.
        palette: (n, 3) of 0..255, e.g. the data set's; None: `default_palette`.
    """
    if not images or len(images) != len(predictions) or (truths is not None and len(truths) != len(images)):
        counts = f"{len(images)} images, {None if truths is None else len(truths)} truths"
        raise UserError(
            "equally many images, truths and predictions, at least one of each",
            f"{counts}, {len(predictions)} predictions",
            "Give lists of one length, or truths=None.",
        )
    maps = [predictions] if truths is None else [truths, predictions]
    titles = ["Image", "Prediction"] if truths is None else ["Image", "Truth", "Prediction"]
    cells = [_cells(image, [m[i] for m in maps], palette) for i, image in enumerate(images)]
    seen = sorted(set().union(*(np.unique(c).tolist() for m in maps for c in m)))
    draw_sheet(path, cells, titles, class_legend(seen, class_names, palette))


def _cells(image, maps, palette):
    step = max(1, np.shape(image)[1] // CELL_PIXELS)
    image = to_display(np.asarray(image)[::step, ::step])
    return [image, *(overlay(image, np.asarray(classes)[::step, ::step], palette) for classes in maps)]


def _boundaries(classes):
    """Bool (H, W): pixels whose right or lower neighbour is of another class."""
    edge = np.zeros(classes.shape, bool)
    edge[:, :-1] |= classes[:, :-1] != classes[:, 1:]
    edge[:-1] |= classes[:-1] != classes[1:]
    return edge


def _checked(classes):
    classes = np.asarray(classes)
    if classes.ndim != 2 or (classes.size and (classes.min() < 0 or classes.max() > 255)):
        raise UserError(
            "class ids (H, W) in 0..255",
            f"shape {classes.shape}, values {classes.min()}..{classes.max()}",
            "Take the argmax over the classes.",
        )
    return classes


def _make_folder(path):
    Path(path).parent.mkdir(parents=True, exist_ok=True)

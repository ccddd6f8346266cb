"""Overlays: the classes of an image shown on the image itself, which stays as bright as it was."""

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.colors import full_palette, to_display
from rankmatch_keras.evaluation.windows import row_blocks

STYLES = ("contour+tint", "contour", "tint", "mask")
TINT = 0.35  # share of a class's hue in that of the picture
FILL = 0.65  # weight of the colors of "mask"
PALE = 0.5  # weight of the pale color of ignored pixels
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # Rec. 601: brightness of red, green and blue
SIDE_PER_PIXEL = 320  # a contour is one pixel wide for so many of the image's short side


def overlay(image, classes, palette=None, style=STYLES[0]):
    """Show classes on an image: a contour and a light tint in the color of each.

    A tint changes hue and saturation and leaves the brightness, so that the image below can be judged. A class whose
    color is black, as that of the background is by default, leaves the image as it is.

    Args:
        image: (H, W) or (H, W, C) of any dtype, see `to_display`.
        classes: integer (H, W), 0..255; 255 (ignored) turns pale.
        palette: (n, 3) in 0..255, e.g. the data set's; None: `default_palette`.
        style: "contour+tint", "contour", "tint", or "mask": colors that nearly cover the image.

    Returns:
        uint8 (H, W, 3) RGB.

    Raises:
        UserError: the classes have another size than the image or are no ids in 0..255, or the style is unknown.
    """
    image, classes = np.asarray(image), checked_classes(classes)
    if image.shape[:2] != classes.shape:
        raise UserError(
            "classes at the size of the image",
            f"{classes.shape} for {image.shape[:2]}",
            "Pair each image with its own classes.",
        )
    if style not in STYLES:
        raise UserError(f"a style of {', '.join(STYLES)}", repr(style), "Choose one of them.")
    shown, colors = to_display(image), full_palette(palette)
    mixed = np.empty((*classes.shape, 3), np.uint8)
    for rows in row_blocks(len(classes), 3 * 12 * classes.shape[1]):
        mixed[rows] = _mixed(shown[rows], classes[rows], colors, style)
    if "contour" in style:
        lines = contours(classes) & colors.any(-1)[classes] & (classes != IGNORE_INDEX)
        mixed[lines] = colors[classes[lines]]
    return mixed


def contours(classes):
    """Find the pixels at the border of their class, next to those of another: a line inside each region.

    Args:
        classes: integer (H, W).

    Returns:
        bool (H, W); the line is one pixel wide, or wider on images of more than 480 pixels.
    """
    from scipy import ndimage

    size = 2 * max(1, round(min(classes.shape) / SIDE_PER_PIXEL)) + 1
    return (ndimage.maximum_filter(classes, size) != classes) | (ndimage.minimum_filter(classes, size) != classes)


def checked_classes(classes):
    """Return classes as an array.

    Raises:
        UserError: they are not (H, W) in 0..255.
    """
    classes = np.asarray(classes)
    if classes.ndim != 2 or (classes.size and (classes.min() < 0 or classes.max() > 255)):
        raise UserError(
            "class ids (H, W) in 0..255",
            f"shape {classes.shape}, values {classes.min()}..{classes.max()}",
            "Take the argmax over the classes.",
        )
    return classes


def _mixed(photo, classes, colors, style):
    """Mix the colors of classes into rows of a photo, uint8 (h, W, 3)."""
    photo, ignored = photo.astype(np.float32), (classes == IGNORE_INDEX)[..., None]
    colors = colors.astype(np.float32)
    wanted = colors[classes]
    if style == "mask":
        mixed = photo + FILL * (wanted - photo)
    elif "tint" in style:
        hue = (colors - (colors @ LUMA)[:, None])[classes]
        mixed = photo + TINT * (hue - (photo - (photo @ LUMA)[..., None]))
    else:
        mixed = photo
    mixed = np.where(colors.any(-1)[classes][..., None], mixed, photo)
    return np.clip(np.rint(np.where(ignored, photo + PALE * (wanted - photo), mixed)), 0, 255)

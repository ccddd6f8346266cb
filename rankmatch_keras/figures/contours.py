"""Outlines of truth and prediction on grey images, for data of two classes such as electron microscopy."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rankmatch_keras.evaluation.display import to_display
from rankmatch_keras.evaluation.sheets import draw_sheet
from rankmatch_keras.figures.predictions import IGNORE, Picture, thinning

TRUTH, PREDICTION = "#39d353", "#ff2fb3"


def save_contours(
    path: Path, pictures: Sequence[Picture], predictions: dict[str, Sequence[np.ndarray]], class_names: Sequence[str]
) -> None:
    """Writes a PNG with a row per image: the image, and for every run the outlines of class 1.

    Args:
        path: file to write.
        pictures: the images.
        predictions: run -> int (H, W) per image, 0 or 1.
        class_names: names of the two classes.
    """
    columns = list(predictions.values())
    steps = [thinning(picture.image) for picture in pictures]
    rows = [
        [_grey(picture.image[::step, ::step])] * (1 + len(columns))
        for picture, step in zip(pictures, steps, strict=True)
    ]

    def decorate(axes, row, column):
        step = steps[row]
        truth = pictures[row].truth[::step, ::step]
        _outline(axes, np.where(truth == IGNORE, 0, truth), TRUTH)
        if column:
            _outline(axes, columns[column - 1][row][::step, ::step], PREDICTION)

    legend = [(f"{class_names[1]}, truth", TRUTH), (f"{class_names[1]}, prediction", PREDICTION)]
    draw_sheet(path, rows, ["Image and truth", *predictions], legend, decorate)


def _outline(axes, mask, colour):
    if mask.min() < 0.5 < mask.max():
        axes.contour(mask, levels=[0.5], colors=[colour], linewidths=1.1)


def _grey(image):
    grey = np.round(to_display(image).mean(-1)).astype(np.uint8)  # (H, W)
    return np.repeat(grey[..., None], 3, axis=-1)

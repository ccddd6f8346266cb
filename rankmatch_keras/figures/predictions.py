"""Predictions of several runs beside image and truth: overlays with boxes where they differ most, or outlines."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.evaluation.colors import to_display
from rankmatch_keras.evaluation.overlays import overlay
from rankmatch_keras.evaluation.plots import CELL_PIXELS, class_legend, draw_sheet

BOX = 0.28  # side of a box relative to the image's
MOST_BOXES = 2  # of each kind
LEAST_GAIN = 0.05  # smallest mean difference worth a box
BETTER, WORSE = "#ffe100", "#ff3030"
TRUTH, PREDICTION = "#39d353", "#ff2fb3"


@dataclass(frozen=True)
class Picture:
    """An image shown in figures.

    Attributes:
        name: its name in the data set.
        image: (H, W, C) as read.
        truth: int (H, W), 255 ignored.
    """

    name: str
    image: np.ndarray
    truth: np.ndarray


@dataclass(frozen=True)
class Box:
    """A part of an image, in pixels; `better` tells whether the first prediction is better there."""

    top: int
    left: int
    height: int
    width: int
    better: bool


def difference_boxes(truth: np.ndarray, first: np.ndarray, others: Sequence[np.ndarray]) -> list[Box]:
    """Find where one prediction is right and the others are wrong most often, and vice versa.

    The gain of a pixel is 1 if the first prediction is right there, minus the fraction of the others that are. Boxes
    lie where its mean is largest and smallest; those of a kind do not overlap.

    Args:
        truth: int (H, W), 255 ignored.
        first: int (H, W), the prediction that the others are compared with.
        others: int (H, W) each.

    Returns:
        At most two boxes of each kind; none if the predictions hardly differ, or there are no others.
    """
    from scipy import ndimage

    if not others:
        return []
    right = np.mean([other == truth for other in others], axis=0)
    gain = np.where(truth == IGNORE_INDEX, 0.0, (first == truth) - right)
    height, width = (max(1, round(BOX * side)) for side in truth.shape)
    means = ndimage.uniform_filter(gain, (height, width), mode="constant")
    # Only boxes within the image.
    middle = np.zeros(truth.shape, bool)
    middle[height // 2 : truth.shape[0] - (height - 1) // 2, width // 2 : truth.shape[1] - (width - 1) // 2] = True
    boxes: list[Box] = []
    for better in (True, False):
        score = np.where(middle, means if better else -means, -np.inf)
        for _ in range(MOST_BOXES):
            y, x = np.unravel_index(np.argmax(score), score.shape)
            if score[y, x] < LEAST_GAIN:
                break
            boxes.append(Box(int(y) - height // 2, int(x) - width // 2, height, width, better))
            score[max(0, y - height) : y + height, max(0, x - width) : x + width] = -np.inf
    return boxes


def save_comparison(
    path: Path,
    pictures: Sequence[Picture],
    predictions: dict[str, Sequence[np.ndarray]],
    class_names: Sequence[str],
    palette: Any = None,
) -> None:
    """Write a PNG with a row per image: image, truth and the prediction of every run.

    Boxes mark where the first run differs most from the others: yellow if it is better, red if it is worse.

    Args:
        path: file to write.
        pictures: the images.
        predictions: run -> int (H, W) per image; the first run is compared with the others.
        class_names: names of the classes.
        palette: (n, 3) in 0..255; None: the default colors.
    """
    columns = list(predictions.values())
    rows, boxes = [], []
    for number, picture in enumerate(pictures):
        shown = [column[number] for column in columns]
        step = thinning(picture.image)
        image = to_display(picture.image[::step, ::step])
        maps = [overlay(image, classes[::step, ::step], palette) for classes in (picture.truth, *shown)]
        rows.append([image, *maps])
        boxes.append((step, difference_boxes(picture.truth, shown[0], shown[1:])))

    def decorate(axes, row, column):
        from matplotlib.patches import Rectangle

        step, found = boxes[row]
        for box in found:
            corner = (box.left / step - 0.5, box.top / step - 0.5)
            color = BETTER if box.better else WORSE
            frame = Rectangle(corner, box.width / step, box.height / step, edgecolor=color, linewidth=1.8, fill=False)
            axes.add_patch(frame)

    seen = sorted({int(k) for p in pictures for k in np.unique(p.truth)} | _classes(columns))
    titles = ["Image", "Truth", *predictions]
    draw_sheet(path, rows, titles, class_legend(seen, class_names, palette), decorate)


def save_contours(
    path: Path, pictures: Sequence[Picture], predictions: dict[str, Sequence[np.ndarray]], class_names: Sequence[str]
) -> None:
    """Write a PNG with a row per gray image, and the outlines of class 1 in truth and every run.

    Meant for data of two classes, such as electron microscopy.

    Args:
        path: file to write.
        pictures: the images.
        predictions: run -> int (H, W) per image, 0 or 1.
        class_names: names of the two classes.
    """
    columns = list(predictions.values())
    steps = [thinning(picture.image) for picture in pictures]
    rows = [
        [_gray(picture.image[::step, ::step])] * (1 + len(columns))
        for picture, step in zip(pictures, steps, strict=True)
    ]

    def decorate(axes, row, column):
        step = steps[row]
        truth = pictures[row].truth[::step, ::step]
        _outline(axes, np.where(truth == IGNORE_INDEX, 0, truth), TRUTH)
        if column:
            _outline(axes, columns[column - 1][row][::step, ::step], PREDICTION)

    legend = [(f"{class_names[1]}, truth", TRUTH), (f"{class_names[1]}, prediction", PREDICTION)]
    draw_sheet(path, rows, ["Image and truth", *predictions], legend, decorate)


def thinning(image: np.ndarray) -> int:
    """Return n such that a sheet shows every n-th pixel of an image."""
    return max(1, image.shape[1] // CELL_PIXELS)


def _classes(columns):
    return {int(k) for column in columns for classes in column for k in np.unique(classes)}


def _outline(axes, mask, color):
    if mask.min() < 0.5 < mask.max():
        axes.contour(mask, levels=[0.5], colors=[color], linewidths=1.1)


def _gray(image):
    gray = np.round(to_display(image).mean(-1)).astype(np.uint8)  # (H, W)
    return np.repeat(gray[..., None], 3, axis=-1)

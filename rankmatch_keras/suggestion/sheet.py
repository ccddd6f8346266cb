"""Contact sheets of the chosen images: each with its prediction and the reason for it."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rankmatch_keras.evaluation.colors import to_display
from rankmatch_keras.evaluation.overlays import overlay
from rankmatch_keras.evaluation.plots import CELL_PIXELS, class_legend, draw_sheet
from rankmatch_keras.texts import shown

ROWS = 20
TITLES = ("Image", "Prediction", "Why")
LINE = 34  # letters


class Sheets:
    """Rows of sheets, made small when they are added.

    Args:
        class_names: names of the K classes.
        palette: (n, 3) in 0..255; None: the default colors.
    """

    def __init__(self, class_names: Sequence[str], palette: Any = None):
        self.class_names, self.palette = class_names, palette
        self._rows: list[tuple[list[np.ndarray], list[int], str]] = []

    def add(self, image: np.ndarray, classes: np.ndarray, title: str, text: str) -> None:
        """Add an image (H, W, C) with its classes, uint8 (H, W), a title and a text."""
        step = max(1, image.shape[1] // CELL_PIXELS)
        small, classes = to_display(image[::step, ::step]), classes[::step, ::step]
        cells = [small, overlay(small, classes, self.palette), np.full_like(small, 255)]
        lines = [shown(title, "picture"), "", *(shown(part, "picture") for part in text.split("; "))]
        wrapped = "\n".join(textwrap.fill(line, LINE) for line in lines)
        self._rows.append((cells, np.unique(classes).tolist(), wrapped))

    def save(self, folder: Path) -> None:
        """Write `sheet.png`, and `sheet-2.png` and so on for further rows."""
        for start in range(0, len(self._rows), ROWS):
            rows = self._rows[start : start + ROWS]
            seen = sorted(set().union(*(classes for _, classes, _ in rows)))
            legend = class_legend(seen, self.class_names, self.palette)
            number = f"-{start // ROWS + 1}" if start else ""
            draw_sheet(folder / f"sheet{number}.png", [row[0] for row in rows], TITLES, legend, _writer(rows))


def _writer(rows):
    def write(axes, row, column):
        if column == 2:
            axes.text(0.03, 0.95, rows[row][2], transform=axes.transAxes, va="top", fontsize=8, linespacing=1.25)

    return write

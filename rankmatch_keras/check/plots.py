"""Plots of a data check: class frequencies, and a sheet of images with their masks."""

import numpy as np

from rankmatch_keras.check.kinds import LABELED, PARTS
from rankmatch_keras.check.report import class_table
from rankmatch_keras.data.sets.pixel_statistics import thin_out
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.colors import default_palette
from rankmatch_keras.evaluation.overlays import overlay
from rankmatch_keras.evaluation.plots import class_legend, legend_below, patches, save_figure
from rankmatch_keras.texts import shown

CELLS = 24
COLUMNS = 6
CELL_INCHES = 2.4
CELL_PIXELS = 400  # longer side of a picture on the sheet
DPI = 130
SHADES = (1.0, 0.6, 0.35)  # strength of color of the bars of the first, second and third part


def save_class_chart(path, report, palette=None):
    """Save a bar chart of each class's fraction of pixels and of images, in each part, as a PNG.

    Args:
        path: file to write.
        report: a `CheckReport` with at least one good mask.
        palette: a color (red, green, blue in 0..255) per class; None for the default colors.

    Raises:
        UserError: there is no good mask.
    """
    from matplotlib.figure import Figure  # without pyplot: no window, no global state
    from matplotlib.patches import Patch

    names = report.class_names
    tables = {part: class_table(report.of_part(part), len(names)) for part in PARTS}
    tables = {part: table for part, table in tables.items() if table.pixels.any()}
    if not tables:
        raise UserError("masks to count classes in", "none that can be read", "See the findings.")
    colors = _colors(palette, len(names)) / 255
    figure = Figure(figsize=(10, 1.3 + 0.17 * len(names) * (1 + len(tables))), dpi=DPI, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    height = 0.86 / len(tables)
    for number, table in enumerate(tables.values()):
        y = np.arange(len(names)) + (number - (len(tables) - 1) / 2) * height
        shaded = 1 - SHADES[number] * (1 - colors)
        percentages = (100 * table.pixels / table.pixels.sum(), 100 * table.images / table.masks)
        for axis, values in zip(axes, percentages, strict=True):
            bars = axis.barh(y, values, height * 0.92, color=shaded, edgecolor="0.35", linewidth=0.4)
            axis.bar_label(bars, [f"{value:.3g}" for value in values], padding=2, fontsize=6)
    axes[0].set_yticks(range(len(names)), [shown(name, "picture") for name in names])
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    axes[0].set_xlabel("% of pixels (ignored ones left out)")
    axes[1].set_xlabel("% of images that show the class")
    for axis in axes:
        axis.margins(x=0.12)
        axis.spines[["top", "right"]].set_visible(False)
    labels = [f"{part} ({table.masks} masks)" for part, table in tables.items()]
    bars = [Patch(facecolor=str(1 - 0.8 * shade), label=label) for shade, label in zip(SHADES, labels, strict=False)]
    figure.legend(handles=bars, loc="outside upper center", ncols=len(tables), frameon=False)
    save_figure(figure, path)


def save_contact_sheet(path, report, palette=None):
    """Save up to 24 labeled images, evenly spaced in the set, with their masks laid over them, as a PNG.

    Args:
        path: file to write.
        report: a `CheckReport`; its images are read again.
        palette: a color (red, green, blue in 0..255) per class; None for the default colors.

    Raises:
        UserError: no labeled sample is without fault.
    """
    from matplotlib.figure import Figure

    good = [one.sample for one in report.of_part(LABELED) if one.class_pixels is not None and not one.problems]
    if not good:
        raise UserError("labeled images to show", "none that can be read", "See the findings.")
    chosen = thin_out(good, CELLS)
    colors = _colors(palette, len(report.class_names))
    columns = min(COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    cells = [_cell(sample, colors) for sample in chosen]
    # Pictures taller than wide become narrower instead of spreading all rows.
    ratio = min(1.0, max(picture.shape[0] / picture.shape[1] for picture, _ in cells))
    size = (CELL_INCHES * columns, (CELL_INCHES * ratio + 0.2) * rows + 0.4)
    figure = Figure(figsize=size, dpi=DPI)
    figure.set_layout_engine("constrained", h_pad=0.02, w_pad=0.02, hspace=0.0, wspace=0.0)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, sample, (picture, _) in zip(axes, chosen, cells, strict=False):
        axis.imshow(picture, interpolation="antialiased")
        axis.set_title(_short(shown(sample.name, "picture")), fontsize=7, pad=2)
    seen = sorted(set().union(*(seen for _, seen in cells)))
    legend_below(figure, patches(class_legend(seen, report.class_names, colors)), fontsize=8)
    save_figure(figure, path)


def _cell(sample, colors):
    """Return a picture, made small before it is drawn, and the ids in its mask."""
    image, mask = sample.shown(sample.read_image()), sample.read_mask()
    # Every n-th pixel serves image and mask alike, whatever the type of the image.
    step = max(1, max(mask.shape) // CELL_PIXELS)
    small = mask[::step, ::step]
    return overlay(image[::step, ::step], small, colors), np.unique(small).tolist()


def _short(name):
    return name if len(name) <= 32 else f"...{name[-29:]}"


def _colors(palette, count):
    """Return one color per class: (count, 3), 0..255."""
    return default_palette(count) if palette is None else np.asarray(palette, np.uint8)[:count]

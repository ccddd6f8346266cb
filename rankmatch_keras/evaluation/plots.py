"""Pictures of predictions: mask PNGs, and sheets of pictures with titles and a legend."""

import contextlib
import warnings
from pathlib import Path

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.data.masks.mask_files import write_mask
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.colors import full_palette, to_display
from rankmatch_keras.evaluation.overlays import checked_classes, overlay
from rankmatch_keras.files import replacing
from rankmatch_keras.texts import counted, printable, say, shown

CELL_INCHES = 3.2  # width of one picture on a sheet
BELOW_AXIS = 0.45  # inches from an x axis to below its label
CELL_PIXELS = 832  # wider pictures are thinned out: twice what a cell shows


def save_mask_png(path, classes, palette=None):
    """Write class ids as a palette PNG: pixel values are the ids, viewers show colors.

    Args:
        path: file to write.
        classes: integer (H, W), 0..255.
        palette: (n, 3) in 0..255, e.g. the data set's; None: `default_palette`.
    """
    write_mask(path, checked_classes(classes), full_palette(palette))


def save_prediction_sheet(path, images, truths, predictions, class_names, palette=None):
    """Write a PNG with one row per image: image | truth | prediction, and a legend of the classes that occur.

    Args:
        path: file to write.
        images: list of (H, W, C) of any dtype, about 20 at most.
        truths: list of integer (H, W), 255 ignored; or None for images without masks.
        predictions: list of integer (H, W).
        class_names: names of the K classes.
        palette: (n, 3) in 0..255, e.g. the data set's; None: `default_palette`.
    """
    if not images or len(images) != len(predictions) or (truths is not None and len(truths) != len(images)):
        counts = f"{counted(len(images), 'image')}, {None if truths is None else len(truths)} truths"
        raise UserError(
            "as many truths and predictions as images, at least one of each",
            f"{counts}, {len(predictions)} predictions",
            "Give lists of equal length, or truths=None.",
        )
    maps = [predictions] if truths is None else [truths, predictions]
    titles = ["Image", "Prediction"] if truths is None else ["Image", "Truth", "Prediction"]
    cells = [_cells(image, [m[i] for m in maps], palette) for i, image in enumerate(images)]
    seen = sorted(set().union(*(np.unique(c).tolist() for m in maps for c in m)))
    draw_sheet(path, cells, titles, class_legend(seen, class_names, palette))


def draw_sheet(path, cells, titles, legend, decorate=None):
    """Write a PNG of pictures in rows and columns, with titles above and a legend of classes below.

    Args:
        path: file to write; its folder is made if needed.
        cells: rows of uint8 (H, W, 3) pictures; those of a row have the same size.
        titles: one per column.
        legend: (name, color in 0..1) per class, see `class_legend`; may be empty.
        decorate: called as `decorate(axes, row, column)` to draw on a picture, in its pixels' coordinates.
    """
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    columns = len(titles)
    heights = [CELL_INCHES * row[0].shape[0] / row[0].shape[1] for row in cells]
    figure = Figure(figsize=(CELL_INCHES * columns, sum(heights) + 0.06 * len(cells) + 0.3 + 0.15), dpi=130)
    foot = 0.15 + legend_below(figure, patches(legend))
    height = figure.get_figheight()
    grid = figure.add_gridspec(
        len(cells),
        columns,
        height_ratios=heights,
        left=0.004,
        right=0.996,
        top=1 - 0.3 / height,
        bottom=foot / height,
        wspace=0.012,
        hspace=0.012 * columns,
    )
    for r, row in enumerate(cells):
        for c, picture in enumerate(row):
            axes = figure.add_subplot(grid[r, c])
            axes.imshow(picture, aspect="auto", interpolation="antialiased")
            axes.set_axis_off()
            if decorate is not None:
                axes.set(autoscale_on=False)
                decorate(axes, r, c)
            if r == 0:
                axes.set_title(shown(titles[c], "picture"), fontsize=10, pad=4)
    save_figure(figure, path)


def save_figure(figure, *paths):
    """Write a matplotlib figure to one or more files atomically, as SVG if a file ends so, else as PNG."""
    for path in map(Path, paths):
        with replacing(path) as temporary, _taken_literally(figure):
            figure.savefig(temporary, format="svg" if path.suffix == ".svg" else "png", facecolor="white")


def draw_or_say(what, draw, *arguments, **options):
    """Draw a picture; where that fails, say so and go on: no picture is worth the run that it shows.

    Args:
        what: name of the picture.
        draw: function that draws and writes it.
        *arguments: of the function.
        **options: of the function.

    Returns:
        Whether there is a picture now.
    """
    try:
        draw(*arguments, **options)
        return True
    except Exception as error:  # of the disk, of a font, of matplotlib: whatever it is, the numbers are safe
        say(f"Warning: no {what} ({' '.join(f'{type(error).__name__}: {error}'.split())[:200]}).", error=True)
        return False


def legend_below(figure, handles, fontsize=9):
    """Draw a legend at the foot of a figure, in as many columns as fit, and make the figure higher by it.

    Args:
        figure: a matplotlib figure.
        handles: labeled patches or lines; none draw nothing.
        fontsize: in points.

    Returns:
        The height of the legend in inches.
    """
    if not handles:
        return 0.0
    place = "lower center" if figure.get_layout_engine() is None else "outside lower center"
    found = _fitting_legend(figure.legend, handles, figure.get_figwidth(), fontsize, loc=place)
    height = _inches(figure, found)[1]
    figure.set_figheight(figure.get_figheight() + height)
    return height


def legend_below_panel(axes, width, fontsize=8):
    """Draw the legend of a panel below the label of its x axis, in as many columns as fit.

    Args:
        axes: the panel, with labeled lines.
        width: of the panel with what stands around it, in inches.
        fontsize: in points.

    Returns:
        The height of the legend in inches, by which the figure should be higher.
    """
    from matplotlib.transforms import ScaledTranslation

    down = ScaledTranslation(0, -BELOW_AXIS, axes.figure.dpi_scale_trans)
    place = {"loc": "upper center", "bbox_to_anchor": (0.5, 0.0), "bbox_transform": axes.transAxes + down}
    return _inches(axes.figure, _fitting_legend(axes.legend, axes.get_lines(), width, fontsize, **place))[1]


def _fitting_legend(draw, handles, width, fontsize, **place):
    """Draw a legend in as many columns as fit into a width in inches, in smaller letters if not even one does."""
    style = {"frameon": False, "handlelength": 1.6, "handleheight": 1.0, "columnspacing": 1.2, "borderaxespad": 0.2}

    def legend(columns, size):
        return draw(handles=handles, ncols=columns, fontsize=size, **style, **place)

    column = legend(1, fontsize)
    share = width / (_inches(column.figure, column)[0] + 1.2 * fontsize / 72)  # columns that fit
    column.remove()
    return legend(max(1, min(len(handles), int(share))), min(1.0, share) * fontsize)


def patches(legend):
    """Return a patch for each (name, color) of a legend."""
    from matplotlib.patches import Patch

    return [Patch(facecolor=color, edgecolor="0.4", linewidth=0.5, label=name) for name, color in legend]


def tidy_axes(axes):
    """Draw a light grid behind the data, and drop the upper and right frame."""
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def class_legend(seen, class_names, palette=None):
    """Make the legend of a sheet.

    Args:
        seen: ids that occur, in order.
        class_names: names of the K classes.
        palette: (n, 3) in 0..255, e.g. the data set's; None: `default_palette`.

    Returns:
        list of (name, (red, green, blue) in 0..1), with ignored pixels if they occur.
    """
    colors = full_palette(palette) / 255.0
    named = {k: shown(class_names[k], "picture") if k < len(class_names) else f"unknown {k}" for k in seen}
    if IGNORE_INDEX in named:
        named[IGNORE_INDEX] = "ignored"
    return [(name, tuple(colors[k].tolist())) for k, name in named.items()]


def _cells(image, maps, palette):
    step = max(1, np.shape(image)[1] // CELL_PIXELS)
    image = to_display(np.asarray(image)[::step, ::step])
    return [image, *(overlay(image, np.asarray(classes)[::step, ::step], palette) for classes in maps)]


@contextlib.contextmanager
def _taken_literally(figure):
    """Make all texts of a figure mean what they say: a dollar sign in a name begins no formula."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
        text.set_text(printable(text.get_text(), keep="\n"))
    with warnings.catch_warnings():
        # Characters that the font lacks are drawn as boxes.
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)
        yield


def _inches(figure, artist):
    """Return width and height of an artist."""
    with _taken_literally(figure):
        extent = artist.get_window_extent()
    return extent.width / figure.dpi, extent.height / figure.dpi

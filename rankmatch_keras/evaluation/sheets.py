"""Sheets: a grid of pictures with titles above and a legend of classes below."""

from rankmatch_keras.evaluation.palette import IGNORE, full_palette
from rankmatch_keras.files import replacing

CELL_INCHES = 3.2  # width of one picture on a sheet
CELL_PIXELS = 832  # pictures larger than that on a sheet are thinned out: twice what the cell shows
LEGEND_ROW_INCHES = 0.26


def draw_sheet(path, cells, titles, legend, decorate=None):
    """Writes a PNG of pictures in rows and columns.

    Args:
        path: file to write; its folder is made if needed.
        cells: rows of uint8 (H, W, 3) pictures, those of a row of one size.
        titles: one per column.
        legend: (name, colour in 0..1) per class, see `class_legend`; may be empty.
        decorate: called as ``decorate(axes, row, column)`` to draw upon a picture; its pixels are the axes' units.
    """
    from matplotlib.figure import Figure  # without pyplot: no window, no global state

    columns = len(titles)
    heights = [CELL_INCHES * row[0].shape[0] / row[0].shape[1] for row in cells]
    width = CELL_INCHES * columns
    per_row = max(1, int(width // (0.45 + 0.085 * max((len(name) for name, _ in legend), default=1))))
    legend_rows = -(-len(legend) // per_row)
    foot = LEGEND_ROW_INCHES * legend_rows + 0.15
    height = sum(heights) + 0.06 * len(cells) + 0.3 + foot
    figure = Figure(figsize=(width, height), dpi=130)
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
                axes.set_title(titles[c], fontsize=10, pad=4)
    if legend:
        _draw_legend(figure, legend, per_row)
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", facecolor="white")


def class_legend(seen, class_names, palette=None):
    """What the colours of a sheet mean.

    Args:
        seen: ids that occur, in order.
        class_names: names of the K classes.
        palette: (n, 3) of 0..255, e.g. the data set's; None: `default_palette`.

    Returns:
        list of (name, (red, green, blue) in 0..1), ignored pixels included where they are seen.
    """
    colours = full_palette(palette) / 255.0
    named = {k: class_names[k] if k < len(class_names) else f"unknown {k}" for k in seen}
    if IGNORE in named:
        named[IGNORE] = "ignored"
    return [(name, tuple(colours[k].tolist())) for k, name in named.items()]


def _draw_legend(figure, legend, per_row):
    from matplotlib.patches import Patch

    patches = [Patch(facecolor=colour, edgecolor="0.4", linewidth=0.5, label=name) for name, colour in legend]
    figure.legend(
        handles=patches,
        loc="lower center",
        ncols=min(per_row, len(patches)),
        frameon=False,
        fontsize=9,
        handlelength=1.2,
        handleheight=1.0,
        columnspacing=1.2,
        borderaxespad=0.2,
    )

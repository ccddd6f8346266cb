"""A page: one HTML file that needs no network, no other file and no program but a browser."""

import base64
import functools
import io
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from PIL import Image

from rankmatch_keras.evaluation.plots import draw_or_say
from rankmatch_keras.files import replacing
from rankmatch_keras.texts import printable

WIDEST = 720  # pixels of a picture in the page


def write_page(out: Path, template: str, **values: Any) -> None:
    """Fill a template of this folder and write it, as a whole or not at all.

    Args:
        out: file to write.
        template: its name.
        **values: what it shows.
    """
    page = _environment().get_template(template).render(**values)
    with replacing(out) as temporary:
        temporary.write_text(page, encoding="utf-8")


def picture_uri(picture: np.ndarray, widest: int = WIDEST) -> str:
    """Return an RGB picture, uint8 (H, W, 3), at most so many pixels wide, as a data URI."""
    image = Image.fromarray(picture)
    image.thumbnail((widest, 4 * widest))
    file = io.BytesIO()
    image.save(file, format="WEBP", quality=85)
    return _uri("image/webp", file.getvalue())


def figure_uri(name: str, draw: Callable[[Path], Any]) -> str | None:
    """Draw a figure and return it as a data URI; `None`, with a line that says why, where that fails.

    Args:
        name: name of its file, without an ending.
        draw: writes the figure as SVG into a folder or file; it gets the path of the file.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.svg"
        if not draw_or_say(name, draw, path) or not path.is_file():
            return None
        return _uri("image/svg+xml", path.read_bytes())


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


@functools.cache
def _environment() -> jinja2.Environment:
    # Names of classes, methods and files are anybody's text: escaped everywhere.
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("rankmatch_keras.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda value: "–" if value is None or math.isnan(value) else f"{100 * value:.1f}"
    environment.filters["plain"] = printable
    return environment

"""The site: what its pages name in the API exists, and the built pages ask nothing of other hosts."""

import importlib
import pathlib
import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.once
ROOMS = ("methods", "losses", "layers", "models", "data", "training", "callbacks", "evaluation", "check")


def public(room):
    """Return the public names of a room: its `__all__`, or what it offers under its own name."""
    module = importlib.import_module(f"rankmatch_keras.{room}")
    text = pathlib.Path(module.__file__).read_text(encoding="utf-8")
    own = re.findall(r"^(?:def|class) ([A-Za-z]\w*)", text, re.MULTILINE)
    return {*getattr(module, "__all__", ()), *re.findall(r"import (\w+) as \1\b", text), *own}


@pytest.mark.parametrize("room", ROOMS)
def test_every_public_name_has_its_place(room, checkout):
    page = (checkout / "docs" / "api" / f"{room}.md").read_text(encoding="utf-8")
    assert {*re.findall(r"^ {8}- (\w+)$", page, re.MULTILINE)} == public(room)


def test_pages_load_from_their_own_host_alone(checkout, tmp_path):
    """Builds with warnings as errors; a link that a person clicks may lead elsewhere, a script or an image may not."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    built = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    pages = [*tmp_path.rglob("*.html")]
    assert len(pages) > 40
    for page in pages:
        text = page.read_text(encoding="utf-8")
        loaded = re.findall(r"<(?:script|img|iframe|source|link)\b[^>]*?\b(?:src|href)=[\"']?([^\"'\s>]+)", text)
        assert not [source for source in loaded if source.startswith(("http:", "https:", "//"))], page
    assert (tmp_path / "api" / "losses.html").read_text(encoding="utf-8").count("rankmatch_keras.losses.") > 10
    styles = "".join(style.read_text(encoding="utf-8") for style in tmp_path.rglob("*.css"))
    assert not re.findall(r"url\([\"']?(?:https?:)?//", styles)

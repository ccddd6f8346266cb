"""Links, files and modules that the documentation names exist, and its pages open alike."""

import importlib.util
import re

import pytest
from documents import FENCE, pages

pytestmark = pytest.mark.once
FOLDERS = ("", "rankmatch_keras/", "docs/")


def anchors(text):
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_links_lead_somewhere(checkout):
    dead = []
    for page, text in pages(checkout).items():
        for link in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text)):
            file, _, anchor = link.partition("#")
            target = page.parent / file if file else page
            if link.startswith("http") or target.is_dir():
                continue
            if not target.exists() or (anchor and anchor not in anchors(target.read_text(encoding="utf-8"))):
                dead.append(f"{page.relative_to(checkout)}: {link}")
    assert not dead


def test_files_and_modules_exist(checkout):
    missing = []
    for page, text in pages(checkout).items():
        for file in set(re.findall(r"(?<![\w/.*])[a-z_]\w*(?:/\w+)*/\w{2,}\.py\b", text)):
            if not any((checkout / folder / file).is_file() for folder in FOLDERS):
                missing.append(f"{page.relative_to(checkout)}: {file}")
        for module in set(re.findall(r"(?:from|-m) (rankmatch_keras(?:\.\w+)*)", text)):
            if importlib.util.find_spec(module) is None:
                missing.append(f"{page.relative_to(checkout)}: {module}")
    assert not missing


def test_pages_open_with_readers_and_a_command(checkout):
    index = (checkout / "docs" / "README.md").read_text(encoding="utf-8")
    for page in [*checkout.glob("docs/*.md"), *checkout.glob("docs/start/*.md")]:
        title, _, rest = page.read_text(encoding="utf-8").partition("\n\n")
        assert title.startswith("# ") and rest.startswith("For "), page.name
        assert "```" in "\n".join(rest.splitlines()[:8]), page.name
        assert page.name == "README.md" or f"({page.relative_to(checkout / 'docs').as_posix()})" in index


def test_lines_stay_readable(checkout):
    for page, text in pages(checkout).items():
        assert not [line for line in text.splitlines() if len(line) > 400 and not line.startswith("|")], page

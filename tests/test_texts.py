"""Texts that come from files mean nothing but themselves, wherever they are shown."""

import ast
import io
import re
import sys
from pathlib import Path

import pytest
from hostile_texts import EVIL
from hypothesis import given, settings
from hypothesis import strategies as st

from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import about, counted, printable, say, shown

pytestmark = pytest.mark.once
PACKAGE = Path(__file__).resolve().parents[1] / "rankmatch_keras"

PLAIN = (
    "traffic light",
    "traffic_light",
    "Zellkern 2 (hell)",
    "葉",
    "می‌خواهم",
    "naïve",
    "rankmatch[top_k=6,rank_weight=0.02]",
)
texts = st.one_of(st.sampled_from(EVIL), st.text(max_size=20), st.text("=+-@ \t$<>&|*_`[]()\\\x1b\n", max_size=12))


def test_numbers_of_things():
    assert [counted(number, "image") for number in (0, 1, 2)] == ["0 images", "1 image", "2 images"]
    assert counted(1, "such class") == "1 such class" and counted(3, "such class") == "3 such classes"


@pytest.mark.parametrize("text", PLAIN)
def test_plain_texts_stay(text):
    for place in ("csv", "markdown", "picture"):
        assert shown(text, place) == printable(text) == text


def test_shown_by_hand():
    assert printable("a\x1b[2J\ud800\n") == r"a\x1b[2J\ud800\n"
    assert shown("=1", "csv") == "'=1" and shown(" -1", "csv") == "' -1"
    assert shown("<b>|*x*", "markdown") == r"&lt;b&gt;\|\*x\*"
    assert shown("50 % of_$^", "latex") == r"50 \% of\_\$\textasciicircum{}"
    assert shown("_x", "picture") == " _x" and len(shown("a" * 100, "picture")) == 80


@given(texts)
@settings(max_examples=300, deadline=None)
def test_every_text_is_harmless_in_every_place(text):
    for place in ("csv", "markdown", "latex", "picture"):
        found = shown(text, place)
        assert not re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\ud800-\udfff]", found)
    assert not re.match(r"\s*[=+\-@]", shown(text, "csv"))
    marked = shown(text, "markdown")
    assert "<" not in marked and ">" not in marked
    assert not re.search(r"(?<!\\)(\\\\)*[|*`$~]", marked), "no markup that is not escaped"
    bare = re.sub(r"\\[a-z]+(\{\})?|\\[&%$#_{}]", "", shown(text, "latex").replace(r"$\pm$", ""))
    assert not re.search(r"[\\&%$#_^~{}<>|]", bare)


def test_say_writes_what_the_terminal_can_show(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    say("é\x1b[0m\nnext")
    assert stream.buffer.getvalue() == b"\\xe9\\x1b[0m\nnext\n"


def test_an_error_is_one_line():
    error = UserError("classes", "a\nb\x1b[2J", "Rename them.")
    assert str(error) == r"Expected classes; found a\nb\x1b[2J. Rename them."


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_everything_is_printed_by_say(path):
    """The one function that prints, so that no name reaches a terminal as it is."""
    called = [ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
    assert not {"click.echo", "echo", "click.secho", "print"} & {*called} or path.name == "texts.py"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "1 s"), (89.4, "89 s"), (90, "2 min"), (1500, "25 min"), (7170, "2 h 0 min"), (9000, "2 h 30 min")],
)
def test_times_are_written_as_a_person_would(seconds, text):
    assert about(seconds) == f"about {text}"

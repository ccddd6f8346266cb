"""Texts that come from files, such as names of classes: made harmless for the place where they are shown."""

import html
import re
import shutil
import sys
import unicodedata

# Control characters, marks that change the direction of text, halves of characters, line and paragraph separators;
# but Persian, Hindi and emoji need the joiners.
_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = "\u200c\u200d"
_LONGEST_IN_PICTURE = 80
_MARKDOWN = re.compile(r"[\\`*|~$]|^[-+#=]|(?<!\w)_|_(?!\w)|(?<=\])\(")
_LATEX = {
    "\\": r"\textbackslash{}",
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
}


def printable(text: object, keep: str = "") -> str:
    r"""Escape what a terminal obeys or no file can hold, as Python would write it: `\x1b`, `\n`, `\ud800`.

    Args:
        text: any text, or what `str` turns into one.
        keep: characters to leave as they are.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(
        repr(c)[1:-1] if unicodedata.category(c) in _HIDDEN and c not in _JOINERS + keep else c for c in text
    )


def shown(text: object, place: str) -> str:
    """Write a text so that it means nothing but itself where it is shown.

    Args:
        text: any text, or what `str` turns into one.
        place: "csv": a cell that no spreadsheet takes for a formula; "markdown": a phrase without markup, HTML, math or
            cells of its own; "latex": a phrase without commands; "picture": a label of a figure, at most 80 characters.

    Returns:
        One line, `printable`.
    """
    return _PLACES[place](printable(text))


def counted(number: int, what: str) -> str:
    """Write a number and what there is of it, in the plural unless it is one: "1 image", "2 classes".

    Args:
        number: how many.
        what: one of it; its last word gets the ending.
    """
    return f"{number:d} {what}" if number == 1 else f"{number:d} {what}{'es' if what.endswith('s') else 's'}"


def about(seconds: float) -> str:
    """Write a time as a person would: "about 40 s", "about 25 min", "about 2 h 10 min"."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    return f"about {minutes} min" if minutes < 120 else f"about {minutes // 60} h {minutes % 60} min"


def say(text: object = "", error: bool = False) -> None:
    """Print for a person: every line `printable`, and escaped where the terminal lacks a character.

    Args:
        text: one line or several.
        error: whether it goes to the standard error.
    """
    if _Progress.waits:
        show_progress("")
    stream = sys.stderr if error else sys.stdout
    print(_in_letters_of(stream, printable(text, keep="\n\t")), file=stream, flush=True)


class _Progress:
    """Whether the terminal shows a line of progress, which the next text replaces."""

    waits = False


def show_progress(text: str, last: bool = False) -> None:
    """Write a line of progress on the standard error in place of the one before; nothing where it is no terminal.

    Args:
        text: what fits into the terminal is shown; empty: the line is wiped.
        last: whether the line stays.
    """
    _Progress.waits = bool(text) and not last
    if not sys.stderr.isatty():
        return
    width = shutil.get_terminal_size().columns - 1  # a full line would begin the next one
    line = _in_letters_of(sys.stderr, printable(text))[:width].ljust(width)
    sys.stderr.write(f"\r{line}" + ("\n" if last else "" if text else "\r"))
    sys.stderr.flush()


def _in_letters_of(stream, text):
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _for_csv(text):
    starts_formula = unicodedata.normalize("NFKC", text).lstrip()[:1] in ("=", "+", "-", "@")
    return f"'{text}" if starts_formula else text


def _for_markdown(text):
    return _MARKDOWN.sub(r"\\\g<0>", html.escape(text, quote=False))


def _for_latex(text):
    return "".join(_LATEX.get(letter, letter) for letter in text)


def _for_picture(text):
    text = text if len(text) <= _LONGEST_IN_PICTURE else f"{text[: _LONGEST_IN_PICTURE - 1]}…"
    # Matplotlib leaves labels with an underscore in front out of legends.
    return f" {text}" if text.startswith("_") else text


_PLACES = {"csv": _for_csv, "markdown": _for_markdown, "latex": _for_latex, "picture": _for_picture}

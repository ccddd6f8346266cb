"""Errors that a person can fix: the command line prints their message without a traceback."""

import difflib
from collections.abc import Iterable
from typing import Any

from rankmatch_keras.texts import printable


class UserError(ValueError):
    """Input that cannot work: the message says what was expected, what was found where, and what to do, on one line.

    Args:
        expected: what the program needed, as a short phrase.
        found: what it found instead and where (file, option or folder).
        remedy: what the person can do about it, as an imperative.
    """

    def __init__(self, expected: str, found: str, remedy: str):
        expected, found, remedy = map(printable, (expected, found, remedy))
        super().__init__(f"Expected {expected}; found {found}. {remedy}")
        self.expected, self.found, self.remedy = expected, found, remedy


class Contradiction(UserError):
    """Files that mean different things by the same values: to read them would be a guess, so none is left out."""


def did_you_mean(name: Any, known: Iterable[str], otherwise: str = "Choose one of them.", cutoff: float = 0.6) -> str:
    """Return a remedy that names the known name nearest to a mistyped one, whatever its case.

    Args:
        name: what was given.
        known: the names there are.
        otherwise: the remedy where none of them is near.
        cutoff: similarity that counts as near, 0 to 1 (as in `difflib`).
    """
    originals = {text.lower(): text for text in known}
    near = difflib.get_close_matches(str(name).lower(), originals, 1, cutoff)
    return f"Did you mean {originals[near[0]]}?" if near else otherwise


class NonFiniteLoss(RuntimeError):
    """The loss became infinite or NaN: the run cannot go on."""


class Interrupted(KeyboardInterrupt):
    """An interrupt from the keyboard after which a run has saved everything; its text says where and how to go on."""


class WorkerLost(RuntimeError):
    """Another process of a distributed run is gone: this one cannot go on.

    Args:
        reason: what the framework said, on one line.
    """

    def __init__(self, reason: str):
        super().__init__(
            f"Another process of this run is gone ({reason[:160]}). The last whole epoch is kept: start all processes "
            "again with --resume."
        )

"""Machinery of the option catalog: descriptions of annotated dataclass fields, and `NAME=VALUE` texts."""

import dataclasses
import json
import types
import typing
from collections.abc import Iterable
from typing import Any, Literal

from annotated_types import Ge, Le

from rankmatch_keras.errors import UserError

KEEP: Any = object()  # `--smoke` leaves the option alone


@dataclasses.dataclass(frozen=True)
class About:
    """Facts about an option beside its type, range and default.

    Attributes:
        group: heading in the help.
        help: one sentence.
        flag: `"always"`; `"own data"`: recipes fix it; `"never"`: the program sets it.
        on_resume: `"same"` as when the run began; `"free"` to change (where it computes, not what); `"recorded"`: may
            change, and the record says from which step on.
        in_comparison: `"same"` in all runs of one table; `"free"` to differ; `"named"`: rows that differ in it say so;
            `"per method"`: likewise, and every method of a comparison may have its own value.
        of_method: whether it is an option of the method, which `--set` can give too.
        smoke: value with `--smoke`, or `KEEP`.
    """

    group: str
    help: str
    flag: Literal["always", "own data", "never"] = "always"
    on_resume: Literal["same", "free", "recorded"] = "same"
    in_comparison: Literal["same", "free", "named", "per method"] = "same"
    of_method: bool = False
    smoke: Any = KEEP


@dataclasses.dataclass(frozen=True)
class Option:
    """One field of the catalog.

    Attributes:
        name: name of the field; the flag is `--name` with hyphens.
        kind: type of a value: bool, int, float, str, Path or tuple.
        default: default value.
        about: further facts.
        choices: allowed values; empty where any fit.
        least: smallest value, or `None`.
        most: largest value, or `None`.
    """

    name: str
    kind: type
    default: Any
    about: About
    choices: tuple = ()
    least: float | None = None
    most: float | None = None

    @property
    def flag(self) -> str:
        """The flag on the command line."""
        return f"--{self.name.replace('_', '-')}"


def catalog_of(cls: type) -> dict[str, Option]:
    """Describe the fields of a dataclass by name, from annotations `Annotated[type, About(...), ...]`."""
    hints = typing.get_type_hints(cls, include_extras=True)
    return {field.name: _option(field, hints[field.name]) for field in dataclasses.fields(cls)}


def _option(field, hint) -> Option:
    facts: tuple[Any, ...] = hint.__metadata__
    about = next(fact for fact in facts if isinstance(fact, About))
    least: Any = next((fact.ge for fact in facts if isinstance(fact, Ge)), None)
    most: Any = next((fact.le for fact in facts if isinstance(fact, Le)), None)
    kind = _without_none(hint.__origin__)
    choices: tuple = ()
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        kind = type(choices[0])
    return Option(field.name, typing.get_origin(kind) or kind, field.default, about, choices, least, most)


def _without_none(kind):
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        (kind,) = (part for part in typing.get_args(kind) if part is not type(None))
    return kind


def names_where(catalog: dict[str, Option], **about: Any) -> tuple[str, ...]:
    """Return the names of the options with the given facts, e.g. `on_resume="free"`."""
    return tuple(
        name
        for name, option in catalog.items()
        if all(getattr(option.about, key) == value for key, value in about.items())
    )


def parse_assignments(texts: Iterable[str]) -> dict[str, Any]:
    """Parse `NAME=VALUE` texts: numbers, true, false, null and lists as in JSON, anything else as text.

    Raises:
        UserError: a text has another form, or two give one name different values.
    """
    values: dict[str, Any] = {}
    for text in texts:
        name, sign, value = (part.strip() for part in text.partition("="))
        if not sign or not name:
            raise UserError("an option of the method as NAME=VALUE", f"--set {text}", "Give e.g. --set top_k=6.")
        parsed = _from_json(value)
        if same_text(values.setdefault(name, parsed)) != same_text(parsed):
            raise UserError(f"one value of {name}", f"{values[name]} and {value} in --set", "Leave one of them.")
    return values


def _from_json(text):
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def same_text(value: Any) -> str:
    """Return a text that two values share where they mean the same: 1 and true differ, 1 and 1.0 do not."""
    number = isinstance(value, int) and not isinstance(value, bool)
    return json.dumps(float(value) if number else value, default=str)

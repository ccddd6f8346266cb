"""Which images to label, from nothing but names and the classes in each image.

One order decides everything: first what covers all classes with few images, then a seeded random order. The labelled
images are its beginning and the validation images its end, so that a smaller set lies inside a larger one.
"""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import accumulate

from rankmatch_keras.data.sets.samples import seeded_order
from rankmatch_keras.errors import UserError


@dataclass(frozen=True)
class Plan:
    """The names of a split; together all names, each once.

    Attributes:
        labeled: labelled images, in the order in which they were chosen.
        unlabeled: the rest, in natural order.
        val: validation images, in natural order.
        num_covering: how many labelled images this order needs until it covers every class that it can.
    """

    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...]
    val: tuple[str, ...]
    num_covering: int


def plan_split(
    presence: Mapping[str, Set[int]],
    count: int,
    seed: int = 0,
    *,
    groups: Mapping[str, str] | None = None,
    every: int = 1,
    val: int = 0,
) -> Plan:
    """Decide which images are labelled, which are for validation and which are neither.

    Args:
        presence: the classes in each image, by its name.
        count: number of labelled images.
        seed: which random order.
        groups: the group (volume, video, patient) of each name: groups are labelled or for validation as a whole,
            and numbers become those of the whole groups that come nearest.
        every: only each so-many-th image in natural order (of its group) may be labelled; the others of a labelled
            group are unlabelled.
        val: number of validation images.

    Returns:
        The names of each part.

    Raises:
        UserError: there are not enough images, or labelled and validation groups overlap.
    """
    names = natural_order(presence)
    members = {name: [name] for name in names} if groups is None else _members(names, groups)
    allowed = set(names[::every] if groups is None else (n for inside in members.values() for n in inside[::every]))
    candidates = {unit: [name for name in inside if name in allowed] for unit, inside in members.items()}
    _require_enough(count, len(allowed), every)
    head, tail = covering_order(
        {unit: set().union(*(presence[n] for n in inside)) for unit, inside in candidates.items() if inside}, seed
    )
    order = [*head, *tail, *seeded_order((unit for unit, inside in candidates.items() if not inside), seed)]
    num_labeled = nearest_prefix([len(candidates[unit]) for unit in order], count)
    num_val = nearest_prefix([len(members[unit]) for unit in reversed(order)], val)
    if num_labeled + num_val > len(order):
        what = "images" if groups is None else "whole groups"
        raise UserError(
            f"labelled and validation {what} that fit into the {len(order)} there are",
            f"{num_labeled} and {num_val}",
            "Ask for fewer.",
        )
    labeled = [name for unit in order[:num_labeled] for name in candidates[unit]]
    kept = {name for unit in order[len(order) - num_val :] for name in members[unit]}
    rest = [name for name in names if name not in kept.union(labeled)]
    covering = sum(len(candidates[unit]) for unit in head)
    return Plan(tuple(labeled), tuple(rest), tuple(name for name in names if name in kept), covering)


def covering_order(presence: Mapping[str, Set[int]], seed: int) -> tuple[list[str], list[str]]:
    """Order names so that the first few cover all classes.

    At each step the name that adds most classes not yet covered comes next, the first of the seeded order among
    equals; once all are covered, the rest follows in the seeded order.

    Args:
        presence: the classes that each name stands for.
        seed: which random order.

    Returns:
        `(those that cover all classes, the rest)`.
    """
    rest = seeded_order(presence, seed)
    uncovered = set().union(*presence.values())
    head = []
    while uncovered:
        best = max(rest, key=lambda name: len(uncovered & presence[name]))
        rest.remove(best)
        head.append(best)
        uncovered -= presence[best]
    return head, rest


def nearest_prefix(sizes: Sequence[int], wanted: int) -> int:
    """Return how many leading groups come nearest to `wanted` members: at least one, and fewer among equals."""
    if wanted == 0:
        return 0
    totals = list(accumulate(sizes))
    return 1 + min(range(len(totals)), key=lambda n: abs(totals[n] - wanted))


def group_names(names: Iterable[str], pattern: str) -> dict[str, str]:
    """Return the group of each name: the first group of a regular expression's match, or the whole match.

    Raises:
        UserError: the expression is wrong, or does not match every name (the first is shown).
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError("a regular expression", f"{pattern!r}: {error}", "Correct it, e.g. '^[^_]+'.") from error
    matches = {name: expression.search(name) for name in names}
    groups = {name: match[min(1, expression.groups)] for name, match in matches.items() if match}
    without = [name for name in matches if groups.get(name) is None]
    if without:
        raise UserError(
            f"a group in every name by {pattern!r}",
            f"none in {without[0]!r} ({len(without)} such of {len(matches)} images)",
            "Correct the expression.",
        )
    return groups


def natural_order(names: Iterable[str]) -> list[str]:
    """Sort names with numbers by value: `slice_2` before `slice_10`."""

    def key(name: str):
        # Text and digits alternate; digits are compared by length, then as text, so that any number of them will do.
        parts = re.split("([0-9]+)", name)
        digits = [part.lstrip("0") for part in parts[1::2]]
        return [*zip(parts[::2], [(len(part), part) for part in [*digits, ""]], strict=True)], name

    return sorted(names, key=key)


def _members(names: Iterable[str], groups: Mapping[str, str]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(groups[name], []).append(name)
    return members


def _require_enough(count: int, available: int, every: int) -> None:
    if not 1 <= count <= available:
        spaced = f" at distances of {every}" if every > 1 else ""
        raise UserError(f"1 to {available} labelled images{spaced}", f"{count}", "Ask for a number in this range.")

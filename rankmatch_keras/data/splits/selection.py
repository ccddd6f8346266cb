"""Selection of images to label, from nothing but names and the classes in each image.

One order decides everything: first the few images that cover all classes, then a seeded random order. The labeled
images are its beginning and the validation images its end, so that a smaller set lies inside a larger one.
"""

import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import accumulate

from rankmatch_keras.data.readers.folders import natural_order
from rankmatch_keras.data.sets.samples import seeded_order
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import counted


@dataclass(frozen=True)
class Selection:
    """Names of a split; together all names, each once.

    Attributes:
        labeled: labeled images, in the order of selection.
        unlabeled: the rest, in natural order.
        val: validation images, in natural order.
        num_covering: how many labeled images this order needs to cover every class that it can.
    """

    labeled: tuple[str, ...]
    unlabeled: tuple[str, ...]
    val: tuple[str, ...]
    num_covering: int


def select_images(
    presence: Mapping[str, Set[int]],
    count: int,
    seed: int = 0,
    *,
    groups: Mapping[str, str] | None = None,
    every: int = 1,
    val: int = 0,
) -> Selection:
    """Select which images are labeled and which are for validation.

    Args:
        presence: the classes in each image, by its name.
        count: number of labeled images.
        seed: selects the random order.
        groups: the group (volume, video, patient) of each name: groups are labeled or for validation as a whole, and
            numbers become those of the nearest whole groups.
        every: only every so-many-th image in natural order (of its group) may be labeled; the others of a labeled group
            are unlabeled.
        val: number of validation images.

    Returns:
        The names of each part.

    Raises:
        UserError: there are not enough images, or labeled and validation groups overlap.
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
            f"labeled and validation {what} that fit into the {len(order)} there are",
            f"{num_labeled} and {num_val}",
            "Ask for fewer.",
        )
    labeled = [name for unit in order[:num_labeled] for name in candidates[unit]]
    kept = {name for unit in order[len(order) - num_val :] for name in members[unit]}
    rest = [name for name in names if name not in kept.union(labeled)]
    covering = sum(len(candidates[unit]) for unit in head)
    return Selection(tuple(labeled), tuple(rest), tuple(name for name in names if name in kept), covering)


def covering_order(presence: Mapping[str, Set[int]], seed: int) -> tuple[list[str], list[str]]:
    """Order names so that the first few cover all classes.

    At each step the name that adds most classes not yet covered comes next, among equals the first of the seeded order;
    once all are covered, the rest follows in the seeded order.

    Args:
        presence: the classes of each name.
        seed: selects the random order.

    Returns:
        `(names that cover all classes, the rest)`.
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
    """Return how many leading groups come nearest to `wanted` members: at least one, and fewer if two are as near."""
    if wanted == 0:
        return 0
    totals = list(accumulate(sizes))
    return 1 + min(range(len(totals)), key=lambda n: abs(totals[n] - wanted))


def group_names(names: Iterable[str], pattern: str) -> dict[str, str]:
    """Return the group of each name: the first group of a regular expression's match, or the whole match.

    Raises:
        UserError: the expression is invalid, or does not match every name (the first is shown).
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
            f"none in {without[0]!r} ({len(without)} such of {counted(len(matches), 'image')})",
            "Correct the expression.",
        )
    return groups


def _members(names: Iterable[str], groups: Mapping[str, str]) -> dict[str, list[str]]:
    members: dict[str, list[str]] = {}
    for name in names:
        members.setdefault(groups[name], []).append(name)
    return members


def _require_enough(count: int, available: int, every: int) -> None:
    if not 1 <= count <= available:
        spaced = f" at distances of {every}" if every > 1 else ""
        raise UserError(f"1 to {available} labeled images{spaced}", f"{count}", "Ask for a number in this range.")

"""Hierarchy of a run's classes: from a file or from the data set, for the methods that need one."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from rankmatch_keras import data, methods
from rankmatch_keras.data.sets.hierarchies import HIERARCHIES, Hierarchy, parents_of
from rankmatch_keras.errors import UserError
from rankmatch_keras.training.dataset import read_classes
from rankmatch_keras.training.options import Options
from rankmatch_keras.training.yaml_files import read_mapping

EXAMPLE = "Write a line `animal: [cat, dog]` for each group"


def read_hierarchy(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a file of groups, a YAML mapping `name: [children]`, and check what can be checked without the classes.

    Raises:
        UserError: it cannot be read, has another form, or is no hierarchy, see `data.parents_of`.
    """
    groups = read_mapping(path, "a class hierarchy", "`group: [classes]` lines", f"{EXAMPLE}.", texts=True)
    for name, children in groups.items():
        if children == "":
            groups[name] = []
        elif not isinstance(children, list) or not all(isinstance(child, str) and child for child in children):
            raise UserError(
                "a list of names under every group", f"another value of {name[:60]!r} in {path}", f"{EXAMPLE}."
            )
    hierarchy = {name: tuple(children) for name, children in groups.items()}
    parents_of(hierarchy, place=str(path))
    return hierarchy


def needs_hierarchy(method: str) -> bool:
    """Return whether a method needs a hierarchy of the classes."""
    return "hierarchy" in methods.options_of(methods.method_named(method))


def check_hierarchy(options: Options) -> None:
    """Check the hierarchy before any data is read, as far as it can be known.

    Raises:
        UserError: the file cannot be used, or the method needs one and neither options nor data set have it.
    """
    if options.hierarchy is not None:
        hierarchy, classes = read_hierarchy(options.hierarchy), read_classes(options.classes or "0")
        if not isinstance(classes, int):
            parents_of(hierarchy, classes, str(options.hierarchy))
    named = options.dataset is not None or options.images is not None  # data made in Python bring their own
    if named and options.hierarchy is None and options.dataset not in HIERARCHIES and needs_hierarchy(options.method):
        raise _missing(options)


def with_hierarchy(dataset: data.SegmentationData, options: Options) -> data.SegmentationData:
    """Return the data set with the hierarchy that the options name in place of its own.

    Raises:
        UserError: the hierarchy is not one of the classes, or the method needs one and there is none.
    """
    if options.hierarchy is not None:
        hierarchy: Hierarchy = read_hierarchy(options.hierarchy)
        parents_of(hierarchy, dataset.class_names, str(options.hierarchy))
        return dataclasses.replace(dataset, hierarchy=hierarchy)
    if dataset.hierarchy is None and needs_hierarchy(options.method):
        raise _missing(options, dataset)
    return dataset


def parents_in(dataset: data.SegmentationData) -> tuple[int, ...] | None:
    """Return the hierarchy of a data set's classes as methods take it.

    Raises:
        UserError: it is not one of the classes.
    """
    if dataset.hierarchy is None:
        return None
    return parents_of(dataset.hierarchy, dataset.class_names, f"the hierarchy of {dataset.name}")


def recorded(hierarchy: Hierarchy | None) -> Mapping[str, list[str]] | None:
    """Return a hierarchy in a form fit for JSON."""
    return None if hierarchy is None else {name: list(children) for name, children in hierarchy.items()}


def _missing(options, dataset=None):
    classes = "" if dataset is None else f" for the classes {', '.join(map(str, dataset.class_names))[:200]}"
    return UserError(
        f"a hierarchy of the classes for --method {options.method}",
        f"none{classes}",
        f"{EXAMPLE}, and `sky: [sky]` for a class in none, into a file, and give it as --hierarchy classes.yaml.",
    )

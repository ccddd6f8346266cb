"""Hierarchies: the classes of a data set as leaves of a tree of named groups."""

from collections.abc import Mapping, Sequence

from rankmatch_keras.errors import UserError, did_you_mean

# Name of a group -> the classes and groups in it. A class that is in no group is a group of itself.
Hierarchy = Mapping[str, Sequence[str]]

MOST = 255  # groups, and classes
SHOWN = 60  # characters of a name, or names, in a message

# As the challenge groups its classes, with its "indoor" called household.
VOC_HIERARCHY: Hierarchy = {
    "background": ("background",),
    "animal": ("bird", "cat", "cow", "dog", "horse", "sheep"),
    "vehicle": ("aeroplane", "bicycle", "boat", "bus", "car", "motorbike", "train"),
    "household": ("bottle", "chair", "diningtable", "pottedplant", "sofa", "tvmonitor"),
    "person": ("person",),
}
# As the benchmark groups its classes.
CITYSCAPES_HIERARCHY: Hierarchy = {
    "flat": ("road", "sidewalk"),
    "construction": ("building", "wall", "fence"),
    "object": ("pole", "traffic light", "traffic sign"),
    "nature": ("vegetation", "terrain"),
    "sky": ("sky",),
    "human": ("person", "rider"),
    "vehicle": ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
}
# Those of Cityscapes for the classes of CamVid, as far as they group any.
CAMVID_HIERARCHY: Hierarchy = {
    "flat": ("road", "pavement"),
    "construction": ("building", "fence"),
    "object": ("pole", "sign"),
    "tree": ("tree",),
    "sky": ("sky",),
    "human": ("pedestrian", "bicyclist"),
    "car": ("car",),
}
# By loader.
HIERARCHIES = {"PascalVOC": VOC_HIERARCHY, "Cityscapes": CITYSCAPES_HIERARCHY, "CamVid": CAMVID_HIERARCHY}


def parents_of(
    hierarchy: Hierarchy, class_names: Sequence[str] | None = None, place: str = "the hierarchy"
) -> tuple[int, ...]:
    """Return a hierarchy as the numbers of its nodes, and check it.

    Args:
        hierarchy: the groups; `{"animal": ["cat", "dog"], "sky": ["sky"]}` has the classes cat and dog in a group, and
            sky in none. Groups may hold groups.
        class_names: the classes in the order of their ids; `None`: all names that are no groups.
        place: where the hierarchy comes from, for messages.

    Returns:
        Of each node, the classes first and then the groups in their order, the number of the group above it, or -1.

    Raises:
        UserError: there is no group, or one is empty or named as a class; a name is neither a class nor a group; a
            class or group is in two groups, or a class in none; groups hold each other in a circle.

    Example:
        >>> parents_of({"animal": ["cat", "dog"], "sky": ["sky"]}, ["sky", "cat", "dog"])
        (-1, 3, 3, -1)
    """
    alone = [name for name, children in hierarchy.items() if tuple(children) == (name,)]
    groups = {name: children for name, children in hierarchy.items() if name not in alone}
    _require_groups(groups, place)
    if class_names is None:
        children = [name for group in groups.values() for name in group if name not in groups]
        class_names = tuple(dict.fromkeys([*alone, *children]))
        if len(class_names) > MOST:
            raise UserError(f"at most {MOST} classes", f"{len(class_names)} in {place}", "Remove what is no class.")
    for name in groups:
        if name in class_names:
            raise UserError(
                "groups whose names are no classes",
                f"the class {_named(name)} with other names below it in {place}",
                f"Rename the group, or write `{name}: [{name}]` for a class that is in no group.",
            )
    nodes = [*class_names, *groups]
    above = _groups_above(groups, alone, nodes, place)
    missing = [name for name in class_names if name not in above]
    if missing:
        raise UserError(
            "every class in the hierarchy",
            f"none of {_named(*missing)} in {place}",
            f"Put each into a group, or write `{missing[0]}: [{missing[0]}]` for a class that is in no group.",
        )
    _require_no_circle(groups, above, place)
    return tuple(-1 if above.get(name) is None else nodes.index(above[name]) for name in nodes)


def _require_groups(groups, place):
    """Check that there are groups, that none is empty, and how many they are."""
    if not groups:
        raise UserError(
            "a hierarchy with at least one group of classes", f"none in {place}", "Write e.g. `animal: [cat, dog]`."
        )
    empty = [name for name, children in groups.items() if not children]
    if empty:
        raise UserError(
            "classes or groups in every group", f"nothing in {_named(*empty)} in {place}", "Fill it, or remove it."
        )
    if len(groups) > MOST:
        raise UserError(f"at most {MOST} groups", f"{len(groups)} in {place}", "Join some of them.")


def _groups_above(groups, alone, nodes, place):
    """Return the group above each name that is named below one, `None` of a class that is in no group."""
    above: dict[str, str | None] = {}
    pairs = [(name, None) for name in alone] + [(name, group) for group, below in groups.items() for name in below]
    for name, group in pairs:
        if name not in nodes:
            listed = ", ".join(map(str, nodes))
            remedy = did_you_mean(name, nodes, f"Take one of {listed[:300]}{'...' if len(listed) > 300 else ''}.")
            raise UserError("names of classes and groups", f"{_named(name)} in {place}", remedy)
        if name in above:
            places = " and ".join("in no group" if x is None else f"in {_named(x)}" for x in (above[name], group))
            raise UserError(
                "every class and group in one place", f"{_named(name)} {places} in {place}", "Leave one of them."
            )
        above[name] = group
    return above


def _require_no_circle(groups, above, place):
    for name in groups:
        seen = [name]
        while above.get(seen[-1]) is not None:
            seen.append(above[seen[-1]])
            if seen[-1] == name:
                raise UserError(
                    "groups that do not hold themselves",
                    f"a circle, {' in '.join(map(_named, seen[:6]))}, in {place}",
                    "Take one of them out of the other.",
                )
            if len(seen) > len(groups):
                break  # it leads into a circle of others


def _named(*names):
    """Return names for a message, shortened."""
    text = ", ".join(repr(name) for name in names)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."

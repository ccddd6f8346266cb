"""Hierarchies of classes: how their nodes are numbered, what is refused, and those of public data sets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmatch_keras.data.sets import photographs, street_scenes
from rankmatch_keras.data.sets.hierarchies import HIERARCHIES, MOST, parents_of
from rankmatch_keras.errors import UserError
from rankmatch_keras.layers.class_tree import ClassTree

CLASSES = {
    "PascalVOC": photographs._VOC_CLASSES,
    "Cityscapes": tuple(name for name, *_ in street_scenes._CITYSCAPES),
    "CamVid": street_scenes.CAMVID_CLASSES,
}


def test_nodes_are_classes_and_then_groups():
    hierarchy = {"thing": ["round", "plank"], "round": ["stone", "ring"], "background": ["background"]}
    classes = ["background", "stone", "plank", "ring"]
    #  0 background, 1 stone, 2 plank, 3 ring, 4 thing, 5 round
    assert parents_of(hierarchy, classes) == (-1, 5, 4, 5, -1, 4)
    assert parents_of(hierarchy) == (-1, 4, 5, 5, -1, 4)  # background, plank, stone, ring


@pytest.mark.parametrize("loader", HIERARCHIES)
def test_those_of_public_sets_hold_all_classes(loader):
    tree = ClassTree(parents_of(HIERARCHIES[loader], CLASSES[loader]))
    assert tree.num_classes == len(CLASSES[loader])
    assert set(tree.paths.sum(1)) == {1, 2} and len(tree.families[0]) == len(HIERARCHIES[loader])


def test_sizes_of_the_trees_of_public_sets():
    assert {n: len(parents_of(HIERARCHIES[n], CLASSES[n])) for n in CLASSES} == {
        "PascalVOC": 24,
        "Cityscapes": 25,
        "CamVid": 15,
    }


@pytest.mark.parametrize(
    ("hierarchy", "message"),
    [
        ({}, "at least one group of classes; found none in h.yaml. Write e.g. `animal"),
        ({"sky": ["sky"], "cat": ["cat"]}, "at least one group of classes; found none"),
        ({"animal": [], "sky": ["sky"]}, "in every group; found nothing in 'animal' in h.yaml"),
        ({"animal": ["cat", "dgo"], "sky": ["sky"]}, "'dgo' in h.yaml. Did you mean dog"),
        ({"animal": ["cat", "wombat"], "sky": ["sky"]}, "found 'wombat' in h.yaml. Take one of sky, cat, dog, animal."),
        ({"animal": ["cat", "dog"]}, "every class in the hierarchy; found none of 'sky'.*write `sky: .sky.`"),
        ({"animal": ["cat"]}, "found none of 'sky', 'dog' in h.yaml"),
        ({"animal": ["cat", "dog", "cat"], "sky": ["sky"]}, "'cat' in 'animal' and in 'animal' in h.yaml"),
        ({"a": ["cat", "dog"], "b": ["cat", "sky"]}, "'cat' in 'a' and in 'b' in h.yaml"),
        ({"animal": ["cat", "dog", "sky"], "sky": ["sky"]}, "'sky' in no group and in 'animal'"),
        ({"sky": ["cat", "dog"]}, "groups whose names are no classes; found the class 'sky'"),
        ({"a": ["b", "cat"], "b": ["a", "dog"], "sky": ["sky"]}, "a circle, 'a' in 'b' in 'a', in h.yaml"),
        ({"a": ["b"], "b": ["c"], "c": ["b", "cat", "dog", "sky"]}, "'b' in 'a' and in 'c'"),
        ({"a": ["a", "cat", "dog"], "sky": ["sky"]}, "a circle, 'a' in 'a'"),
        ({f"g{n}": [f"g{n + 1}"] for n in range(MOST + 1)}, "at most 255 groups; found 256"),
    ],
)
def test_what_is_no_hierarchy(hierarchy, message):
    with pytest.raises(UserError, match=message) as caught:
        parents_of(hierarchy, ["sky", "cat", "dog"], "h.yaml")
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_more_classes_than_masks_can_have():
    with pytest.raises(UserError, match="at most 255 classes; found 100000 in h.yaml"):
        parents_of({"all": list(map(str, range(100_000)))}, place="h.yaml")


NAMES = st.sampled_from(["sky", "cat", "dog", "a", "b", "c", "\n", "'", "x" * 1000])


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=4), max_size=5))
def test_anything_is_a_tree_or_refused_in_one_line(hierarchy):
    try:
        parents = parents_of(hierarchy, ["sky", "cat", "dog"])
    except UserError as error:
        assert "\n" not in str(error) and len(str(error)) < 1500
    else:
        assert ClassTree(parents).num_classes == 3

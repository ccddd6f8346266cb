from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rankmatch_keras.data.sets.samples import seeded_order
from rankmatch_keras.data.splits.selection import (
    covering_order,
    group_names,
    natural_order,
    nearest_prefix,
    select_images,
)
from rankmatch_keras.errors import UserError

NAMES = [f"n{i}" for i in range(40)]
# Every image shows class 0; classes 1 to 4 are in two images each, 5 and 6 together in one.
RARE = {"n3": {1}, "n9": {1, 2}, "n11": {2}, "n17": {3}, "n21": {3, 4}, "n25": {4}, "n30": {5, 6}}
PRESENCE = {name: frozenset({0} | RARE.get(name, set())) for name in NAMES}


def test_natural_order():
    names = ["b", "a10", "a2", "a02", "a", "a2b", "10", "9", "a" + "9" * 5000]
    assert natural_order(names) == ["9", "10", "a", "a02", "a2", "a2b", "a10", "a" + "9" * 5000, "b"]


def test_few_images_cover_all_classes():
    head, tail = covering_order(PRESENCE, seed=0)
    # n9, n21 and n30 add two rare classes each (and the first of them class 0): three cover all seven.
    assert sorted(head) == ["n21", "n30", "n9"]
    assert tail == [name for name in seeded_order(NAMES, 0) if name not in head]
    assert covering_order(PRESENCE, seed=1)[0] != head or covering_order(PRESENCE, seed=2)[0] != head


def test_without_classes_the_order_is_the_seeded_one():
    assert covering_order({name: frozenset() for name in NAMES}, 5) == ([], seeded_order(NAMES, 5))
    same = covering_order({name: frozenset({0}) for name in NAMES}, 5)
    assert [*same[0], *same[1]] == seeded_order(NAMES, 5)


@given(
    st.dictionaries(st.text("abc123", min_size=1, max_size=4), st.frozensets(st.integers(0, 6)), min_size=4),
    st.integers(0, 3),
    st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_selections_are_nested_partitions(presence, seed, every):
    available = -(-len(presence) // every)
    plans = [select_images(presence, n, seed, every=every) for n in range(1, available + 1)]
    for smaller, larger in zip(plans, plans[1:], strict=False):
        assert larger.labeled[: len(smaller.labeled)] == smaller.labeled
    for n, selection in enumerate(plans, start=1):
        assert len(selection.labeled) == n and not selection.val
        assert sorted([*selection.labeled, *selection.unlabeled]) == sorted(presence)
    allowed = natural_order(presence)[::every]
    reachable = frozenset().union(*(presence[name] for name in allowed))
    full = next((selection for selection in plans if selection.num_covering <= len(selection.labeled)), plans[-1])
    assert frozenset().union(*(presence[name] for name in full.labeled)) == reachable


def test_every_keeps_a_distance():
    selection = select_images(PRESENCE, 8, every=5)
    assert sorted(int(name[1:]) for name in selection.labeled) == list(range(0, 40, 5))
    with pytest.raises(UserError, match="1 to 8 labeled images at distances of 5; found 9"):
        select_images(PRESENCE, 9, every=5)


def test_validation_is_the_same_for_every_number_of_labels():
    few, many = select_images(PRESENCE, 3, val=10), select_images(PRESENCE, 20, val=10)
    assert few.val == many.val and len(few.val) == 10
    assert set(select_images(PRESENCE, 3, val=4).val) < set(few.val)
    for selection in (few, many):
        for one, other in combinations((selection.labeled, selection.unlabeled, selection.val), 2):
            assert not set(one) & set(other)
    with pytest.raises(UserError, match="40 there are; found 31 and 10"):
        select_images(PRESENCE, 31, val=10)


def test_groups_go_together():
    names = [f"v{v}_{i:02d}" for v in range(6) for i in range(10)]
    presence = {name: frozenset({0, int(name[1]) % 3}) for name in names}
    groups = group_names(names, "v[0-9]")
    selection = select_images(presence, 18, groups=groups, val=12)
    # 18 lies nearest to two volumes of ten, 12 to one.
    assert len(selection.labeled) == 20 and len(selection.val) == 10 and len(selection.unlabeled) == 30
    for one, other in combinations((selection.labeled, selection.unlabeled, selection.val), 2):
        assert not {groups[name] for name in one} & {groups[name] for name in other}
    assert selection.num_covering == 20  # a volume with classes 0 and 1, one with 0 and 2
    assert select_images(presence, 38, groups=groups).labeled[:20] == selection.labeled
    with pytest.raises(UserError, match="whole groups"):
        select_images(presence, 50, groups=groups, val=20)


def test_every_within_groups():
    names = [f"v{v}_{i}" for v in range(3) for i in range(12)]  # _10 and _11 come behind _9
    presence = {name: frozenset({0}) for name in names}
    groups = group_names(names, "^(v[0-9])_")
    selection = select_images(presence, 6, groups=groups, every=4)
    assert {name.split("_")[1] for name in selection.labeled} == {"0", "4", "8"}
    assert len({groups[name] for name in selection.labeled}) == 2 and len(selection.unlabeled) == 30


@pytest.mark.parametrize(
    "sizes, wanted, expected", [([3, 3, 3], 0, 0), ([3, 3, 3], 1, 1), ([2, 2], 3, 1), ([2, 2], 4, 2), ([5], 99, 1)]
)
def test_nearest_prefix(sizes, wanted, expected):
    assert nearest_prefix(sizes, wanted) == expected


def test_group_names():
    assert group_names(["a_1", "a_2", "b_1"], "^[^_]+") == {"a_1": "a", "a_2": "a", "b_1": "b"}
    assert group_names(["x/a_1", "y/a_1"], "(.*)/a") == {"x/a_1": "x", "y/a_1": "y"}
    with pytest.raises(UserError, match=r"regular expression.*'\('"):
        group_names(["a"], "(")
    with pytest.raises(UserError, match="none in 'b1' .2 such of 3"):
        group_names(["a1", "b1", "b2"], "a")
    with pytest.raises(UserError, match="none in 'b'"):
        group_names(["b"], "(a)?b")

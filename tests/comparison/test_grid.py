import re
from pathlib import Path

import pytest

from rankmatch_keras.comparison.grid import make_grid, read_labels, read_methods, read_seeds, require_free
from rankmatch_keras.comparison.records import ALL
from rankmatch_keras.errors import UserError

pytestmark = pytest.mark.once


def test_methods_with_options_become_flags():
    plain, ablation = read_methods("unimatch, rankmatch[top_k=6,num_agents=32,list=[1,2]]")
    assert plain.flags == ["--method", "unimatch"]
    assert ablation.label == "rankmatch[top_k=6,num_agents=32,list=[1,2]]"
    assert ablation.flags == "--method rankmatch --set top_k=6 --set num_agents=32 --set list=[1,2]".split()


def test_a_method_can_have_its_own_learning_rate():
    (choice,) = read_methods("rankmatch[top_k=6, learning_rate = 0.02,l2=0]")
    assert choice.flags == "--method rankmatch --set top_k=6 --learning-rate 0.02 --l2 0".split()
    assert choice.option_names == ["top_k", "learning_rate", "l2"]


def test_shared_flags_are_filled_with_labels_and_seed():
    run = make_grid(read_methods("a"), [5], [3], Path("runs"))[0]
    assert run.fill("lists/{labels}/{seed}.txt") == "lists/5/3.txt" and run.fill("{other}") == "{other}"


@pytest.mark.parametrize("text", ["a b", "rankmatch[top_k]", "rankmatch[", "a,a", "rankmatch]x["])
def test_malformed_methods_are_refused(text):
    with pytest.raises(UserError, match="--methods"):
        read_methods(text)


def test_seeds_are_a_count_or_a_list():
    assert read_seeds("3") == [0, 1, 2]
    assert read_seeds("0,2,5") == [0, 2, 5]
    assert read_seeds("7,") == [7]
    for text in ("0", "x", "1,1", "", "-1"):
        with pytest.raises(UserError, match="--seeds|--methods"):
            read_seeds(text)


def test_labels():
    assert read_labels("10,20") == [10, 20]
    assert read_labels("5, 20,all") == [5, 20, ALL]
    assert read_labels(None) == [None]


@pytest.mark.parametrize(
    ("text", "phrase"),
    [
        ("1/8", "'1/8' in --labels 1/8. Give e.g. --labels 5,20,all."),
        ("al", "found 'al' in --labels al. Did you mean all?"),
        ("5,All", "found 'All' in --labels 5,All. Did you mean all?"),
        ("all,all", "each number of labels once; found all twice in --labels all,all."),
        ("5,05", "found 5 twice in --labels 5,05."),
        ("0", "found '0' in --labels 0."),
        ("-1", "found '-1' in --labels -1."),
        (",", "or `all`; found none in --labels ','."),
    ],
)
def test_malformed_labels_are_refused(text, phrase):
    with pytest.raises(UserError, match=re.escape(phrase)):
        read_labels(text)


def test_all_labels_are_for_methods_without_unlabeled_images():
    methods = read_methods("supervised,rankmatch,supervised[l2=0]")
    grid = make_grid(methods, [5, ALL], [0], Path("runs"))
    assert [run.folder.name for run in grid] == [
        "supervised-l5-s0",
        "rankmatch-l5-s0",
        "supervised_l2=0-l5-s0",
        "supervised-lall-s0",
        "supervised_l2=0-lall-s0",
    ]
    assert grid[3].flags == "--method supervised --labels all --seed 0 --out runs/supervised-lall-s0".split()
    assert str(grid[3]) == "supervised, all labels, seed 0" and grid[3].fill("a-l{labels}") == "a-lall"
    with pytest.raises(UserError, match="for rankmatch, which needs unlabeled images.*--labels 20,all"):
        make_grid(methods, [ALL], [0], Path("runs"))
    assert len(make_grid(methods[:1], [ALL], [0, 1], Path("runs"))) == 2


def test_the_grid_is_ordered_by_seed_and_has_safe_names():
    grid = make_grid(read_methods("supervised,rankmatch[top_k=6,rank_weight=0.02]"), [5, 10], [0, 1], Path("runs"))
    assert [run.folder.name for run in grid[:4]] == [
        "supervised-l5-s0",
        "rankmatch_top_k=6_rank_weight=0.02-l5-s0",
        "supervised-l10-s0",
        "rankmatch_top_k=6_rank_weight=0.02-l10-s0",
    ]
    assert len(grid) == 8 and grid[4].seed == 1
    assert grid[0].flags == "--method supervised --labels 5 --seed 0 --out runs/supervised-l5-s0".split()
    assert make_grid(read_methods("a"), [None], [3], Path("r"))[0].flags == "--method a --seed 3 --out r/a-s3".split()
    with pytest.raises(UserError, match="a_b=1"):
        make_grid(read_methods("a[b=1],a[b=1,]"), [5], [0], Path("runs"))


@pytest.mark.parametrize("flag", ["--method", "--seed=3", "--resume"])
def test_flags_of_the_comparison_are_refused(flag):
    require_free(["recipes/x.py", "--data", "d", "--steps", "3"])
    with pytest.raises(UserError, match=flag.partition("=")[0]):
        require_free(["recipes/x.py", flag])

import json
from functools import partial

import pytest

from rankmatch_keras.comparison.comparability import require_comparable
from rankmatch_keras.comparison.markdown import to_markdown
from rankmatch_keras.comparison.measures import Comparison
from rankmatch_keras.comparison.records import labels_of, read_record, read_runs
from rankmatch_keras.errors import UserError

pytestmark = pytest.mark.once


def test_a_run_is_read(write_run):
    (record,) = read_runs([write_run("a", seed=4, score=0.5)])
    assert record.key == ("rankmatch", 10, 4)
    assert record.scores.mean_iou == 0.5 and record.cost["step_seconds"] == 0.2
    assert [row["mean_iou"] for row in record.history] == [0.2, 0.5, 0.5]
    assert record.backend == "torch" and record.steps_per_epoch == 100 and record.error is None


def test_an_unfinished_and_a_missing_run(write_run, tmp_path):
    (record,) = read_runs([write_run("a", score=None)])
    assert record.scores is None and "--resume" in record.error
    missing = read_record(tmp_path / "b", "unimatch", 5, 1, "Expected a method; found 'x'.")
    assert missing.key == ("unimatch", 5, 1) and missing.error.startswith("Expected")
    with pytest.raises(UserError, match="config.json"):
        read_runs([tmp_path / "b"])


def test_a_failure_overrides_older_scores(write_run):
    record = read_record(write_run("a"), "rankmatch", 10, 0, "ended by signal 9")
    assert record.scores is None and record.error == "ended by signal 9"


def test_names_say_what_differs():
    def config(method="rankmatch", backend="torch", given=(), **options):
        return {"options": {"method": method, "set": list(given), **options}, "backend": backend}

    assert labels_of([config("unimatch", preset="paper"), config(preset="paper")]) == ["unimatch", "rankmatch"]
    several = [config(preset="paper"), config(preset="reference"), config(preset="paper", given=["top_k=6"])]
    assert labels_of(several) == ["rankmatch[preset=paper]", "rankmatch[preset=reference]", "rankmatch[top_k=6]"]
    assert labels_of([config(), config(backend="jax"), config("a")]) == ["rankmatch (torch)", "rankmatch (jax)", "a"]


def test_a_learning_rate_is_named_if_it_differs_from_the_baselines(write_run):
    write = partial(write_run, l2=0.0001)
    folders = [
        write("a", "unimatch", learning_rate=0.02),
        write("b", "supervised", learning_rate=0.01),
        write("c", "rankmatch", learning_rate=0.01, set=["top_k=6"]),
        write("d", "rankmatch", learning_rate=0.03, set=["top_k=6"]),
        write("older", "fixmatch"),
    ]
    records = read_runs(folders)
    assert [record.label for record in records] == [
        "unimatch[learning_rate=0.02]",
        "supervised",
        "rankmatch[top_k=6]",
        "rankmatch[top_k=6,learning_rate=0.03]",
        "fixmatch",
    ]
    require_comparable(records)
    assert [record.label for record in read_runs(folders[2:4])][1] == "rankmatch[top_k=6,learning_rate=0.03]"


def test_a_warm_start_names_its_method(write_run):
    def started(name, method, seed=0, split="10-0"):
        start = {"start": {"method": "supervised", "split": split}}
        return write_run(name, method, seed=seed, changes=start, start_from=f"/runs/supervised-s{seed}")

    folders = [started("a", "supervised"), started("b", "rankmatch"), started("c", "rankmatch", 1, "10-1")]
    records = read_runs([*folders, write_run("d"), write_run("older", seed=1)])
    names = ["supervised[start_from=supervised]", *["rankmatch[start_from=supervised]"] * 2, "rankmatch", "rankmatch"]
    assert [record.label for record in records] == names
    require_comparable(records)
    with pytest.raises(UserError, match="split of the run to start from .*10-0.*20-0"):
        require_comparable([*records, *read_runs([started("e", "unimatch", split="20-0")])])


def test_labels_of_a_whole_chain_of_warm_starts_are_compared(write_run):
    def started(name, method, split):
        first = {"method": "supervised", "split": split, "start": None}
        return write_run(name, method, changes={"start": {"method": "fixmatch", "split": "10-0", "start": first}})

    same = [started("a", "unimatch", "10-0"), write_run("b")]
    require_comparable(read_runs(same))
    with pytest.raises(UserError, match="split of the run to start from .*10-0 in .*10-0, 20-0 in"):
        require_comparable(read_runs([*same, started("c", "cps", "20-0")]))


def test_two_equal_runs_are_refused(write_run):
    with pytest.raises(UserError, match="two of rankmatch, 10 labels, seed 0"):
        read_runs([write_run("a"), write_run("b")])


def test_runs_that_differ_only_in_the_method_are_comparable(write_run):
    folders = [write_run("a"), write_run("b", "unimatch"), write_run("c", labels=20, seed=3), write_run("d", seed=1)]
    require_comparable(read_runs(folders))


OTHER = {
    "steps": ({"steps": 400}, "--steps.*300.*400"),
    "crop": ({"crop": 65}, "--crop.*129.*65"),
    "backbone": ({"backbone": "resnet50"}, "--backbone"),
    "validation images": ({"val_limit": 9}, "--val-limit"),
    "evaluation": ({"changes": {"protocol": {"mode": "sliding_window"}}}, "evaluation mode.*whole.*sliding_window"),
    "split": (
        {"changes": {"split": {"id": "zz", "labeled": [str(i) for i in range(10)], "unlabeled": 90}}},
        "split .*10-0.*zz",
    ),
    "data": (
        {"changes": {"data": {"loader": "CamVid", "arguments": {"root": "/data"}, "classes": ["a"]}}},
        "data set.*Lucchi.*CamVid",
    ),
    "folder": (
        {"changes": {"data": {"loader": "Lucchi", "arguments": {"root": "/b"}, "classes": ["ground", "thing"]}}},
        r"data \(root\).*/data.*/b",
    ),
}


@pytest.mark.parametrize("name", OTHER)
def test_other_runs_are_refused_with_both_values(name, write_run):
    changes, phrase = OTHER[name]
    records = read_runs([write_run("a"), write_run("b", "unimatch", **changes)])
    with pytest.raises(UserError, match=phrase):
        require_comparable(records)


def test_a_damaged_record_is_named(write_run):
    folder = write_run("a")
    (folder / "scores.json").write_text("{")
    with pytest.raises(UserError, match="scores.json"):
        read_runs([folder])
    (folder / "scores.json").write_text(json.dumps([1]))
    with pytest.raises(UserError, match=r"scores.json': Input should be a valid dictionary, not \[1\]"):
        read_runs([folder])


def test_the_cost_includes_earlier_stages(write_run):
    folder = write_run("a")
    (folder / "stages/1").mkdir(parents=True)
    cost = {"train_seconds": 30.0, "seconds": 40.0, "step_seconds": 9.0, "peak_memory_gb": 2.5}
    (folder / "stages/1/cost.json").write_text(json.dumps(cost))
    (record,) = read_runs([folder])
    assert record.cost == {"train_seconds": 90.0, "seconds": 110.0, "step_seconds": 0.2, "peak_memory_gb": 2.5}


def leaves(content, path=()):
    """Yield the path of everything in a JSON object."""
    yield path
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in items:
        yield from leaves(value, (*path, key))


def replaced(content, path, value):
    if not path:
        return value
    changed = content.copy()
    changed[path[0]] = replaced(content[path[0]], path[1:], value)
    return changed


@pytest.mark.parametrize("name", ["config.json", "scores.json", "cost.json"])
def test_other_values_anywhere_are_used_or_refused(name, write_run):
    start = {"start": {"method": "a", "split": "b", "start": {"method": "c", "split": "d"}}}
    folder = write_run("a", changes={**start, "resumed": [{"backend": "jax"}]})
    other = write_run("b", "unimatch")
    content = json.loads((folder / name).read_text())
    for path in leaves(content):
        for value in (None, [], {}, "x", -1, 0.5, True, [[]], {"x": []}, float("nan")):
            (folder / name).write_text(json.dumps(replaced(content, path, value)))
            try:
                records = read_runs([folder, other])
                require_comparable(records)
                comparison = Comparison(records)
                to_markdown(comparison)
            except UserError as error:
                assert "\n" not in str(error)

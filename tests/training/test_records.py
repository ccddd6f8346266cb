"""Damaged records: one line that names the file, and the key where there is one."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rankmatch_keras.errors import UserError
from rankmatch_keras.training.records import read_config, read_cost, read_rows, read_scores

pytestmark = pytest.mark.once

SCORE = {"class_names": ["a", "b"], "iou": [0.5, None], "mean_iou": 0.5, "pixel_accuracy": 1, "images": 1}
SCORES = {"IoU %": {**SCORE, "images_available": 1}}
READERS = {
    "config.json": (lambda path: read_config(path.parent), {"options": {"seed": 1}, "split": {"labeled": ["a"]}}),
    "scores.json": (read_scores, SCORES),
    "cost.json": (read_cost, {"seconds": 1.0, "peak_memory_gb": None}),
    "history.csv": (read_rows, "epoch,loss\n1,0.5\n2,\n"),
}
WORD = {name: name for name in READERS}
BROKEN = [b"", b"[]", b"null", b"3", b'"text"', b"\xff\xfe\x00", b"{", b"\x00" * 99, b"[" * 100_000, b"\xef\xbb\xbf"]


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("content", BROKEN, ids=lambda content: repr(content[:6]))
def test_a_damaged_file_is_named_in_one_line(name, content, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        READERS[name][0](tmp_path / name)
    assert name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", READERS)
def test_a_whole_file_is_read_also_with_a_byte_order_mark(name, tmp_path):
    read, content = READERS[name]
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / name).write_text(text, encoding="utf-8-sig" if name.endswith("json") else "utf-8")
    assert read(tmp_path / name)
    assert read(tmp_path / "nowhere" / name) in (None, ()) if name != "config.json" else True


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ({"options": {"seed": "one"}}, "options.seed: .*not 'one'"),
        ({"options": {"set": "top_k=6"}}, "options.set: "),
        ({"options": {}, "versions": None}, "versions: "),
        ({"options": {}, "split": {"labeled": [1]}}, "split.labeled.0: "),
        ({"options": {}, "protocol": {"mode": "whole", "grid": 1}}, "protocol.grid: "),
        ({"options": {}, "start": {"method": "a", "start": {"method": 3}}}, "start.start.method: "),
        ({}, "options: Field required"),
    ],
)
def test_the_key_that_does_not_fit_is_named(content, key, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=f"config.json', key {key}"):
        read_config(tmp_path)


def test_a_cell_that_is_no_number_is_named(tmp_path):
    (tmp_path / "history.csv").write_text("epoch,loss\n1,0.5\n2,half\n")
    with pytest.raises(UserError, match="history.csv', key 1.loss: .*not 'half'"):
        read_rows(tmp_path / "history.csv")


def test_other_keys_and_older_records_stay_as_they_are(tmp_path):
    content = {"options": {"seed": 1, "older": [1]}, "newer": {"a": None}, "backend": None, "data": {"more": 1}}
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert read_config(tmp_path) == content


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["options", "data", "split", "start", "protocol", "resumed", "backend", "IoU %", "iou", "seconds"]


@given(content=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4) | VALUES)
def test_whatever_json_holds_is_read_or_refused(content, tmp_path_factory):
    folder = tmp_path_factory.mktemp("record")
    for name, (read, _) in READERS.items():
        (folder / name).write_text(json.dumps(content))
        try:
            read(folder / name)
        except UserError as error:
            assert name in str(error) and "\n" not in str(error)

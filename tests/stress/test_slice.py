"""A minute of the stress run: `make stress` has the whole of it."""

import re
import subprocess
import sys

import pytest

pytestmark = pytest.mark.once


@pytest.mark.parametrize(
    "part",
    ["--only files --files 400", "--only kills --runs 1 --backend torch --program train"],
    ids=["files", "kills"],
)
def test_nothing_is_wrong(checkout, part):
    command = [sys.executable, "tests/stress", "--seed", "5", *part.split()]
    run = subprocess.run(command, cwd=checkout, capture_output=True, text=True, timeout=500)
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    tried, right, refused, wrong, trace, hang = map(
        int, re.search(r"\| all \| (.*) \|$", run.stdout, re.M)[1].split(" | ")
    )
    assert tried == right + refused > 0
    assert wrong == trace == hang == 0


def test_the_table_tells_damage_from_content(checkout, monkeypatch):
    """A checked file that reads as something else is wrong; an unchecked one may say anything well-formed."""
    monkeypatch.syspath_prepend(checkout / "tests/stress")
    from report import Row, table

    row = Row("damaged png")
    row.add("right")
    row.add("wrong", "x.png: wrong")
    assert "| damaged png | 2 | 1 | 0 | 1 | 0 | 0 |" in table([row])
    assert "- damaged png: x.png: wrong" in table([row])

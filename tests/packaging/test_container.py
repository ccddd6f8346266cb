"""The container's recipe: pinned, no root at run time, all sources that it copies exist, only what it needs goes in."""

import fnmatch
import re

import pytest

pytestmark = pytest.mark.once


@pytest.fixture
def steps(checkout):
    """The instructions of the Dockerfile, in order: name and argument, without comments and line breaks."""
    text = re.sub(r"^#.*\n", "", (checkout / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE)
    lines = [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def test_base_and_packages_are_pinned(steps):
    bases = [argument for name, argument in steps if name == "FROM"]
    assert bases and all(re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+[\w.-]*", base) for base in bases)
    installs = [command for name, step in steps if name == "RUN" for command in re.findall(r"pip install[^;&]*", step)]
    assert len(installs) == 3 and all("-c constraints.txt" in command for command in installs)


def test_it_runs_the_command_and_not_as_root(steps):
    last = dict(steps)
    assert last["USER"] not in ("root", "0") and last["ENTRYPOINT"] == '["rankmatch"]'
    names = [name for name, _ in steps]
    assert "RUN" not in names[names.index("USER") :]
    assert ("ARG", "DEVICE=cpu") in steps


def test_what_it_copies_exists_and_is_sent(steps, checkout):
    ignore = (checkout / ".dockerignore").read_text(encoding="utf-8").splitlines()
    rules = [line for line in ignore if line and not line.startswith("#")]
    assert rules[0] == "*"  # nothing but what follows
    for _, argument in (step for step in steps if step[0] == "COPY"):
        for source in argument.split()[:-1]:
            assert (checkout / source).exists() and any(fnmatch.fnmatch(f"!{source}", rule) for rule in rules), source

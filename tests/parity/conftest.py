"""What the tests of parity share: the results of all backends, computed once."""

import numpy as np
import pytest
from processes import BACKENDS, run_driver

LARGEST = pytest.StashKey[dict[str, float]]()


@pytest.fixture(scope="session")
def results(tmp_path_factory):
    """What every backend measured, left for the others and took from them: a folder with one folder per backend."""
    if len(BACKENDS) < 2:
        pytest.skip(f"two backends are needed to compare; installed is {BACKENDS[0]} alone")
    folder = tmp_path_factory.mktemp("parity")
    maker, *others = sorted(BACKENDS, key="torch".__ne__)  # torch builds networks fastest
    run_driver(folder, {maker: ["prepare", "measure", "leave"], **dict.fromkeys(others, ["measure", "leave"])})
    run_driver(folder, dict.fromkeys(BACKENDS, ["take"]))
    return folder


@pytest.fixture
def read():
    """Reads a file of arrays in the order in which they were written."""
    return _read


def _read(path):
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture
def note_largest(pytestconfig):
    """Notes a relative difference, the largest of which is printed at the end by its kind."""
    largest = pytestconfig.stash.setdefault(LARGEST, {})

    def note(kind, difference):
        largest[kind] = max(largest.get(kind, 0.0), difference)

    return note


def pytest_terminal_summary(terminalreporter, config):
    """Prints by how much the backends differ."""
    for kind, difference in config.stash.get(LARGEST, {}).items():
        terminalreporter.write_line(f"largest relative difference of the backends, {kind}: {difference:.1e}")

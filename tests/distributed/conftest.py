"""Fixtures of the engine tests: processes with a launcher's variables, and their output."""

import os
import pathlib
import socket
import subprocess
import sys

import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
LAUNCHERS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "TF_CONFIG", "KERAS_DISTRIBUTION_")


@pytest.fixture(scope="session")
def free_port():
    """Find a port that nobody listens on."""

    def find():
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return probe.getsockname()[1]

    return find


@pytest.fixture(scope="session")
def start():
    """Start a Python process from the checkout with additional environment variables."""

    def run(*arguments, **variables):
        clean = {name: value for name, value in os.environ.items() if not name.startswith(LAUNCHERS)}
        places = os.pathsep.join([str(CHECKOUT), str(CHECKOUT / "tests" / "shared")])
        environment = {**clean, "PYTHONPATH": places, "OMP_NUM_THREADS": "1", **variables}
        command = [sys.executable, *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=CHECKOUT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return run


@pytest.fixture(scope="session")
def finish():
    """Wait for processes; return exit code, output and errors of each."""

    def run(*processes, timeout=240):
        results = []
        try:
            for process in processes:
                out, err = process.communicate(timeout=timeout)
                results.append((process.returncode, out, err))
        finally:
            for process in processes:
                process.kill()
        return results

    return run

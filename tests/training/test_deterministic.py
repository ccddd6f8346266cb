"""Two runs with the same seed, as a user starts them."""

import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="XLA is deterministic on processors, and takes a minute")
def test_deterministic_runs_have_the_same_bits(write_lucchi, tmp_path):
    tree = write_lucchi(tmp_path / "tree", train=6)
    flags = ["--labels", 2, "--smoke", "--crop", 33, "--accumulate", 2, "--deterministic"]
    states = []
    for name in ("first", "second"):
        command = ["train", "recipes/lucchi.py", "--data", tree, "--out", tmp_path / name, *flags]
        done = subprocess.run(
            [sys.executable, "-m", "rankmatch_keras", *map(str, command)],
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        with np.load(tmp_path / name / "state.npz") as file:
            states.append({key: file[key] for key in file.files if key != "record"})
    first, second = states
    assert len(first) > 100 and first.keys() == second.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(value, second[key], err_msg=key)

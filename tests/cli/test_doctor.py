"""What is installed, what is missing, and where the backend computes."""

import importlib.metadata
import subprocess
import sys

import keras
import pytest


def doctor(environment, checkout):
    command = [sys.executable, "-m", "rankmatch_keras", "doctor"]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=checkout)


def test_versions_and_devices(rankmatch):
    code, out, err = rankmatch("doctor")
    assert (code, err) == (0, "")
    assert f"keras {keras.__version__}" in out and f"Backend {keras.backend.backend()} (by KERAS_BACKEND)" in out
    assert "It computes on processors alone" in out or "It computes on a GPU" in out
    assert len(out.splitlines()) < 20


@pytest.mark.once
def test_what_is_missing_is_named_with_its_remedy(rankmatch, monkeypatch):
    version = importlib.metadata.version

    def hidden(name):
        if name.startswith(("jax", "keras-hub")):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", hidden)
    out = rankmatch("doctor")[1]
    assert "backend jax:" in out and "pip install 'rankmatch-keras[jax]'" in out
    assert "jax" not in next(line for line in out.splitlines() if line.startswith("Backend")).split("installed:")[1]


@pytest.mark.once
def test_a_backend_that_cannot_run_is_named(checkout, monkeypatch):
    import os

    ended = doctor({**os.environ, "KERAS_BACKEND": "theano"}, checkout)
    assert (
        ended.returncode == 1 and "It cannot run: Expected a backend of" in ended.stderr and "keras 3" in ended.stdout
    )

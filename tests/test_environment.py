"""A backend that cannot run is one line, from the command line and from a script."""

import os
import subprocess
import sys

import pytest


def run(checkout, *arguments, **environment):
    clean = {name: value for name, value in os.environ.items() if name not in ("KERAS_BACKEND", "TF_USE_LEGACY_KERAS")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=checkout,
        env={**clean, "PYTHONPATH": str(checkout), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


CLI = ("-c", "from rankmatch_keras.cli import main; main()", "evaluate", "runs/none")
SCRIPT = ("recipes/demo.py",)


@pytest.mark.parametrize("arguments", [CLI, SCRIPT], ids=["command", "script"])
@pytest.mark.parametrize(
    ("environment", "phrase"),
    [
        ({"KERAS_BACKEND": "theano"}, "'theano' in KERAS_BACKEND"),
        ({"KERAS_BACKEND": "tensorflow", "TF_USE_LEGACY_KERAS": "1"}, "TF_USE_LEGACY_KERAS"),
    ],
)
def test_an_unusable_backend_is_one_line(arguments, environment, phrase, checkout):
    result = run(checkout, *arguments, **environment)
    assert result.returncode == 2
    assert result.stderr.startswith("Error: ") and phrase in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_backend_that_is_not_installed_is_named(monkeypatch):
    from rankmatch_keras import environment
    from rankmatch_keras.errors import UserError

    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setattr(environment.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install rankmatch-keras\[jax\]"):
        environment.check_environment()


def test_keras_json_is_heard(monkeypatch, tmp_path):
    from rankmatch_keras.environment import chosen_backend

    monkeypatch.delenv("KERAS_BACKEND", raising=False)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert chosen_backend()[0] == "tensorflow"
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    assert chosen_backend()[0] == "torch"

"""The wheel holds all that the commands need: installed by itself, away from the source tree, they work."""

import os
import pathlib
import shutil
import subprocess
import sys
import sysconfig

import keras
import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.once
# Finds the template by which `rankmatch report` writes its page.
TEMPLATE = "import importlib.resources as r; print(r.files('rankmatch_keras') / 'report' / 'base.html')"


def run(*command, **settings):
    return subprocess.run([*map(str, command)], check=True, capture_output=True, text=True, **settings).stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Builds the wheel and installs it into an environment that borrows this one's dependencies; returns a runner."""
    place = tmp_path_factory.mktemp("wheel")
    source, environment = place / "source", place / "environment"
    shutil.copytree(CHECKOUT / "rankmatch_keras", source / "rankmatch_keras")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    run(*pip, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", place, source)
    run(sys.executable, "-m", "venv", "--without-pip", environment)
    python = environment / "bin" / "python"
    (wheel,) = place.glob("*.whl")
    run(*pip, "--python", python, "install", "--no-deps", "--no-index", "--no-compile", wheel)
    (packages,) = environment.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib"))
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    variables["KERAS_BACKEND"] = keras.backend.backend()
    return lambda program, *words: run(environment / "bin" / program, *words, cwd=place, env=variables)


def test_the_commands_work(installed):
    text = installed("rankmatch", "--help")
    assert "few labeled and many unlabeled images" in text and "predict" in text
    assert f"Backend {keras.backend.backend()}" in installed("rankmatch", "doctor")


def test_it_holds_the_template(installed, checkout):
    template = pathlib.Path(installed("python", "-c", TEMPLATE).strip())
    assert "environment" in template.parts and checkout not in template.parents
    assert template.read_text(encoding="utf-8") == (checkout / "rankmatch_keras/report/base.html").read_text(
        encoding="utf-8"
    )

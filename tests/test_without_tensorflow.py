"""Training, scoring and predicting where TensorFlow and keras-cv are not installed, as a user does."""

import os
import pathlib
import subprocess
import sys

import keras
import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]
# Python imports this module by itself when it starts.
BLOCKER = """
from importlib.machinery import PathFinder

found = PathFinder.find_spec

def find_spec(name, path=None, target=None):
    missing = name.partition(".")[0] in ("tensorflow", "tensorboard", "keras_cv", "tensorflow_datasets")
    return None if missing else found(name, path, target)

PathFinder.find_spec = find_spec
"""

pytestmark = pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="needs TensorFlow")


@pytest.fixture
def rankmatch(tmp_path):
    """Runs the command line in an interpreter that finds no TensorFlow."""
    (tmp_path / "blocker").mkdir()
    (tmp_path / "blocker/sitecustomize.py").write_text(BLOCKER)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "blocker"), str(CHECKOUT)])}

    def run(*arguments):
        command = [sys.executable, "-m", "rankmatch_keras", *map(str, arguments)]
        done = subprocess.run(command, cwd=CHECKOUT, env=environment, capture_output=True, text=True, timeout=300)
        return done.returncode, done.stdout, done.stderr

    return run


def test_train_evaluate_and_predict(rankmatch, write_lucchi, tmp_path):
    tree, out = write_lucchi(tmp_path / "tree", train=6), tmp_path / "run"
    train = ["train", "recipes/lucchi.py", "--data", tree, "--labels", 2, "--out", out, "--smoke", "--crop", 33]
    code, printed, err = rankmatch(*train)
    assert code == 0, err
    assert "worker process, NumPy augmentation (TensorFlow is not installed)" in printed.replace("processes", "process")
    assert "Network: DeepLabV3+ of plain Keras layers" in printed and "No TensorBoard log" in printed
    assert "mean IoU" in printed

    code, printed, err = rankmatch("evaluate", out)
    assert code == 0 and "mean" in printed, err
    code, printed, err = rankmatch("predict", out, "--images", tree / "images/test", "--out", tmp_path / "seen")
    assert code == 0, err
    assert len(list((tmp_path / "seen/masks").iterdir())) == 2


@pytest.mark.parametrize(
    ("flags", "phrase"),
    [
        (("--pipeline", "tf.data"), "TensorFlow and keras-cv for the input pipeline 'tf.data'; found no TensorFlow"),
        (("--network", "keras-cv"), "found no TensorFlow and no keras-cv"),
    ],
)
def test_what_needs_tensorflow_says_so(flags, phrase, rankmatch, write_lucchi, tmp_path):
    tree, out = write_lucchi(tmp_path / "tree", train=4), tmp_path / "run"
    command = ["train", "recipes/lucchi.py", "--data", tree, "--labels", 2, "--out", out, "--smoke", *flags]
    code, _, err = rankmatch(*command)
    assert code == 2 and phrase in err and "Traceback" not in err
    assert not out.exists()

"""Training, scoring and predicting where TensorFlow and keras-cv are not installed, as a user does."""

import json
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


TRAIN = ["train", "recipes/lucchi.py", "--data", "TREE", "--labels", "2", "--smoke"]
NEEDS_IT = {
    "--pipeline tf.data": "TensorFlow and keras-cv for the input pipeline 'tf.data'; found no TensorFlow",
    "--network keras-cv": "found no TensorFlow and no keras-cv",
}
COMMANDS = {
    "train": [*TRAIN, "--out", "RUN", "--crop", "33"],
    "evaluate": ["evaluate", "RUN"],
    "predict": ["predict", "RUN", "--images", "TREE/images/test", "--out", "SEEN"],
    **{flags: [*TRAIN, "--out", "OTHER", *flags.split()] for flags in NEEDS_IT},
}


@pytest.fixture(scope="module")
def places(tmp_path_factory, write_lucchi):
    """Folders of the commands."""
    folder = tmp_path_factory.mktemp("without")
    write_lucchi(folder / "tree", train=6)
    return {name: folder / name.lower() for name in ("TREE", "RUN", "SEEN", "OTHER")}


@pytest.fixture(scope="module")
def results(places, tmp_path_factory):
    """Exit code, output and errors of the commands, one after another in an interpreter that finds no TensorFlow."""
    blocker = tmp_path_factory.mktemp("blocker")
    (blocker / "sitecustomize.py").write_text(BLOCKER)
    commands = []
    for words in COMMANDS.values():
        for name, place in places.items():
            words = [word.replace(name, str(place)) for word in words]
        commands.append(words)
    done = subprocess.run(
        [sys.executable, CHECKOUT / "tests/shared/one_process.py"],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(blocker), str(CHECKOUT)])},
        input=json.dumps(commands),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(COMMANDS, json.loads(done.stdout), strict=True))


def test_train_evaluate_and_predict(results, places):
    code, printed, err = results["train"]
    assert code == 0, err
    assert "worker process, NumPy augmentation (TensorFlow is not installed)" in printed.replace("processes", "process")
    assert "Network: DeepLabV3+ of plain Keras layers" in printed and "No TensorBoard log" in printed
    assert "mean IoU" in printed

    code, printed, err = results["evaluate"]
    assert code == 0 and "mean" in printed, err
    code, printed, err = results["predict"]
    assert code == 0, err
    assert len(list((places["SEEN"] / "masks").iterdir())) == 2


@pytest.mark.parametrize("flags", NEEDS_IT)
def test_what_needs_tensorflow_says_so(flags, results, places):
    code, _, err = results[flags]
    assert code == 2 and NEEDS_IT[flags] in err and "Traceback" not in err
    assert not places["OTHER"].exists()

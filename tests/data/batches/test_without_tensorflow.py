"""Where TensorFlow and keras-cv are not installed: batches are made and a method is trained."""

import os
import pathlib
import subprocess
import sys

import keras
import pytest

CHECKOUT = pathlib.Path(__file__).resolve().parents[3]
BACKEND = keras.backend.backend()

# Finds everything but these packages: whoever looks for them sees what he sees where they are not installed.
HIDE = """
import sys
from importlib.machinery import PathFinder

class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        hidden = name.partition(".")[0] in {"tensorflow", "keras_cv", "tensorflow_datasets"} - {KEEP}
        return None if hidden else super().find_spec(name, path, target)

sys.meta_path[:] = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
"""

TRAIN = """
import numpy as np
import keras
from rankmatch_keras import data, methods, models, training
from rankmatch_keras.layers import ChannelNormalization

rng = np.random.default_rng(0)
images = [rng.integers(0, 255, (48, 56, 1)).astype("uint8") for _ in range(6)]
masks = [rng.integers(0, 2, (48, 56)) for _ in range(3)]
dataset = data.from_arrays(images[:3], masks, unlabeled=images[3:])
normalization = ChannelNormalization(**models.measured_normalization("tiny", *data.channel_statistics(dataset.train)))
backbone = models.create_backbone("tiny", channels=1)
segmenter = models.deeplab_v3_plus(backbone, 2, aspp_filters=16, decoder_filters=8)
model = methods.RankMatch(segmenter, seed=0, num_agents=8, threshold=0.6)
model.compile(training.SGD(training.polynomial_decay(0.02, 4), head_multiplier=2.0))
batches = data.training_batches(
    dataset.train, dataset.unlabeled, crop=33, batch_size=2, normalization=normalization, parallel_calls=1
)
history = model.fit(
    batches, epochs=3, initial_epoch=1, steps_per_epoch=1, verbose=0, shuffle=False
).history
assert len(history["loss"]) == 2 and np.isfinite(history["loss"]).all(), history
print("INPUT", type(batches).__name__, data.describe_pipeline(parallel_calls=1))
print("MODULES", *sorted({"tensorflow", "keras_cv"} & set(sys.modules)))
"""


def test_two_steps_of_rankmatch():
    """On the TensorFlow backend only keras-cv can be missing."""
    keep = "'tensorflow'" if BACKEND == "tensorflow" else "None"
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", HIDE.replace("KEEP", keep) + TRAIN],
        env=os.environ | {"PYTHONPATH": str(CHECKOUT), "KERAS_BACKEND": BACKEND, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    missing = "keras-cv" if BACKEND == "tensorflow" else "TensorFlow"
    expected = f"INPUT WorkerBatches Input: 1 worker process, NumPy augmentation ({missing} is not installed)"
    lines = done.stdout.splitlines()
    assert lines[-2] == expected
    assert lines[-1] == ("MODULES tensorflow" if BACKEND == "tensorflow" else "MODULES")
    assert "ResourceWarning" not in done.stderr


@pytest.mark.parametrize("backend", ["torch", "jax"])
def test_importing_the_data_package_needs_neither(backend):
    text = HIDE.replace("KEEP", "None") + "import rankmatch_keras.data as d\nfor name in d.__all__: getattr(d, name)\n"
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "KERAS_BACKEND": backend}
    subprocess.run([sys.executable, "-c", text], env=environment, check=True, timeout=120)

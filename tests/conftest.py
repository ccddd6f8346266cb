"""What all tests share."""

import pathlib

import keras
import numpy as np
import pytest
from hypothesis import configuration
from PIL import Image

CHECKOUT = pathlib.Path(__file__).resolve().parents[1]
configuration.set_hypothesis_home_dir(CHECKOUT / ".pytest_cache" / "hypothesis")


LONG = (
    "distributed",
    "cli",
    "training",
    "backend",
    "tensorflow",
    "torch",
    "jax",
    "comparison",
    "keras_2",
    "models",
)


def pytest_collection_modifyitems(items):
    """Begins with the files that start processes or train: a long one at the end would leave the other worker idle."""

    def place(item):
        parent = item.path.parent.name
        return LONG.index(parent) if parent in LONG else len(LONG) if parent == "tests" else len(LONG) + 1

    items.sort(key=place)


@pytest.fixture(scope="session", autouse=True)
def divergence_as_a_whole():
    """On JAX every operation of an eager call is compiled by itself, 140 in a divergence; a training step has one."""
    if keras.backend.backend() == "jax":
        import jax

        from rankmatch_keras.losses import rank

        rank.plackett_luce_kl = jax.jit(rank.plackett_luce_kl)


@pytest.fixture
def checkout():
    """The folder of the project."""
    return CHECKOUT


@pytest.fixture(scope="session")
def write_lucchi():
    """Writes a small tree in the layout of Lucchi into a folder: a bright square on noise is class 1."""
    return _write_lucchi


def _write_lucchi(root, train, test=2, size=(48, 56)):
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        for kind in ("images", "masks"):
            (root / kind / part).mkdir(parents=True)
        for number in range(count):
            mask = np.zeros(size, dtype="uint8")
            y, x = rng.integers(4, 24, 2)
            mask[y : y + 18, x : x + 18] = 1
            image = rng.integers(0, 90, size) + 150 * mask
            Image.fromarray(image.astype("uint8")).save(root / f"images/{part}/{number:02d}.png")
            Image.fromarray(mask).save(root / f"masks/{part}/{number:02d}.png")
    return root


@pytest.fixture
def rankmatch(checkout, monkeypatch, capsys):
    """Runs the command line; returns the exit code and what it printed.

    A run writes its report only where `--report` asks for it: pages of all the runs would take a minute.
    """

    from rankmatch_keras import cli

    def run(*arguments):
        words = [*map(str, arguments)]
        if words[:1] == ["train"] and "--out" in words and "--report" not in words:
            words.append("--no-report")
        monkeypatch.chdir(checkout)
        monkeypatch.setattr("sys.argv", ["rankmatch", *words])
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code
        else:
            code = 0
        printed = capsys.readouterr()
        return code or 0, printed.out, printed.err

    return run


@pytest.fixture
def golden():
    """Reads a file of reference numbers by its name."""
    return lambda name: np.load(CHECKOUT / "tests" / "golden" / f"{name}.npz")


@pytest.fixture
def value_and_gradient():
    """Value and gradient of a scalar function of one array, on the running backend."""
    return _value_and_gradient


def _value_and_gradient(function, array):
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tensor = tf.constant(array)
        with tf.GradientTape() as tape:
            tape.watch(tensor)
            value = function(tensor)
        return value.numpy(), tape.gradient(value, tensor).numpy()
    if backend == "torch":
        import torch

        tensor = torch.tensor(array, requires_grad=True)
        value = function(tensor)
        value.backward()
        return value.detach().numpy(), tensor.grad.numpy()
    import jax

    def stateless(array):
        with keras.StatelessScope():
            return function(array)

    # As users compile: XLA's older emitters, which the tests take for speed, round both sides of a difference apart.
    options = {"xla_cpu_use_fusion_emitters": True}
    value, gradient = jax.jit(jax.value_and_grad(stateless), compiler_options=options)(array)
    return np.asarray(value), np.asarray(gradient)

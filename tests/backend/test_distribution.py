"""Distribution on every backend: one process, wrong strategies, incomplete launcher variables."""

import keras
import numpy as np
import pytest

from rankmatch_keras.backend import distribution, engine
from rankmatch_keras.errors import UserError

LAUNCHERS = {
    "torch": ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    "tensorflow": ("TF_CONFIG",),
    "jax": (
        "KERAS_DISTRIBUTION_JOB_ADDRESSES",
        "KERAS_DISTRIBUTION_NUM_PROCESSES",
        "KERAS_DISTRIBUTION_PROCESS_ID",
    ),
}


@pytest.fixture
def launcher(monkeypatch):
    """Set variables of the running backend's launcher, after all are cleared."""
    for names in LAUNCHERS.values():
        for name in names:
            monkeypatch.delenv(name, raising=False)
    return monkeypatch.setenv


def test_alone():
    alone = distribution.Distribution()
    assert alone.is_main and alone.replicas == 1
    np.testing.assert_array_equal(alone.rows(3), [0, 1, 2])
    np.testing.assert_array_equal(alone.gather(np.arange(2)), [[0, 1]])
    np.testing.assert_array_equal(alone.sum(np.arange(2)), [0, 1])
    assert alone.on_main(lambda: 5) == 5


def test_auto_without_launcher_or_accelerators_is_one_replica(launcher):
    assert distribution.distribute("auto").replicas == 1
    assert distribution.running().describe(4).startswith("none: one replica of 4 images")


@pytest.mark.parametrize("strategy", ["mirrored", "multi-worker", "ddp", "data-parallel", "horovod"])
def test_a_strategy_of_another_backend_is_named(strategy):
    backend = keras.backend.backend()
    if strategy in distribution.BACKEND_STRATEGIES[backend]:
        pytest.skip("the backend has it")
    with pytest.raises(UserError, match=f"a strategy that {backend} has: auto, none, .*--distribute {strategy}"):
        distribution.distribute(strategy)


def test_launcher_variables_half_set(launcher):
    first, *others = LAUNCHERS[keras.backend.backend()]
    if not others:
        pytest.skip("one variable cannot be half set")
    launcher(first, "1")
    with pytest.raises(UserError, match=f"{first} without {', '.join(others)}"):
        distribution.distribute("auto")


def test_whole_numbers(launcher):
    for text in ("", "two", "-1", "1.5", "7"):
        with pytest.raises(UserError, match="RANK, a whole number of 0 to 3"):
            engine.whole_number({"RANK": text}, "RANK", 0, 3)
    assert engine.whole_number({"RANK": "3"}, "RANK", 0, 3) == 3


def test_a_batch_that_cannot_be_divided():
    three = distribution.Distribution()
    three.replicas = 3
    distribution.check_divisible(three, batch=6)
    with pytest.raises(UserError, match="a batch that 3 replicas divide evenly; found 4. Take 6"):
        distribution.check_divisible(three, batch=4)


def test_an_error_on_main_reaches_everyone():
    class Second(distribution.Distribution):
        process, processes = 1, 2

        def gather(self, values):
            return np.stack([np.ones_like(values), values])

    def broken():
        raise UserError("a", "b", "C.")

    with pytest.raises(UserError, match="found b"):
        distribution.Distribution().on_main(broken)
    with pytest.raises(UserError, match="the first process"):
        Second().on_main(broken)

"""`keras.distribution` on JAX: two devices or processes give the numbers of one; failures end all processes."""

import os
import signal
import time

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="the engine of JAX")

FAST = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "TF_CPP_MIN_LOG_LEVEL": "2"}
TINY = "tests/distributed/driver_jax.py"


@pytest.fixture(scope="module")
def begin(start):
    """Start one Python process that compiles quickly."""

    def run(*arguments, **variables):
        return start("-u", *arguments, **FAST, **variables)

    return run


@pytest.fixture(scope="module")
def processes(begin, free_port):
    """Start one Python process per place."""

    def run(*arguments, count=2):
        variables = {
            "KERAS_DISTRIBUTION_JOB_ADDRESSES": f"127.0.0.1:{free_port()}",
            "KERAS_DISTRIBUTION_NUM_PROCESSES": str(count),
        }
        return [begin(*arguments, KERAS_DISTRIBUTION_PROCESS_ID=str(n), **variables) for n in range(count)]

    return run


@pytest.fixture(scope="module")
def trained(begin, processes, finish, tmp_path_factory):
    """Results of three steps of RankMatch: on one device, on two, and in two processes."""
    folder = tmp_path_factory.mktemp("trained")
    driver = "tests/distributed/driver.py"
    runs = [begin(driver, "auto", 0, folder / "one"), begin(driver, "data-parallel", 2, folder / "devices")]
    runs += processes(driver, "auto", 0, folder / "processes")
    for code, _, err in finish(*runs, timeout=600):
        assert code == 0, err
    names = ("one.0", "devices.0", "processes.0", "processes.1")
    return [dict(np.load(folder / f"{name}.npz")) for name in names]


def test_two_devices_or_processes_train_like_one(trained):
    one, devices, first, second = trained
    places = [run.pop("processes").tolist() for run in (one, devices, first, second)]
    assert places == [[[0, 1]], [[0, 2]], [[0, 2], [1, 2]], [[0, 2], [1, 2]]]
    assert len(one) > 100
    for name, expected in one.items():
        for found in (devices, first):
            np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-4 * np.abs(expected).max(), err_msg=name)
        np.testing.assert_array_equal(second[name], first[name], err_msg=name)


@pytest.fixture(scope="module")
def tiny(processes, finish, tmp_path_factory):
    """Observations of two processes in three steps of a tiny network."""
    folder = tmp_path_factory.mktemp("tiny")
    for code, _, err in finish(*processes(TINY, 3, folder / "seen")):
        assert code == 0, err
    return [dict(np.load(folder / f"seen.{n}.npz")) for n in range(2)]


def test_gather_keeps_every_digit(tiny):
    for seen in tiny:
        assert seen["gathered_0"].tolist() == [2**40, 2**40 + 1]
        assert seen["gathered_1"].tolist() == [[1 / 3, 0], [1 / 3, 1]]
        assert seen["gathered_2"].tolist() == [[True, False]] * 2


def test_one_process_predicts_by_itself_between_steps(tiny):
    first, second = tiny
    np.testing.assert_allclose(first["seen"], first["expected"], rtol=0, atol=1e-6)
    for seen in tiny:
        np.testing.assert_allclose(seen["alone"], first["expected"], rtol=0, atol=1e-6)
    assert "seen" not in second


def test_the_step_is_compiled_once(tiny):
    for seen in tiny:
        assert seen["compiled"].tolist() == ["jit(train_step)"]


def last_line(err):
    """Return our error among the lines that libraries print."""
    (line,) = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert "Traceback" not in err
    return line


def wait_for_steps(running):
    for process in running:
        for line in process.stdout:
            if line.startswith("step"):
                break


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_other(processes, finish, tmp_path, victim):
    running = processes(TINY, 0, tmp_path / "never")
    wait_for_steps(running)
    os.kill(running[victim].pid, signal.SIGKILL)
    begun = time.monotonic()
    ((code, _, err),) = finish(running[1 - victim])
    finish(running[victim])
    assert time.monotonic() - begun < 60
    assert code not in (0, None)
    assert "Another process of this run is gone" in last_line(err) and "--resume" in err


def test_an_error_of_one_process_ends_the_other(processes, finish, tmp_path):
    (code, _, err), (failed, _, reason) = finish(*processes(TINY, 0, tmp_path / "never", "--fail"))
    assert failed == 2
    assert last_line(reason) == "Error: Expected a whole file; found half of one. Copy it again."
    assert code not in (0, None)
    assert "Another process of this run is gone" in last_line(err)


def test_processes_that_never_come(begin, finish, free_port):
    script = (
        "from rankmatch_keras.backend.jax import distribution as engine;"
        "engine.join(engine.launcher_variables(engine.VARIABLES), 3)"
    )
    address = f"127.0.0.1:{free_port()}"
    variables = dict(zip(PLACE, (address, "2", "1"), strict=True))
    ((code, _, err),) = finish(begin("-c", script, **variables))
    assert code != 0
    assert f"Expected 2 processes that meet at {address} within 3 s; found fewer" in last_line(err)


PLACE = ("KERAS_DISTRIBUTION_JOB_ADDRESSES", "KERAS_DISTRIBUTION_NUM_PROCESSES", "KERAS_DISTRIBUTION_PROCESS_ID")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (("a:1", "2", "2"), "KERAS_DISTRIBUTION_PROCESS_ID, a whole number of 0 to 1; found '2'"),
        (("a:1", "none", "0"), "KERAS_DISTRIBUTION_NUM_PROCESSES, a whole number of 1 or more; found 'none'"),
        (("a", "2", "0"), "host:port of the first process, or of all 2; found 'a'"),
        (("a:1,b:1,c:1", "2", "0"), "host:port of the first process, or of all 2; found 'a:1,b:1,c:1'"),
    ],
)
def test_wrong_variables(values, message):
    from rankmatch_keras.backend.jax.distribution import join
    from rankmatch_keras.errors import UserError

    with pytest.raises(UserError, match=message):
        join(dict(zip(PLACE, values, strict=True)))


def test_more_replicas_than_devices():
    import jax

    from rankmatch_keras.backend.jax.distribution import choose_devices
    from rankmatch_keras.errors import UserError

    count = len(jax.devices())
    assert choose_devices(None) == jax.devices()
    with pytest.raises(UserError, match=f"{count + 1} devices in each process; found {count} of .*--replicas {count}"):
        choose_devices(count + 1)

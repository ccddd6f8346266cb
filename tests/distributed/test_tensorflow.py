"""`tf.distribute`: two replicas in one process or two give the numbers of one; failures end all processes."""

import json
import os
import signal
import time
import types

import keras
import numpy as np
import pytest

from rankmatch_keras.errors import UserError, WorkerLost

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="the engine of TensorFlow")


@pytest.fixture(scope="module")
def workers(start, free_port):
    """Start one Python process per worker of a cluster."""

    def run(*arguments, count=2):
        addresses = [f"127.0.0.1:{free_port()}" for _ in range(count)]
        tasks = [{"type": "worker", "index": index} for index in range(count)]
        configs = [json.dumps({"cluster": {"worker": addresses}, "task": task}) for task in tasks]
        return [start(*arguments, TF_CONFIG=config) for config in configs]

    return run


@pytest.fixture(scope="module")
def trained(start, workers, finish, tmp_path_factory):
    """Folder with the results of three steps: one replica, two in one process, two processes."""
    folder = tmp_path_factory.mktemp("trained")
    many = workers("tests/distributed/driver.py", "auto", 0, folder / "many")
    for code, _, err in finish(start("tests/distributed/mirrored_tensorflow.py", folder), *many, timeout=600):
        assert code == 0, err
    return folder


@pytest.fixture(scope="module")
def facts(trained):
    return json.loads((trained / "facts.json").read_text())


def values(path):
    """Return arrays in order: Keras numbers its names anew for every model."""
    with np.load(path) as file:
        return [file[name] for name in file.files if name != "processes"], file["processes"].tolist()


def assert_close(found, expected):
    assert len(found) == len(expected) > 100
    for number, (one, other) in enumerate(zip(found, expected, strict=True)):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-4 * np.abs(other).max(), err_msg=f"{number}")


def test_two_devices_train_like_one(trained):
    found, processes = values(trained / "two.0.npz")
    assert processes == [[0, 2]]
    assert_close(found, values(trained / "one.0.npz")[0])


def test_two_processes_train_like_one(trained):
    found, processes = values(trained / "many.0.npz")
    assert processes == [[0, 2], [1, 2]]
    assert_close(found, values(trained / "one.0.npz")[0])


def test_both_processes_hold_the_same_bits(trained):
    for first, second in zip(values(trained / "many.0.npz")[0], values(trained / "many.1.npz")[0], strict=True):
        np.testing.assert_array_equal(first, second)


def test_accumulated_gradients_are_those_of_one_device(trained):
    found = np.load(trained / "supervised.npz")
    np.testing.assert_allclose(found["accumulated"], found["one accumulated"], atol=1e-5)
    assert np.abs(found["accumulated"] - found["one plain"]).max() > 1e-3


def test_statistics_of_each_device_alone_give_another_network(trained):
    found = np.load(trained / "supervised.npz")
    assert np.abs(found["apart"] - found["one plain"]).max() > 1e-3


def test_each_image_goes_to_one_replica(facts):
    assert facts["dealt"] == [[[0, 1, 6, 7], [2, 3, 4, 5]]] * 2


def test_the_local_predictor_is_a_copy_with_the_current_weights(facts):
    found = facts["predictions"]
    assert found["shape"] == [2, 20, 24, 3]
    assert found["error"] < 1e-5 < 1e-2 < found["change"]
    assert found["same copy"]
    assert len(found["config"]) > 10 and not any(found["config"])


def test_the_strategy_is_described(facts):
    assert facts["describe"] == "mirrored: 2 replicas with 4 of 8 images each, tensorflow"
    assert facts["auto"] == "mirrored"
    assert "Expected to choose devices and processes before TensorFlow makes its first tensor" in facts["late"]


def cluster(**changes):
    config = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}
    return json.dumps({name: value for name, value in {**config, **changes}.items() if value is not None})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "TF_CONFIG as JSON; found something else"),
        ("[" * 100_000, "TF_CONFIG as JSON; found something else"),
        ("[]", "TF_CONFIG with an object 'cluster'; found none"),
        (cluster(cluster=None), "TF_CONFIG with an object 'cluster'; found none"),
        (cluster(task=None), "TF_CONFIG with an object 'task'; found none"),
        (cluster(task=1), "TF_CONFIG with an object 'task'; found 1"),
        (cluster(cluster={}), "with the addresses of the workers; found none"),
        (cluster(cluster={"worker": []}), "with a list of host:port for 'worker'; found []"),
        (cluster(cluster={"worker": ["a:1", "b"]}), "with a list of host:port for 'worker'"),
        (cluster(cluster={"worker": ["a:1", "b:99999"]}), "with a list of host:port for 'worker'"),
        (cluster(cluster={"worker": ["a:1", "a:1"]}), "an address of its own for each process; found one twice"),
        (cluster(cluster={"worker": ["a:1"], "ps": ["b:2"]}), "of 'worker' and perhaps 'chief'; found 'ps'"),
        (cluster(cluster={"worker": ["a:1"], "chief": ["b:2", "c:3"]}), "with one chief; found 2"),
        (cluster(task={"index": 0}), "with a task type of worker; found None"),
        (cluster(task={"type": "chief", "index": 0}), "with a task type of worker; found 'chief'"),
        (cluster(task={"type": "worker"}), "with a task index of 0 to 1; found None"),
        (cluster(task={"type": "worker", "index": 2}), "with a task index of 0 to 1; found 2"),
        (cluster(task={"type": "worker", "index": "0"}), "with a task index of 0 to 1; found '0'"),
        (cluster(task={"type": "worker", "index": True}), "with a task index of 0 to 1; found True"),
    ],
)
def test_a_half_set_launcher_ends_with_one_line(text, said, rankmatch, monkeypatch, tmp_path):
    monkeypatch.setenv("TF_CONFIG", text)
    code, _, err = rankmatch("train", "recipes/lucchi.py", "--data", tmp_path, "--out", tmp_path / "run")
    assert code == 2
    assert err.startswith("Error: Expected TF_CONFIG ") and said in err and len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_the_place_in_a_cluster(monkeypatch):
    from rankmatch_keras.backend.tensorflow.cluster import read_cluster

    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert read_cluster() is None
    monkeypatch.setenv("TF_CONFIG", cluster())
    assert read_cluster() == (1, 2)
    with_chief = {"worker": ["a:1", "b:2"], "chief": ["c:3"]}
    monkeypatch.setenv("TF_CONFIG", cluster(cluster=with_chief))
    assert read_cluster() == (2, 3)
    monkeypatch.setenv("TF_CONFIG", cluster(cluster=with_chief, task={"type": "chief", "index": 0}))
    assert read_cluster() == (0, 3)


def test_strategies_that_contradict_the_launcher(monkeypatch):
    from rankmatch_keras.backend import distribution

    monkeypatch.delenv("TF_CONFIG", raising=False)
    with pytest.raises(UserError, match="all processes in TF_CONFIG; found no TF_CONFIG"):
        distribution.distribute("multi-worker")
    monkeypatch.setenv("TF_CONFIG", cluster())
    with pytest.raises(UserError, match="one process for --distribute mirrored; found TF_CONFIG with 2 processes"):
        distribution.distribute("mirrored", 2)
    with pytest.raises(UserError, match="one replica per process where there is no GPU; found --replicas 2"):
        distribution.distribute("auto", 2)


def test_errors_that_mean_a_lost_process():
    import tensorflow as tf

    from rankmatch_keras.backend.tensorflow.cluster import or_lost

    said = "Graph execution error:\n\nCollective ops is aborted by: Connection reset by peer\nMore"
    with pytest.raises(WorkerLost, match=r"is gone \(Connection reset by peer\)"), or_lost():
        raise tf.errors.UnavailableError(None, None, said)
    with pytest.raises(tf.errors.InvalidArgumentError), or_lost():
        raise tf.errors.InvalidArgumentError(None, None, "Incompatible shapes")


def test_xla_on_several_devices_is_refused():
    from rankmatch_keras.backend.tensorflow.distribution import Mirrored

    method = types.SimpleNamespace(jit_compile=True)
    with pytest.raises(UserError, match="no XLA on several devices; found --jit on"):
        Mirrored.prepare(Mirrored.__new__(Mirrored), method)


SMALL = "--method supervised --backbone tiny --crop 33 --aspp-filters 16 --decoder-filters 8 --val-limit 2".split()


def test_a_killed_worker_ends_the_run_and_it_can_be_resumed(workers, finish, write_lucchi, tmp_path):
    tree, out = write_lucchi(tmp_path / "tree", train=8), tmp_path / "run"
    command = ["-u", "-m", "rankmatch_keras", "train", "recipes/lucchi.py", "--data", tree, "--labels", 2, "--out", out]
    command += ["--smoke", "--no-report", "--batch", 4, *SMALL, "--steps", 8, "--interval", 2]
    survivor, victim = workers(*command)
    wait_for(out / "state.npz", (survivor, victim))
    os.kill(victim.pid, signal.SIGKILL)
    start = time.monotonic()
    (code, _, err), _ = finish(survivor, victim)
    assert time.monotonic() - start < 60
    assert code == 1
    lines = [line for line in err.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1 and "Another process of this run is gone" in lines[0] and "--resume" in lines[0], err
    assert "Traceback" not in err

    done = len((out / "history.csv").read_text().splitlines()) - 1
    results = finish(*workers(*command, "--resume"))
    assert [code for code, *_ in results] == [0, 0], results
    (_, printed, _), (_, silent, _) = results
    assert f"Epoch {done + 1}/4" in printed and "Epoch 1/" not in printed
    assert "equal weights in 2 processes" in printed and "2 replicas with 2 of 4 images each" in printed
    assert silent == ""
    assert len((out / "history.csv").read_text().splitlines()) == 5


def wait_for(path, processes, seconds=200):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"no {path}"
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.1)

"""DistributedDataParallel: two processes give the numbers of one; failures end both."""

import os
import signal
import time

import keras
import numpy as np
import pytest

pytestmark = pytest.mark.skipif(keras.backend.backend() != "torch", reason="the engine of torch")


@pytest.fixture(scope="module")
def ranks(start, free_port):
    """Start one Python process per rank, as torchrun does."""

    def run(*arguments, count=2):
        port = str(free_port())
        variables = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        return [start(*arguments, RANK=str(rank), LOCAL_RANK=str(rank), **variables) for rank in range(count)]

    return run


@pytest.fixture(scope="module")
def trained(start, ranks, finish, tmp_path_factory):
    """Results of three steps: of one process, and of two."""
    folder = tmp_path_factory.mktemp("trained")
    driver = "tests/distributed/driver.py"
    for code, _, err in finish(start(driver, "none", 0, folder / "one"), *ranks(driver, "auto", 0, folder / "two")):
        assert code == 0 and "Traceback" not in err, err
    return [dict(np.load(folder / name)) for name in ("one.0.npz", "two.0.npz", "two.1.npz")]


def test_two_processes_train_like_one(trained):
    one, *two = trained
    assert two[0].pop("processes").tolist() == [[0, 2], [1, 2]]
    del one["processes"], two[1]["processes"]
    assert len(one) > 100
    for name, expected in one.items():
        for found in two:
            np.testing.assert_allclose(found[name], expected, rtol=0, atol=1e-4 * np.abs(expected).max(), err_msg=name)


def test_both_processes_hold_the_same_bits(trained):
    _, first, second = trained
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name], err_msg=name)


def train(tree, out, *more):
    return [
        "-u",
        "-m",
        "rankmatch_keras",
        "train",
        "recipes/lucchi.py",
        "--data",
        tree,
        "--labels",
        2,
        "--out",
        out,
        *more,
    ]


SMALL = (
    *("--smoke", "--no-report", "--crop", 33, "--batch", 4),
    *("--aspp-filters", 16, "--decoder-filters", 8, "--val-limit", 2),
)


def wait_for(path, processes, seconds=120):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"no {path}"
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.1)


def test_a_killed_process_ends_the_run_and_it_can_be_resumed(ranks, finish, write_lucchi, tmp_path):
    tree, out = write_lucchi(tmp_path / "tree", train=8), tmp_path / "run"
    command = train(tree, out, *SMALL, "--steps", 16, "--interval", 4)
    survivor, victim = ranks(*command)
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
    results = finish(*ranks(*command, "--resume"))
    assert [code for code, *_ in results] == [0, 0], results
    (_, printed, _), (_, silent, _) = results
    assert f"Epoch {done + 1}/4" in printed and "Epoch 1/" not in printed
    assert "equal weights in 2 processes" in printed and "2 processes with 2 of 4 images each" in printed
    assert silent == ""
    assert len((out / "history.csv").read_text().splitlines()) == 5


def test_torchrun_starts_a_failed_run_again(start, finish, write_lucchi, tmp_path):
    tree, out = write_lucchi(tmp_path / "tree", train=8), tmp_path / "run"
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2, "--max-restarts", 1]
    more = ("--method", "supervised", "--steps", 12, "--interval", 4)
    process = start(*launcher, *train(tree, out, *SMALL, *more)[1:])
    wait_for(out / "state.npz", [process])
    children = [int(pid) for pid in os.listdir("/proc") if pid.isdigit() and parent(pid) == process.pid]
    os.kill(children[-1], signal.SIGKILL)
    ((code, _, err),) = finish(process)
    assert code == 0, err
    assert len((out / "history.csv").read_text().splitlines()) == 4
    assert "resumed" in (out / "config.json").read_text()


def parent(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return int(file.read().rpartition(")")[2].split()[1])
    except OSError:
        return None


def test_a_batch_that_two_processes_cannot_divide(ranks, finish, write_lucchi, tmp_path):
    tree = write_lucchi(tmp_path / "tree", train=4)
    for code, _, err in finish(*ranks(*train(tree, tmp_path / "run", "--smoke", "--batch", 3))):
        assert code == 2
        assert [line for line in err.splitlines() if line.startswith("Error")] == [
            "Error: Expected a batch that 2 replicas divide evenly; found 3. Take 4, or fewer replicas."
        ]
    assert not (tmp_path / "run").exists()

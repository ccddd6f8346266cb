"""One backend's part of the parity tests, in a process of its own: `python driver.py FOLDER TASK ...`.

`prepare` writes initial weights, batches and random draws. `measure` reads them as they come and writes all that the
training step of every case computes with them. `leave` trains and saves a model, `take` loads those that all backends
left.
"""

import sys
from pathlib import Path

import keras
import numpy as np
from cases import CASES, EXCHANGED, build_method
from draws import Draws
from exchange import leave, take
from inputs import arrived, read_inputs, write_inputs
from measuring import assign_all, initial, run_steps

DRAWS = 8191


def prepare(folder, place):
    """Writes `draws.npz`, and a file of weights and batches per case."""
    np.savez(folder / "draws.part.npz", table=np.random.default_rng(0).random(DRAWS, dtype="float32"))
    (folder / "draws.part.npz").rename(folder / "draws.npz")
    for name, case in {**CASES, "exchanged": EXCHANGED}.items():
        write_inputs(folder / f"{name}.npz", case, initial(build_method(case)))


def measure(folder, place):
    """Runs the steps of every case and writes what they compute."""
    for name, case in CASES.items():
        weights, batches = read_inputs(arrived(folder / f"{name}.npz"), case)
        method = build_method(case)
        assign_all(initial(method), weights)
        np.savez(place / f"{name}.npz", **run_steps(method, batches))


TASKS = {"prepare": prepare, "measure": measure, "leave": leave, "take": take}


def main(folder, *tasks):
    """Runs the tasks in turn."""
    place = folder / keras.backend.backend()
    place.mkdir(exist_ok=True)
    for task in tasks:
        if task != "prepare":
            Draws(np.load(arrived(folder / "draws.npz"))["table"]).install()
        TASKS[task](folder, place)
        keras.utils.clear_session()  # Keras numbers names, those of variables too; each task begins with 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])

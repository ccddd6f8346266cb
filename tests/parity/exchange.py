"""What one backend leaves for the others: a trained model, and the state of a run that was stopped."""

import keras
import numpy as np
from cases import EXCHANGED, RELU, build_method
from inputs import raw_images, read_inputs
from measuring import assign_all, initial, labeled, one_step, run_steps

from rankmatch_keras import models
from rankmatch_keras.layers import ChannelNormalization
from rankmatch_keras.training.state import load_state, save_state


def leave(folder, place):
    """Trains, saves model and state as a run does, and goes on for one step; writes all of the first one too."""
    method = build_method(EXCHANGED)
    weights, (*batches, last) = read_inputs(folder / "exchanged.npz", EXCHANGED)
    assign_all(initial(method), weights)
    np.savez(place / f"{RELU}.npz", **run_steps(method, batches[:1]))
    for batch in batches[1:]:
        method.train_on_batch(batch)
    normalization = ChannelNormalization((127.5,) * 3, (50.0,) * 3)
    models.predictor(method.segmenter, normalization).save(place / "model.keras")
    save_state(place / "state.npz", method, {"epochs": 1})
    np.savez(place / "stopped.npz", **all_variables(method))
    np.savez(place / "continued.npz", **one_step(method, last))


def take(folder, place):
    """Loads what every backend left, predicts with it, and goes on for one step."""
    method = build_method(EXCHANGED)
    _, (*_, last) = read_inputs(folder / "exchanged.npz", EXCHANGED)
    for other in sorted(path.parent for path in folder.glob("*/state.npz")):
        predictor = models.load_predictor(other / "model.keras")
        probabilities = keras.ops.convert_to_numpy(predictor(raw_images()))
        np.save(place / f"classes of {other.name}.npy", probabilities.argmax(-1).astype("uint8"))
        load_state(other / "state.npz", method)
        np.savez(place / f"loaded from {other.name}.npz", **all_variables(method))
        np.savez(place / f"continued from {other.name}.npz", **one_step(method, last))


def all_variables(method):
    """Everything that a step depends on, random streams included."""
    return labeled("step 0/state", [*method.variables, *method.optimizer.variables])

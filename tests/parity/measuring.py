"""The numbers of real training steps, by `step/kind/name` in the order of computation."""

import keras
import numpy as np


def run_steps(method, batches):
    """All that the steps compute: statistics, terms and gradients of the first one, everything after the last."""
    start = values(method.trainable_variables)
    found = {}
    for number, batch in enumerate(batches, start=1):
        step = f"step {number}"
        logs = one_step(method, batch, step)
        if number == 1:
            found.update(labeled(f"{step}/batch statistics", method.segmenter.non_trainable_variables))
        found.update(logs)
        if number == 1:
            found.update(gradients(method, start))
    found.update(labeled(f"{step}/weights", method.trainable_variables))
    moves = [value - before for value, before in zip(values(method.trainable_variables), start, strict=True)]
    found.update(zip(names(f"{step}/moves of the weights", method.trainable_variables), moves, strict=True))
    found.update(labeled(f"{step}/other variables", method.non_trainable_variables))
    found.update(labeled(f"{step}/velocities", method.optimizer.momentums))
    found[f"{step}/counter/iterations"] = value_of(method.optimizer.iterations)
    return found


def one_step(method, batch, step="step 1"):
    """Trains on one batch; returns its terms and, last, the total."""
    logs = method.train_on_batch(batch, return_dict=True)
    total = logs.pop("loss")
    terms = {f"{step}/terms/{name}": np.float32(value) for name, value in logs.items()}
    return {**terms, f"{step}/total/loss": np.float32(total)}


def gradients(method, start):
    """The gradients of the first step, last layer first: SGD's velocities, which began at 0, less the L2 term."""
    l2 = np.float32(method.optimizer.l2)
    found = [value - l2 * weight for value, weight in zip(values(method.optimizer.momentums), start, strict=True)]
    labels = names("step 1/gradients", method.trainable_variables)
    return dict(reversed([*zip(labels, found, strict=True)]))


def labeled(label, variables):
    """The variables' values by label and path."""
    return dict(zip(names(label, variables), values(variables), strict=True))


def names(label, variables):
    """A name per variable; numbered, since networks may hold two of one path."""
    return [f"{label}/{number:03d} {variable.path}" for number, variable in enumerate(variables)]


def values(variables):
    """The variables' values."""
    return [value_of(variable) for variable in variables]


def value_of(variable):
    """A copy: what PyTorch gives would move with the variable."""
    return np.array(keras.ops.convert_to_numpy(variable.value))


def initial(method):
    """The variables that a case's file has values for: those of all networks and heads; other state begins alike."""
    return [v for network in (*method.students, *method.heads) for v in network.variables if v.dtype == "float32"]


def assign_all(variables, arrays):
    """Gives each variable its value."""
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)

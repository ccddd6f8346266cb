"""Precision and determinism of a run, checked on the device before anything is built."""

import importlib

import keras
from keras import ops

from rankmatch_keras.errors import UserError

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")


def set_precision(precision: str) -> None:
    """Sets the dtype policy of all layers made from now on.

    Under the mixed policies weights, batch statistics, logits, losses and the choice of agents stay in float32;
    convolutions compute in 16 bits. Keras scales the loss under "mixed_float16" by itself.

    Args:
        precision: one of `PRECISIONS`.

    Raises:
        UserError: the device does not compute in that precision.
    """
    narrow = precision.removeprefix("mixed_")
    if narrow != "float32":
        reason = numerics().missing(narrow) or _failure(narrow)
        if reason:
            raise UserError(
                f"a device that computes in {narrow}", f"none ({reason})", "Leave --precision at float32, or change it."
            )
    keras.mixed_precision.set_dtype_policy(precision)


def make_deterministic() -> None:
    """Makes two runs with the same seed give the same bits on the same machine; may be slower."""
    numerics().make_deterministic()


def numerics():
    """What the running backend can do: the module `training.numerics_<backend>`."""
    return importlib.import_module(f"rankmatch_keras.training.numerics_{keras.backend.backend()}")


def _failure(dtype):
    """What a small convolution in that dtype fails with, or None."""
    try:
        ops.conv(ops.ones((1, 4, 4, 8), dtype), ops.ones((3, 3, 8, 8), dtype), padding="same")
    except Exception as error:  # each framework has its own kinds
        return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
    return None

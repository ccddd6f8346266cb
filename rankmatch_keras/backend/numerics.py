"""Precision and determinism of a run, checked on the device before anything is built."""

import keras
from keras import ops

from rankmatch_keras.backend import device
from rankmatch_keras.errors import UserError


def set_precision(precision: str) -> None:
    """Set the dtype policy of all layers made from now on.

    Under the mixed policies weights, batch statistics, logits, losses and the choice of agents stay in float32;
    convolutions compute in 16 bits. Keras itself scales the loss under "mixed_float16".

    Args:
        precision: one of `environment.PRECISIONS`.

    Raises:
        UserError: the device does not compute in that precision.
    """
    narrow = precision.removeprefix("mixed_")
    if narrow != "float32":
        reason = device.missing(narrow) or _failure(narrow)
        if reason:
            raise UserError(
                f"a device that computes in {narrow}", f"none ({reason})", "Leave --precision at float32, or change it."
            )
    keras.mixed_precision.set_dtype_policy(precision)


def make_deterministic() -> None:
    """Make runs with the same seed bitwise equal on the same machine; this may be slower."""
    device.make_deterministic()


def has_accelerator() -> bool:
    """Return whether the running backend computes on a GPU or TPU."""
    return device.has_accelerator()


def keep_tensorflow_off_gpus() -> None:
    """Keep TensorFlow from taking all GPU memory where it only feeds another backend."""
    if keras.backend.backend() != "tensorflow":
        from rankmatch_keras.backend.tensorflow.numerics import hide_gpus

        hide_gpus()


def _failure(dtype):
    """Return the error of a small convolution in that dtype, or None."""
    try:
        ops.conv(ops.ones((1, 4, 4, 8), dtype), ops.ones((3, 3, 8, 8), dtype), padding="same")
    except Exception as error:  # each framework has its own kinds
        return (str(error).strip() or type(error).__name__).splitlines()[0][:120]
    return None

"""What TensorFlow's device can do. Imports nothing of the package."""

import contextlib

import tensorflow as tf


def missing(dtype: str) -> str | None:
    """Why the device lacks a 16-bit type, or None: GPUs would emulate bfloat16 slowly."""
    for gpu in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        if dtype == "bfloat16" and details.get("compute_capability", (8, 0)) < (8, 0):
            return f"{details.get('device_name', 'the GPU')} has no bfloat16 units"
    return None


def make_deterministic() -> None:
    """Chooses deterministic kernels; an operation without one raises."""
    # keras-cv's layers ask for it when they are made, though the pipeline draws all numbers from seeds of its own.
    tf.random.set_global_generator(tf.random.Generator.from_seed(0))
    tf.config.experimental.enable_op_determinism()


def hide_gpus() -> None:
    """Leave the GPUs to the backend that trains, unless TensorFlow already runs on devices that its caller chose."""
    with contextlib.suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")

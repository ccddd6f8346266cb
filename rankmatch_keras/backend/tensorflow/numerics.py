"""Precision, determinism and visibility of TensorFlow's devices."""

import contextlib

import tensorflow as tf


def missing(dtype: str) -> str | None:
    """Return why the device lacks a 16-bit type, or None: old GPUs would emulate bfloat16 slowly."""
    for gpu in tf.config.list_physical_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        if dtype == "bfloat16" and details.get("compute_capability", (8, 0)) < (8, 0):
            return f"{details.get('device_name', 'the GPU')} has no bfloat16 units"
    return None


def has_accelerator() -> bool:
    """Return whether TensorFlow computes on a GPU or TPU."""
    return bool(tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("TPU"))


def make_deterministic() -> None:
    """Choose deterministic kernels; an operation without one raises."""
    # keras-cv's layers ask for a global generator when they are made, although the pipeline seeds all its numbers.
    tf.random.set_global_generator(tf.random.Generator.from_seed(0))
    tf.config.experimental.enable_op_determinism()


def hide_gpus() -> None:
    """Hide the GPUs from TensorFlow, unless it already runs on devices that its caller chose."""
    with contextlib.suppress(RuntimeError):
        tf.config.set_visible_devices([], "GPU")

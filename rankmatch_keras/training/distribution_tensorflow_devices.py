"""The devices of this process's replicas on TensorFlow."""

import functools

import tensorflow as tf

from rankmatch_keras.errors import UserError
from rankmatch_keras.training.distribution_tensorflow_cluster import reason


def choose_devices(replicas: int | None) -> int:
    """Leaves this process the devices of its replicas: so many GPUs, or logical devices where there is no GPU.

    Returns:
        How many.

    Raises:
        UserError: there are not so many GPUs, or TensorFlow has begun with other devices.
    """
    gpus = tf.config.list_physical_devices("GPU")
    count = replicas or len(gpus) or 1
    if gpus and count > len(gpus):
        raise UserError(
            f"at most one replica per GPU, {len(gpus)}", f"--replicas {count}", "Take fewer, or more processes."
        )
    try:
        if count < len(gpus):
            tf.config.set_visible_devices(gpus[:count], "GPU")
        if count > 1 and not gpus:
            cpu = tf.config.list_physical_devices("CPU")[0]
            tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)
    except RuntimeError as error:
        raise too_late(error) from error
    return count


@functools.cache
def mirrored_strategy(count: int) -> tf.distribute.Strategy:
    """The program's strategy: TensorFlow would mix up the exchanges of two of them."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices[:count]])


def too_late(error: Exception) -> UserError:
    """What TensorFlow says once it computes."""
    what = "to choose devices and processes before TensorFlow makes its first tensor"
    return UserError(what, f"it has begun ({reason(error)})", "Call `distribute` first.")

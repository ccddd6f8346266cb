"""Precision and determinism of JAX's devices."""

import os

import jax

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def missing(dtype: str) -> str | None:
    """Return why the device lacks a 16-bit type, or None."""
    for device in jax.local_devices():
        capability = getattr(device, "compute_capability", None)
        if dtype == "bfloat16" and capability and float(capability) < 8.0:
            return f"{device.device_kind} has no bfloat16 units"
        if dtype == "float16" and device.platform == "tpu":
            return f"{device.device_kind} computes in bfloat16"
    return None


def has_accelerator() -> bool:
    """Return whether JAX computes on a GPU or TPU."""
    return jax.default_backend() != "cpu"


def make_deterministic() -> None:
    """Choose deterministic GPU kernels, before the first computation; CPU kernels always are."""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()

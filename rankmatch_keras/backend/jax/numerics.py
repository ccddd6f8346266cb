"""What JAX's device can do. Imports nothing of the package."""

import os

import jax

DETERMINISTIC = "--xla_gpu_deterministic_ops=true"


def missing(dtype: str) -> str | None:
    """Why the device lacks a 16-bit type, or None."""
    for device in jax.local_devices():
        capability = getattr(device, "compute_capability", None)
        if dtype == "bfloat16" and capability and float(capability) < 8.0:
            return f"{device.device_kind} has no bfloat16 units"
        if dtype == "float16" and device.platform == "tpu":
            return f"{device.device_kind} computes in bfloat16"
    return None


def make_deterministic() -> None:
    """Chooses deterministic kernels on GPUs, before the first computation; those of processors are."""
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {DETERMINISTIC}".strip()

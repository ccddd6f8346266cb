"""Precision and determinism of PyTorch's device."""

import os

import torch


def missing(dtype: str) -> str | None:
    """Return why the device lacks a 16-bit type, or None: old GPUs would emulate bfloat16 slowly."""
    if dtype == "bfloat16" and torch.cuda.is_available() and not torch.cuda.is_bf16_supported(False):
        return f"{torch.cuda.get_device_name()} has no bfloat16 units"
    return None


def has_accelerator() -> bool:
    """Return whether PyTorch computes on a GPU."""
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def make_deterministic() -> None:
    """Choose deterministic kernels; an operation without one raises."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False

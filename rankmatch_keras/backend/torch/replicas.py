"""Exchange among the replicas, one per process, within a training step; synchronized batch normalization.

PyTorch's SyncBatchNorm refuses CPU tensors, and Keras' `synchronized=True` exists on TensorFlow only.
"""

import functools
import re

import keras
import torch
from torch import distributed
from torch.nn import functional

from rankmatch_keras.backend.replicas import Replicas
from rankmatch_keras.errors import WorkerLost

SIGNS = re.compile("gloo|nccl|connection.*peer", re.IGNORECASE)  # in messages of lost connections


class ProcessReplicas(Replicas):
    """One replica per process."""

    def __init__(self, process, processes):
        self.count = processes
        self._process = process

    def index(self):
        """See `Replicas`."""
        return self._process

    @torch.no_grad()
    def sum(self, value):
        """See `Replicas`."""
        total = value.detach().clone()
        or_lost(distributed.all_reduce, total)
        return total


def or_lost(function, *arguments):
    """Run a function that communicates with the other processes.

    Raises:
        WorkerLost: one of them does not answer.
    """
    try:
        return function(*arguments)
    except RuntimeError as error:
        if is_lost(error):
            raise WorkerLost(reason_of(error)) from error
        raise


def is_lost(error: BaseException) -> bool:
    """Tell whether an error of torch means that another process is gone."""
    return isinstance(error, distributed.DistError) or bool(SIGNS.search(str(error)))


def reason_of(error: BaseException) -> str:
    """Return the line of an error's message that says why; Keras wraps the message in the call of a layer."""
    lines = (str(error).strip() or type(error).__name__).splitlines()
    return next((line.strip() for line in lines if SIGNS.search(line)), lines[0])


def use_synchronized_batch_norm(model):
    """Let the batch normalizations of a model take their statistics over all processes while training.

    Layers keep their class, weights and configuration, so that saved files do not change.

    Args:
        model: a built `keras.Model`.

    Returns:
        The number of layers that were changed.
    """
    changed = 0
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.call = functools.partial(_call, layer, layer.call)
            changed += 1
    return changed


def _call(layer, alone, inputs, training=None, mask=None):
    """Compute `BatchNormalization.call`; `alone` is the layer's own call, outside training."""
    if not (training and layer.trainable):
        return alone(inputs, training=training)
    wide = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
    channels_first = wide.movedim(layer.axis, 1)
    gamma = layer.gamma.value if layer.scale else torch.ones_like(layer.moving_mean.value)
    beta = layer.beta.value if layer.center else torch.zeros_like(layer.moving_mean.value)
    outputs, mean, variance = _Synchronized.apply(channels_first, gamma, beta, layer.epsilon)
    with torch.no_grad():
        for moving, value in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
            moving.assign(moving.value * layer.momentum + value * (1.0 - layer.momentum))
    return keras.ops.cast(outputs.movedim(1, layer.axis), layer.compute_dtype)


class _Synchronized(torch.autograd.Function):
    """Normalization of (B, C, ...) by mean and variance over all processes; returns these too, without gradient.

    Sums over images and pixels are left to PyTorch's batch normalization kernels, which read a map once: written with
    `var_mean` and products they took longer than the convolutions.
    """

    @staticmethod
    def forward(ctx, inputs, gamma, beta, epsilon):
        mean, variance, count = _moments(inputs)
        ctx.save_for_backward(inputs, gamma, mean, variance)
        ctx.count, ctx.epsilon = count, epsilon
        ctx.mark_non_differentiable(mean, variance)
        outputs = functional.batch_norm(inputs, mean, variance, gamma, beta, False, 0.0, epsilon)
        return outputs, mean, variance

    @staticmethod
    def backward(ctx, gradient, *_):
        inputs, gamma, mean, variance = ctx.saved_tensors
        own = _sums_of_gradient(gradient, inputs, mean, variance, ctx.epsilon)
        total = own.clone()
        distributed.all_reduce(total)
        common, slope = (total / ctx.count).unbind()
        # gamma / std * (gradient - common - slope * (inputs - mean) / std), as a linear function of both maps.
        inverse = torch.rsqrt(variance + ctx.epsilon)
        scale = gamma * inverse
        tilt = -scale * inverse * slope
        shape = (1, -1, *(1,) * (inputs.ndim - 2))
        offset, scale, tilt = (value.view(shape) for value in (-scale * common - tilt * mean, scale, tilt))
        to_inputs = torch.addcmul(offset, gradient, scale).addcmul_(inputs, tilt)
        # The gradients of gamma and beta stay this process's own: they are exchanged with those of all weights.
        return to_inputs, own[1], own[0], None


def _sums_of_gradient(gradient, inputs, mean, variance, epsilon):
    """Return this process's sums of the gradient, and of the gradient times the normalized inputs: (2, C)."""
    gamma, wanted = torch.ones_like(mean), [False, True, True]  # not the gradient of the inputs
    arguments = (gradient, inputs, gamma, mean, variance, None, None, False, epsilon, wanted)
    _, slopes, sums = torch.ops.aten.native_batch_norm_backward(*arguments)
    return torch.stack([sums, slopes])


def _moments(inputs):
    """Return mean and biased variance per channel over all processes, and the number of values in each."""
    running = [inputs.new_zeros(inputs.shape[1]) for _ in range(2)]  # scratch that the kernel updates
    mean, variance = torch.batch_norm_update_stats(inputs, *running, 0.0)
    own = torch.cat([mean, variance, mean.new_tensor([inputs.numel() / inputs.shape[1]])])
    everyone = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
    distributed.all_gather(everyone, own)
    means, variances, counts = torch.stack(everyone).split([len(mean), len(mean), 1], dim=1)
    fraction = counts / counts.sum()
    # Combined from each process's moments: differences of large sums of squares would lose digits.
    mean = (fraction * means).sum(0)
    return mean, (fraction * (variances + (means - mean) ** 2)).sum(0), counts.sum()

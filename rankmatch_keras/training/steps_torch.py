"""The training step on PyTorch. Imports nothing of the package but its kernels, so that methods may use it."""

import keras
import torch

from rankmatch_keras.training.steps_torch_kernels import use_torch_kernels, use_torch_update


def train_step(method, data):
    """Runs one optimizer step of `method` and returns the running means by name."""
    batch, _, _ = keras.utils.unpack_x_y_sample_weight(data)
    method.zero_grad()
    losses = method.compute_losses(batch)
    method.optimizer.scale_loss(losses["loss"]).backward()
    variables = method.trainable_variables
    with torch.no_grad():
        method.optimizer.apply([variable.value.grad for variable in variables], variables)
        return method.log(losses)


def prepare(segmenter, optimizer):
    """Lets network and optimizer run in PyTorch's own kernels: the same numbers, faster and with half the memory."""
    use_torch_kernels(segmenter)
    use_torch_update(optimizer)


def no_gradient():
    """A context in which no activations are kept."""
    return torch.no_grad()


def default_jit_compile():
    """Compiling a Keras model costs minutes of recompilation here, so it is left to those who ask for it."""
    return False

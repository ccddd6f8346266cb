"""Training step on PyTorch: one backward pass per stage of a method."""

import contextlib
import functools
import weakref

import keras
import torch

from rankmatch_keras.backend.torch.direct_calls import use_direct_calls
from rankmatch_keras.backend.torch.kernels import use_torch_kernels, use_torch_update

_PREPARED: weakref.WeakSet = weakref.WeakSet()  # models that predict in PyTorch's kernels already


def train_step(method, data, replicated=None):
    """Run one optimizer step of a method and return the running means by name.

    Args:
        method: the `Method`.
        data: the training batch, as `fit` and `train_on_batch` pass it.
        replicated: with several replicas a module `(stage, batch, teacher) -> (terms, teacher)` that runs a stage, with
            `no_sync()`, a context in which gradients are not exchanged yet, and `average(losses)` over the replicas.
    """
    batch, _, _ = keras.utils.unpack_x_y_sample_weight(data)
    method.check(batch)
    method.zero_grad()
    losses, teacher = {"loss": 0.0}, None
    *early, last = method.plan()
    for stage in (*early, last):
        # Gradients add up over the stages: one exchange, in the last backward pass, is enough.
        with contextlib.nullcontext() if replicated is None or stage is last else replicated.no_sync():
            run = stage if replicated is None else functools.partial(replicated, stage)
            terms, teacher = run_stage(method, run, batch, teacher)
        losses = {**losses, **terms, "loss": losses["loss"] + terms["loss"]}
    if replicated is not None:
        losses = replicated.average(losses)
    variables = method.trainable_variables
    with torch.no_grad():
        method.optimizer.apply([variable.value.grad for variable in variables], variables)
        return method.log(losses)


def run_stage(method, stage, batch, teacher):
    """Run one stage forward and backward, so that its activations are gone before the next one starts.

    Args:
        method: the `Method`.
        stage: one of its stages.
        batch: the training batch.
        teacher: what the stage before it returned.

    Returns:
        The stage's terms and `"loss"`, its part of the loss, without gradient; and what the next stage must know.
    """
    terms, teacher = stage(batch, teacher)
    loss = method.weigh(terms)
    method.optimizer.scale_loss(loss).backward()
    return {name: value.detach() for name, value in {"loss": loss, **terms}.items()}, teacher


def gradient(function, value):
    """Compute the gradient of a scalar function at a value, apart from that of the step.

    Args:
        function: from a structure like `value` to a scalar.
        value: a tensor or a structure of tensors.

    Returns:
        A structure like `value`, without gradient.
    """
    with torch.enable_grad():
        inputs = keras.tree.map_structure(lambda x: x.detach().requires_grad_(True), value)
        found = torch.autograd.grad(function(inputs), keras.tree.flatten(inputs), materialize_grads=True)
    return keras.tree.pack_sequence_as(value, found)


def no_gradient():
    """Return a context in which no activations are kept."""
    return torch.no_grad()


def prepare(networks, optimizer):
    """Let networks and optimizer run in PyTorch's own kernels: the same numbers, faster and in half the memory."""
    for network in networks:
        use_torch_kernels(network)
        use_direct_calls(network)
    use_torch_update(optimizer)


def synchronize(method):
    """Do nothing: the variables hold the values of the last step."""


def prepare_prediction(predictor):
    """Let a model predict in PyTorch's own kernels; once.

    Args:
        predictor: a `keras.Model`; anything else is left alone.
    """
    if isinstance(predictor, keras.Model) and predictor not in _PREPARED:
        _PREPARED.add(predictor)
        use_torch_kernels(predictor)
        use_direct_calls(predictor)


def default_jit_compile():
    """Return False: compiling a Keras model costs minutes of recompilation, left to those who ask for it."""
    return False

"""Training step on JAX: a pure function of explicit state."""

import contextlib

import jax
import keras

from rankmatch_keras.backend.jax.kernels import use_jax_kernels


def train_step(method, state, data):
    """Run one optimizer step of a method on explicit state.

    Args:
        method: the `Method`.
        state: values of the trainable, non-trainable, optimizer and metric variables.
        data: the training batch, as `fit` and `train_on_batch` pass it.

    Returns:
        The running means by name, and the new state.
    """
    batch, _, _ = keras.utils.unpack_x_y_sample_weight(data)
    trainable, non_trainable, optimizer, metrics = state
    (_, (logs, non_trainable, metrics)), gradients = jax.value_and_grad(_scaled_loss, argnums=1, has_aux=True)(
        method, trainable, non_trainable, optimizer, metrics, batch
    )
    trainable, optimizer = method.optimizer.stateless_apply(optimizer, gradients, trainable)
    return logs, (trainable, non_trainable, optimizer, metrics)


def _scaled_loss(method, trainable, non_trainable, optimizer, metrics, batch):
    """Compute the loss as a pure function of the state; return the logs and the changed state beside it."""
    variables = [
        *zip(method.trainable_variables, trainable, strict=True),
        *zip(method.non_trainable_variables, non_trainable, strict=True),
        *zip(method.optimizer.variables, optimizer, strict=True),
        *zip(method.metrics_variables, metrics, strict=True),
    ]
    with keras.StatelessScope(state_mapping=variables) as scope:
        losses = method.compute_losses(batch)
        logs = method.log(losses)
        scaled_loss = method.optimizer.scale_loss(losses["loss"])
    changed = [
        [_value(scope, v) for v in group] for group in (method.non_trainable_variables, method.metrics_variables)
    ]
    return scaled_loss, (logs, *changed)


def _value(scope, variable):
    value = scope.get_current_value(variable)
    return variable.value if value is None else value


def gradient(function, value):
    """Compute the gradient of a scalar function at a value, apart from that of the step.

    Args:
        function: from a structure like `value` to a scalar; it must change no state.
        value: a tensor or a structure of tensors.

    Returns:
        A structure like `value`, without gradient.
    """
    return jax.lax.stop_gradient(jax.grad(function)(jax.lax.stop_gradient(value)))


def no_gradient():
    """Return an empty context: a compiled step keeps only the activations that a gradient needs."""
    return contextlib.nullcontext()


def prepare(networks, optimizer):
    """Let the networks' convolutions run in a form that compiles well on CPUs."""
    for network in networks:
        use_jax_kernels(network)


def synchronize(method):
    """Give the variables the values of the last step, which `fit` keeps apart; for callbacks between two steps."""
    method.jax_state_sync()


def prepare_prediction(predictor):
    """Do nothing: prediction compiles like training."""


def default_jit_compile():
    """Return True: JAX is compiled by XLA."""
    return True

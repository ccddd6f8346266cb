"""Exchange among the replicas of `tf.distribute` within a training step."""

import functools

import keras
import tensorflow as tf

from rankmatch_keras.backend.replicas import Replicas


class StrategyReplicas(Replicas):
    """The replicas of the running strategy; asked while a replica's part of the step is traced."""

    def __init__(self, count):
        self.count = count

    def index(self):
        """See `Replicas`."""
        return tf.distribute.get_replica_context().replica_id_in_sync_group

    def sum(self, value):
        """See `Replicas`."""
        replica = tf.distribute.get_replica_context()
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, tf.stop_gradient(value))


def mean(values):
    """Average each tensor of a list over the replicas, without gradient; all replicas call it."""
    replica = tf.distribute.get_replica_context()
    return replica.all_reduce(tf.distribute.ReduceOp.MEAN, [tf.stop_gradient(value) for value in values])


def everyone(values):
    """Stack the values (...) of every replica to (replicas, ...), with gradient; all replicas call it.

    Each replica puts its values in its own place of a sum: one exchange, where `all_gather` asks for the sizes first.
    """
    replica = tf.distribute.get_replica_context()
    own = tf.one_hot(replica.replica_id_in_sync_group, replica.num_replicas_in_sync, dtype=values.dtype)
    own = tf.reshape(own, (-1, *(1,) * values.shape.rank))
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, own * values)


def use_synchronized_batch_norm(model):
    """Let the batch normalizations of a model take their statistics over all replicas while training.

    Layers keep their class, weights and configuration, so that saved files do not change: Keras' `synchronized=True`
    would be saved, and load on TensorFlow only. It also computes the variance as a difference of sums of squares,
    which loses digits.

    Args:
        model: a built `keras.Model`.

    Returns:
        The number of layers that were changed.
    """
    changed = 0
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer._moments = functools.partial(_moments, layer._reduction_axes)
            layer.call = functools.partial(type(layer).call, layer)  # asks for them; TensorFlow's own kernel does not
            changed += 1
    return changed


def _moments(axes, inputs, mask):
    """Return mean and biased variance per channel (C,) over all replicas of equal batch size, with gradient."""
    means, variances = tf.unstack(everyone(tf.stack(tf.nn.moments(inputs, axes))), axis=1)
    center = tf.reduce_mean(means, axis=0)
    return center, tf.reduce_mean(variances + tf.math.squared_difference(means, center), axis=0)


def use_own_updates(optimizer):
    """Let each replica update its own copy of the weights by gradients that are already exchanged.

    Keras would exchange them inside the update: too late for the loss scale, on which all replicas must agree, and for
    gradient accumulation, whose condition must not contain an exchange.

    Args:
        optimizer: the `keras.optimizers.Optimizer` that updates the weights.
    """

    def update(gradients, variables, learning_rate):
        for gradient, variable in zip(gradients, variables, strict=True):
            optimizer.update_step(gradient, variable, learning_rate)

    def accumulate(gradients, accumulators):
        for gradient, accumulator in zip(gradients, accumulators, strict=True):
            accumulator.assign_add(gradient)

    optimizer._backend_update_step = update
    optimizer._backend_increment_gradient_accumulators = accumulate

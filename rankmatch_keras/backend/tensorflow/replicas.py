"""What the replicas of `tf.distribute` do together in a training step. Imports nothing of the package."""

import functools

import keras
import tensorflow as tf


def mean(values):
    """The mean over the replicas of each tensor of a list, without gradient; called by all replicas."""
    replica = tf.distribute.get_replica_context()
    return replica.all_reduce(tf.distribute.ReduceOp.MEAN, [tf.stop_gradient(value) for value in values])


def everyone(values):
    """The values (...) of every replica, (replicas, ...), with gradient; called by all replicas.

    A sum of what each replica puts into its own place takes one exchange, where `all_gather` asks for the sizes first.
    """
    replica = tf.distribute.get_replica_context()
    own = tf.one_hot(replica.replica_id_in_sync_group, replica.num_replicas_in_sync, dtype=values.dtype)
    own = tf.reshape(own, (-1, *(1,) * values.shape.rank))
    return replica.all_reduce(tf.distribute.ReduceOp.SUM, own * values)


def use_synchronized_batch_norm(model):
    """Lets the batch normalisations of a model take their statistics over all replicas while training.

    Layers keep their class, weights and configuration, so that saved files do not change: Keras' `synchronized=True`
    would be saved and load on TensorFlow only. It also takes the variance as a difference of sums of squares, which
    loses digits.

    Args:
        model: a built `keras.Model`.

    Returns:
        The number of layers that were changed.
    """
    changed = 0
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer._moments = functools.partial(_moments, layer._reduction_axes)
            changed += 1
    return changed


def _moments(axes, inputs, mask):
    """Mean and biased variance per channel (C,) over all replicas, whose batches are equally large; with gradient."""
    means, variances = tf.unstack(everyone(tf.stack(tf.nn.moments(inputs, axes))), axis=1)
    center = tf.reduce_mean(means, axis=0)
    return center, tf.reduce_mean(variances + tf.math.squared_difference(means, center), axis=0)


def use_own_updates(optimizer):
    """Lets each replica update its own copy of the weights by gradients that are exchanged already.

    Keras would exchange them inside of the update, too late for the loss scale, which must be judged alike by all
    replicas, and for the accumulation of gradients, whose condition may not hold an exchange.

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

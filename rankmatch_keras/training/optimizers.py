"""Optimizer and schedule of the articles: momentum SGD with L2 in the gradient, a faster head, polynomial decay."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("rankmatch_keras")
class SGD(keras.optimizers.SGD):
    """Momentum SGD as in the articles' programs.

    With gradient g, weight p and velocity v: `v = momentum * v + g + l2 * p`, then `p = p - lr * m * v`. Unlike Keras'
    own SGD the L2 term enters the gradient (coupled weight decay) and the learning rate stays out of the velocity. The
    multiplier m is `head_multiplier` for the head's variables and 1 elsewhere.

    Args:
        learning_rate: float or schedule, for the encoder.
        momentum: 0 to 1.
        l2: factor of the L2 penalty `l2 / 2 * |p|^2` on every weight, normalization included.
        head_multiplier: learning rate of the head over that of the encoder.
        **kwargs: other arguments of `keras.optimizers.Optimizer`.
    """

    def __init__(
        self,
        learning_rate=0.001,
        momentum: float = 0.9,
        l2: float = 1e-4,
        head_multiplier: float = 1.0,
        name: str = "sgd",
        **kwargs,
    ):
        super().__init__(learning_rate=learning_rate, momentum=momentum, name=name, **kwargs)
        self.l2 = l2
        self.head_multiplier = head_multiplier
        self._head: set = set()

    def set_head(self, variables):
        """Set the variables that learn `head_multiplier` times faster."""
        # Not by identity: on TensorFlow `update_step` sees the variable inside the Keras variable.
        self._head = {self._var_key(variable) for variable in variables}

    def rate_factor(self, variable) -> float:
        """Return the learning rate of a variable over that of the encoder."""
        return self.head_multiplier if self._var_key(variable) in self._head else 1.0

    def build(self, variables):
        """Create a velocity per variable, momentum or not."""
        if self.built:
            return
        keras.optimizers.Optimizer.build(self, variables)
        self.momentums = [self.add_variable_from_reference(variable, name="velocity") for variable in variables]

    def update_step(self, gradient, variable, learning_rate):
        """Update one variable."""
        learning_rate = ops.cast(learning_rate, variable.dtype) * self.rate_factor(variable)
        velocity = self.momentums[self._get_variable_index(variable)]
        gradient = ops.cast(gradient, variable.dtype)
        self.assign(velocity, velocity * self.momentum + gradient + variable * self.l2)
        self.assign_sub(variable, velocity * learning_rate)

    def get_config(self):
        """Return the constructor's arguments."""
        config = super().get_config()
        config.pop("nesterov", None)
        config.update(l2=self.l2, head_multiplier=self.head_multiplier)
        return config


@keras.saving.register_keras_serializable("rankmatch_keras")
class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that grows from 0 over the first steps: `schedule(t) * min(1, (t + 1) / steps)`.

    Args:
        schedule: the schedule that it begins.
        steps: optimizer steps of the beginning, at least 1.
    """

    def __init__(self, schedule, steps: int):
        super().__init__()
        self.schedule = schedule
        self.steps = steps

    def __call__(self, step):
        """Return the learning rate at a step."""
        return self.schedule(step) * ops.minimum((ops.cast(step, "float32") + 1.0) / float(self.steps), 1.0)

    def get_config(self):
        """Return the constructor's arguments."""
        return {"schedule": keras.optimizers.schedules.serialize(self.schedule), "steps": self.steps}

    @classmethod
    def from_config(cls, config):
        """Make the schedule from `get_config()`."""
        return cls(keras.optimizers.schedules.deserialize(config["schedule"]), config["steps"])


def learning_rate_schedule(learning_rate: float, steps: int, decay: str = "poly", warm_up: int = 0):
    """Make a schedule that falls to 0 at the end of the run.

    Args:
        learning_rate: the largest rate.
        steps: optimizer steps of the whole run.
        decay: `"poly"`, see `polynomial_decay`, or `"cosine"`: `learning_rate * (1 + cos(pi * step / steps)) / 2`.
        warm_up: optimizer steps over which it first grows from 0.

    Returns:
        A Keras learning-rate schedule.
    """
    if decay == "cosine":
        schedule = keras.optimizers.schedules.CosineDecay(learning_rate, steps)
    else:
        schedule = polynomial_decay(learning_rate, steps)
    return WarmUp(schedule, warm_up) if warm_up > 1 else schedule


def polynomial_decay(learning_rate: float, steps: int, power: float = 0.9):
    """Make the articles' schedule `learning_rate * (1 - step / steps) ** power`.

    Args:
        learning_rate: at the first step.
        steps: optimizer steps of the whole run.
        power: 0.9 in all the articles.

    Returns:
        A Keras learning-rate schedule.
    """
    return keras.optimizers.schedules.PolynomialDecay(learning_rate, steps, end_learning_rate=0.0, power=power)

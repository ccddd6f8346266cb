import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.training.optimizers import SGD, polynomial_decay

START = {"encoder": np.float32([1.0, -2.0, 0.5]), "head": np.float32([[3.0, -1.0]])}
STEPS = 4


def gradients_of_step(step):
    rng = np.random.default_rng(step)
    return {name: rng.normal(size=value.shape).astype("float32") for name, value in START.items()}


def sgd_twin(rates, momentum, l2, head_multiplier):
    """The published programs' momentum SGD, in float64: L2 in the gradient, learning rate outside the velocity."""
    weights = {name: np.float64(value) for name, value in START.items()}
    velocity = {name: np.zeros_like(value) for name, value in weights.items()}
    for step, rate in enumerate(rates):
        for name, gradient in gradients_of_step(step).items():
            velocity[name] = momentum * velocity[name] + gradient + l2 * weights[name]
            weights[name] = weights[name] - rate * (head_multiplier if name == "head" else 1.0) * velocity[name]
    return weights


def run(optimizer, variables):
    for step in range(STEPS):
        gradients = gradients_of_step(step)
        optimizer.apply([ops.convert_to_tensor(gradients[name]) for name in variables], list(variables.values()))
    return {name: ops.convert_to_numpy(variable) for name, variable in variables.items()}


def variables_at_start():
    return {name: keras.Variable(value, name=name) for name, value in START.items()}


@pytest.mark.parametrize("momentum", [0.9, 0.0])
@pytest.mark.parametrize("l2", [0.1, 0.0])
@pytest.mark.parametrize("head_multiplier", [10.0, 1.0])
def test_four_steps_against_numpy(momentum, l2, head_multiplier):
    schedule = polynomial_decay(0.1, steps=5)
    optimizer = SGD(schedule, momentum=momentum, l2=l2, head_multiplier=head_multiplier)
    variables = variables_at_start()
    optimizer.set_head([variables["head"]])
    weights = run(optimizer, variables)
    rates = [0.1 * (1 - step / 5) ** 0.9 for step in range(STEPS)]
    for name, expected in sgd_twin(rates, momentum, l2, head_multiplier).items():
        np.testing.assert_allclose(weights[name], expected, rtol=1e-5, atol=1e-6, err_msg=name)


def test_one_step_by_hand():
    variable = keras.Variable([2.0])
    optimizer = SGD(0.1, momentum=0.9, l2=0.5, head_multiplier=10.0)
    for expected in (
        2.0 - 0.1 * (1.0 + 0.5 * 2.0),  # v = 1 + 1 = 2, p = 1.8
        1.8 - 0.1 * (0.9 * 2.0 + 1.0 + 0.5 * 1.8),  # v = 1.8 + 1 + 0.9 = 3.7, p = 1.43
    ):
        optimizer.apply([ops.convert_to_tensor([1.0])], [variable])
        np.testing.assert_allclose(ops.convert_to_numpy(variable), [expected], rtol=1e-6)


def test_learning_rate_change_does_not_touch_the_velocity():
    # Without new gradient a step is rate * momentum * v, at the new rate: Keras' own SGD would use the old one.
    variable = keras.Variable([0.0])
    optimizer = SGD(0.1, momentum=0.5, l2=0.0)
    optimizer.apply([ops.convert_to_tensor([1.0])], [variable])  # v = 1, p = -0.1
    optimizer.learning_rate = 0.01
    optimizer.apply([ops.convert_to_tensor([0.0])], [variable])  # v = 0.5, p = -0.105
    np.testing.assert_allclose(ops.convert_to_numpy(variable), [-0.105], rtol=1e-6)


def test_head_may_be_named_before_or_after_building():
    results = []
    for build_first in (True, False):
        variables = variables_at_start()
        optimizer = SGD(0.1, head_multiplier=10.0)
        if build_first:
            optimizer.build(list(variables.values()))
        optimizer.set_head([variables["head"]])
        results.append(run(optimizer, variables))
    for name in START:
        np.testing.assert_array_equal(results[0][name], results[1][name])


def test_velocities_are_saved_state():
    variables = variables_at_start()
    optimizer = SGD(0.1, momentum=0.0)
    optimizer.build(list(variables.values()))
    # Iteration count, learning rate, and a velocity per weight, momentum or not.
    assert [tuple(v.shape) for v in optimizer.variables] == [(), (), (3,), (1, 2)]


def test_polynomial_decay():
    schedule = polynomial_decay(0.01, steps=100)
    for step in (0, 1, 50, 99, 100):
        assert float(schedule(step)) == pytest.approx(0.01 * (1 - step / 100) ** 0.9, abs=1e-8)
    assert float(schedule(150)) == 0.0
    assert float(polynomial_decay(2.0, steps=4, power=1.0)(1)) == pytest.approx(1.5)


@pytest.mark.parametrize("rate", [0.02, "schedule"])
def test_config_round_trip(rate):
    rate = polynomial_decay(0.02, steps=7, power=0.8) if rate == "schedule" else rate
    optimizer = SGD(rate, momentum=0.8, l2=0.3, head_multiplier=5.0, clipnorm=2.0)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(copy) is SGD
    assert copy.get_config() == optimizer.get_config()
    assert (copy.momentum, copy.l2, copy.head_multiplier, copy.clipnorm) == (0.8, 0.3, 5.0, 2.0)


def test_a_model_trains_with_it():
    # One linear layer y = w x, loss w^2 / 2 at x = 1: gradient w. Rate 0.1 * 10 for the head takes w to 0 in one step.
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")])
    optimizer = SGD(0.1, l2=0.0, head_multiplier=10.0)
    optimizer.set_head(model.trainable_variables)
    model.compile(optimizer, loss=lambda y_true, y_pred: ops.sum(ops.square(y_pred), axis=-1) / 2)
    model.fit(np.ones((1, 1)), np.zeros((1, 1)), epochs=1, verbose=0)
    np.testing.assert_allclose(model.get_weights()[0], [[0.0]], atol=1e-6)

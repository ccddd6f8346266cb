"""Training step on JAX: compiled once per shape, all state carried from step to step."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from rankmatch_keras import SupervisedOnly, callbacks, models, training
from rankmatch_keras.evaluation import Scores
from rankmatch_keras.layers import ChannelNormalization

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="the step on JAX")


class Noisy(SupervisedOnly):
    """A method that samples a number in each step, logs it, and counts how often its step is traced."""

    diagnostics = ("drawn",)

    def __init__(self, segmenter):
        super().__init__(segmenter)
        self.generator = keras.random.SeedGenerator(5)
        self.traced = type("Counter", (), {"times": 0})()

    def compute_terms(self, batch):
        self.traced.times += 1
        drawn = keras.random.uniform((), seed=self.generator)
        return {**super().compute_terms(batch), "drawn": drawn}


@pytest.fixture
def method():
    """Compiled method on a network of one convolution per half."""
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    encoder = keras.Model(image, {"low": layers.BatchNormalization(momentum=0.9)(layers.Conv2D(4, 1)(image))})
    features = keras.Input((None, None, 4), name="low")
    decoder = keras.Model({"low": features}, {"logits": layers.Conv2D(2, 1)(features), "features": features})
    method = Noisy(models.Segmenter(encoder, decoder))
    method.compile(training.SGD(training.polynomial_decay(0.1, steps=10), head_multiplier=2.0))
    return method


def batch(images=2, size=9):
    rng = np.random.default_rng(images * size)
    return {
        "labeled_image": rng.normal(size=(images, size, size, 3)).astype("float32"),
        "labeled_mask": rng.integers(0, 2, (images, size, size)).astype("int32"),
    }


class Batches(keras.utils.PyDataset):
    """Repeat a batch a number of times."""

    def __init__(self, batch, steps):
        super().__init__()
        self.batch, self.steps = batch, steps

    def __len__(self):
        return self.steps

    def __getitem__(self, index):
        return (self.batch,)


class Evaluator:
    """Predicts an image after each epoch, as the evaluation does."""

    class_names = ("ground", "thing")

    def evaluate(self, predictor):
        mean = float(ops.mean(predictor(np.zeros((1, 12, 12, 3), "uint8"))))
        return Scores(self.class_names, (mean, mean), mean, 0.9, images=1, images_available=1)


def test_a_shape_is_compiled_once(method):
    normalization = ChannelNormalization((0.0,) * 3, (1.0,) * 3)
    evaluation = callbacks.Evaluation(Evaluator(), models.predictor(method.segmenter, normalization, 1))

    def fit(steps, **shape):
        method.fit(Batches(batch(**shape), steps), epochs=2, callbacks=[evaluation], shuffle=False, verbose=0)
        return method.traced.times

    assert fit(3) == 1
    assert fit(2) == 1
    assert fit(2, size=11) == 2
    assert fit(2) == 2
    assert int(method.optimizer.iterations) == 18


def test_train_on_batch_compiles_no_second_time(method):
    for _ in range(3):
        method.train_on_batch(batch())
    assert method.traced.times == 1
    method.train_on_batch(batch(images=3))
    assert method.traced.times == 2


def everything(method):
    """Return copies of all variables by kind."""
    statistics = [v for v in method.segmenter.variables if v.name.startswith("moving")]
    groups = {
        "weights": method.trainable_variables,
        "statistics": statistics,
        "velocities": method.optimizer.momentums,
        "iterations": [method.optimizer.iterations],
        "random streams": [method.generator.state],
        "means": [tracker.total for tracker in method.trackers.values()],
    }
    return {name: [np.array(ops.convert_to_numpy(v.value)) for v in group] for name, group in groups.items()}


def test_every_part_of_the_state_moves_in_every_step(method):
    states = [everything(method)]
    for _ in range(3):
        method.train_on_batch(batch())
        states.append(everything(method))
    for before, after in zip(states, states[1:], strict=False):
        for name, group in before.items():
            assert all((old != new).any() for old, new in zip(group, after[name], strict=True)), name


def test_each_step_samples_anew(method):
    drawn = [method.train_on_batch(batch(), return_dict=True)["drawn"] for _ in range(4)]
    generator = keras.random.SeedGenerator(5)
    expected = [float(keras.random.uniform((), seed=generator)) for _ in range(4)]
    assert len(set(drawn)) == 4
    np.testing.assert_allclose(drawn, expected, rtol=1e-6)


def test_the_state_needs_no_second_copy(method):
    method.train_on_batch(batch())
    before = [*method.trainable_variables, *method.optimizer.momentums]
    values = [variable.value for variable in before]
    method.train_on_batch(batch())
    # The step was given their memory for the new ones.
    assert all(value.is_deleted() for value in values)


def test_the_compiled_step_equals_the_plain_one(method):
    names = ("weights", "statistics", "velocities", "random streams")
    start = [np.array(ops.convert_to_numpy(variable.value)) for variable in method.variables]
    method.train_on_batch(batch())
    compiled = everything(method)
    for variable, value in zip(method.variables, start, strict=True):
        variable.assign(value)
    for variable in method.optimizer.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    method.compile(method.optimizer, run_eagerly=True, jit_compile=False)
    method.train_on_batch(batch())
    plain = everything(method)
    for name in names:
        for one, other in zip(compiled[name], plain[name], strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6, err_msg=name)

"""What the tests of training share: a small job on images that the test makes, with real batches."""

import functools

import pytest
from short_runs import SHORT
from small_network import small_segmenter

import rankmatch_keras
from rankmatch_keras import data, methods, models, training
from rankmatch_keras.layers import ChannelNormalization
from rankmatch_keras.training import results
from rankmatch_keras.training import train as train_module

RANKMATCH = functools.partial(methods.RankMatch, seed=0, num_agents=8, threshold=0.6)


@pytest.fixture
def image_tree(tmp_path, write_lucchi):
    """A Lucchi tree of 8 training and 2 test images."""
    return write_lucchi(tmp_path / "tree", train=8)


class Job:
    """A compiled method on the images of a tree, with its run, predictor and batches."""

    def __init__(self, tree, folder, resume=False, epochs=2, steps=2, method=RANKMATCH):
        self.epochs, self.steps = epochs, steps
        dataset = data.Lucchi(tree)
        self.split = data.choose_labeled(dataset.train, 3, seed=0)
        statistics = data.channel_statistics(dataset.train)
        self.normalization = ChannelNormalization(**models.measured_normalization("tiny", *statistics))
        segmenter = small_segmenter(classes=2, channels=1)
        self.predictor = models.predictor(segmenter, self.normalization)
        self.model = method(segmenter)
        self.model.compile(training.SGD(training.polynomial_decay(0.02, epochs * steps), head_multiplier=2.0))
        self.run = training.Run.create(folder, {"lr": 0.02}, resume=resume)

    def batches(self, start_step):
        return data.training_batches(
            self.split.labeled,
            self.split.unlabeled,
            crop=33,
            batch_size=2,
            normalization=self.normalization,
            start_step=start_step,
        )

    def fit(self, callbacks, done=0):
        return self.model.fit(
            self.batches(done * self.steps),
            epochs=self.epochs,
            steps_per_epoch=self.steps,
            initial_epoch=done,
            callbacks=callbacks,
            verbose=0,
            shuffle=False,
        )


@pytest.fixture
def make_job(image_tree, tmp_path):
    """Makes a job that writes into a folder of the given name."""
    return lambda name, **arguments: Job(image_tree, tmp_path / name, **arguments)


@pytest.fixture
def train(image_tree):
    """Trains on the tree by the recipe for short runs."""

    def run(out, **values):
        return rankmatch_keras.train(
            dataset="Lucchi", data=image_tree, recipe="practical", out=out, **{**SHORT, **values}
        )

    return run


@pytest.fixture
def no_pictures(monkeypatch):
    """Spares runs the drawing at their end."""
    monkeypatch.setattr(results, "draw_or_say", lambda *given, **named: None)


@pytest.fixture
def also(monkeypatch):
    """Adds callbacks to the runs that follow, in place of those added before."""
    usual = train_module._callbacks
    return lambda *more: monkeypatch.setattr(train_module, "_callbacks", lambda *given: [*usual(*given), *more])

"""What the tests of training share: a small job on images that the test makes, with real batches."""

import keras
import numpy as np
import pytest
from PIL import Image

from rankmatch_keras import data, methods, models, training
from rankmatch_keras.layers import ChannelNormalization

SIZE = 48


@pytest.fixture
def image_tree(tmp_path):
    """A Lucchi tree of 8 training and 2 test images: a bright square on noise is class 1."""
    return write_tree(tmp_path / "tree")


def write_tree(root, train=8, test=2):
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("test", test)):
        for kind in ("images", "masks"):
            (root / kind / part).mkdir(parents=True)
        for number in range(count):
            mask = np.zeros((SIZE, SIZE + 8), dtype="uint8")
            y, x = rng.integers(4, 24, 2)
            mask[y : y + 18, x : x + 18] = 1
            image = rng.integers(0, 90, mask.shape) + 150 * mask
            Image.fromarray(image.astype("uint8")).save(root / f"images/{part}/{number:02d}.png")
            Image.fromarray(mask).save(root / f"masks/{part}/{number:02d}.png")
    return root


class Job:
    """A compiled RankMatch on the images of a tree, with its run, predictor and batches."""

    def __init__(self, tree, folder, resume=False, epochs=2, steps=2):
        keras.utils.set_random_seed(0)
        self.epochs, self.steps = epochs, steps
        dataset = data.Lucchi(tree)
        self.split = data.choose_labeled(dataset.train, 3, seed=0)
        self.normalization = ChannelNormalization(**models.backbone_normalization("tiny"))
        segmenter = models.deeplab_v3_plus(models.create_backbone("tiny"), 2, aspp_filters=16, decoder_filters=8)
        self.predictor = models.predictor(segmenter, self.normalization)
        self.model = methods.RankMatch(segmenter, seed=0, num_agents=8, threshold=0.6)
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

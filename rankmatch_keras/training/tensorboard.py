"""The TensorBoard log of a run: numbers, and pictures of predictions."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from rankmatch_keras import data, evaluation
from rankmatch_keras.backend.distribution import running
from rankmatch_keras.data.batches.pipelines import is_installed
from rankmatch_keras.evaluation.plots import draw_or_say
from rankmatch_keras.texts import say
from rankmatch_keras.training.run_folder import Run

PICTURES = 3
WIDTH = 480  # pixels of an image in a picture


class TensorBoard(keras.callbacks.TensorBoard):
    """Keras' log with a picture per image after each epoch: image, truth and prediction side by side.

    Args:
        folder: folder of the log.
        samples: the images, with masks; a few.
        predictor: the inference model that shares the trained weights.
        protocol: how an image is shown to the network; always the whole one.
        palette: (n, 3) in 0..255, colors of the classes; None: the default colors.
    """

    def __init__(self, folder, samples: Sequence[data.Sample], predictor, protocol: data.Protocol, palette: Any = None):
        super().__init__(folder, write_graph=False)
        self.samples = samples
        self.predictor = predictor
        self.protocol = data.Protocol() if protocol.mode == "center_crop" else protocol
        self.palette = palette

    def on_epoch_end(self, epoch, logs=None):
        """Log the numbers, then the pictures; where these fail, a line says so."""
        super().on_epoch_end(epoch, logs)
        draw_or_say("pictures in the TensorBoard log", self._log_pictures, epoch)

    def _log_pictures(self, epoch):
        with self._val_writer.as_default():
            for number, sample in enumerate(self.samples):
                self.summary.image(f"prediction_{number}", self._picture(sample)[None], step=epoch)

    def _picture(self, sample) -> np.ndarray:
        """Return image, truth and prediction side by side, uint8 (H, 3 W, 3)."""
        image = sample.read_image()
        classes = evaluation.predict_classes(running().local(self.predictor), image, self.protocol)
        step = max(1, image.shape[1] // WIDTH)
        shown = evaluation.to_display(sample.shown(image)[::step, ::step])
        maps = (evaluation.overlay(shown, each[::step, ::step], self.palette) for each in (sample.read_mask(), classes))
        return np.concatenate([shown, *maps], axis=1)


def tensorboard(run: Run, dataset: data.SegmentationData, predictor, protocol: data.Protocol) -> list[TensorBoard]:
    """Return the log of the first process, where TensorFlow, which writes it on every backend, is installed.

    Pictures are left to runs of one process: no other would predict with this one.
    """
    if not running().is_main:
        return []
    if not is_installed("tensorflow"):
        say("No TensorBoard log, which needs TensorFlow; history.csv holds the same numbers.")
        return []
    samples = evaluation.evenly_spaced(dataset.val, PICTURES) if running().processes == 1 else []
    return [TensorBoard(run.tensorboard, samples, predictor, protocol, dataset.palette)]

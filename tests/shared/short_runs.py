"""Whole runs of seconds: their options, and how they are cut and compared."""

import keras
import numpy as np

SMALL = {"backbone": "tiny", "aspp_filters": 8, "decoder_filters": 8, "crop": 33, "batch": 2, "labels": 3}
SHORT = {**SMALL, "steps": 4, "interval": 1, "burn_in": 0.5, "pipeline": "workers", "pseudo_label_images": 0}


class StopAfter(keras.callbacks.Callback):
    """Ends the program after an epoch, as a kill would."""

    def __init__(self, epoch):
        super().__init__()
        self.stop = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 == self.stop:
            raise KeyboardInterrupt


def weights_of(run):
    """The weights of the last network of a run."""
    model = keras.saving.load_model(run.last, compile=False)
    return [keras.ops.convert_to_numpy(variable) for variable in model.variables]


def assert_same_weights(run, other):
    for one, two in zip(weights_of(run), weights_of(other), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7)

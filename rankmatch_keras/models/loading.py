"""Loading a saved predictor, with Keras' safe mode on."""

from pathlib import Path

import keras

from rankmatch_keras.errors import UserError

# Importing them registers the layers that a saved predictor may contain.
from rankmatch_keras.layers import ChannelNormalization as ChannelNormalization
from rankmatch_keras.layers.neural_process import NeuralProcess as NeuralProcess
from rankmatch_keras.models.fixed_size import FixedSizeMaps as FixedSizeMaps
from rankmatch_keras.models.infinite_padding import InfinitePadding2D as InfinitePadding2D
from rankmatch_keras.models.keras_2_adapters import TwoClasses as TwoClasses
from rankmatch_keras.models.predictor import predictor as predictor


def load_predictor(path):
    """Loads the inference model that a training run saved.

    Args:
        path: a `.keras` file.

    Returns:
        `keras.Model` from raw images `(B, H, W, C)` in 0..255 to class probabilities `(B, H, W, K)`.

    Raises:
        UserError: there is no such file, or it is not a predictor.
    """
    if not Path(path).is_file():
        raise UserError("a saved model", f"no file {path}", "Train first, or give the path of a .keras file.")
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except UserError:  # A layer says what it lacks, such as the library that it comes from.
        raise
    except Exception as error:  # Keras raises many kinds for files that are cut off or made by something else.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            "a model saved by this program", f"{path}, which cannot be loaded ({reason})", "Train or copy it anew."
        ) from error

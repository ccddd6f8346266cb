"""Loading of saved predictors and weights, and the warm start of a training run from them."""

import warnings
from pathlib import Path

import keras

from rankmatch_keras.errors import UserError
from rankmatch_keras.models.exported import ExportedPredictor, is_exported
from rankmatch_keras.models.hdf5 import require_own_values


def load_predictor(path):
    """Load the predictor that a training run saved, with Keras' safe mode on, or what `rankmatch export` made of it.

    Args:
        path: a `.keras` file, or an exported file or folder.

    Returns:
        `keras.Model` from raw images `(B, H, W, C)` in 0..255 to class probabilities `(B, H, W, K)`; of an exported
        network an `ExportedPredictor`, which `predict_on_batch` runs.

    Raises:
        UserError: the file is missing, is not a predictor, or does not hold all the values that it declares.
    """
    if is_exported(path):
        return ExportedPredictor(path)
    if not Path(path).is_file():
        raise UserError("a saved model", f"no file {path}", "Train first, or give the path of a .keras file.")
    try:
        require_own_values(path)
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except UserError:  # a layer says what it lacks, such as the library that it comes from
        raise
    except Exception as error:  # Keras raises many types for files that are truncated or not its own
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UserError(
            "a model saved by this program", f"{path}, which cannot be loaded ({reason})", "Train or copy it again."
        ) from error


def load_weights(model, path):
    """Load a weights file into a model of exactly that architecture.

    Args:
        model: a built `keras.Model`.
        path: `.weights.h5` as `save_weights` writes it, or a legacy `.h5`.

    Raises:
        UserError: the file is missing, has another suffix, or belongs to another network.
    """
    path = Path(path)
    network = f"weights of {model.name!r} ({model.count_params():,} parameters)"
    if not path.is_file():
        raise UserError(expected=network, found=f"no file {path}", remedy="Check the path.")
    if path.suffix not in (".h5", ".hdf5"):
        raise UserError(
            expected=f"{network} in a .weights.h5 or .h5 file",
            found=f"{path}",
            remedy="Save them with model.save_weights('name.weights.h5').",
        )
    try:
        require_own_values(path)
        with warnings.catch_warnings():
            # Keras warns about every layer that it skips, then raises.
            warnings.filterwarnings("ignore", message="Skipping nested container")
            model.load_weights(path)
    except UserError:
        raise
    # h5py and Keras raise OSError, ValueError, KeyError and more for files of another format or network.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            expected=network,
            found=f"{path}, which does not fit ({reason})",
            remedy="Give the file of this network, without its classification top.",
        ) from error


def start_from(segmenter, path):
    """Warm-start a segmenter: copy weights and batch statistics from a saved predictor of the same network.

    Args:
        segmenter: a built `Segmenter` or `DeepLabV3Plus`; its variables are assigned.
        path: the predictor's `.keras` file.

    Raises:
        UserError: the file is missing, is not a predictor, or holds another network; the first difference is named.
    """
    if is_exported(path):
        raise UserError("a network to train on", f"{path}, an exported one", "Give the run that it was exported from.")
    own = [*segmenter.encoder.weights, *segmenter.decoder.weights]
    saved = load_predictor(path).weights
    difference = _first_difference(*({weight.path: tuple(weight.shape) for weight in x} for x in (own, saved)))
    if difference:
        raise UserError(
            "a network as the flags describe it",
            f"{difference} in {Path(path)}",
            "Give the backbone, decoder, --output-stride, filters and classes of the run that made the file.",
        )
    for variable, value in zip(own, saved, strict=True):
        variable.assign(value)


def _first_difference(own, saved):
    """Describe where two dicts of {path: shape} differ; `None` where they agree."""
    for name, shape in own.items():
        if name not in saved:
            return f"no {name}"
        if saved[name] != shape:
            return f"{name} of shape {saved[name]} instead of {shape}"
    more = saved.keys() - own.keys()
    return f"{min(more)}, which it does not have," if more else None

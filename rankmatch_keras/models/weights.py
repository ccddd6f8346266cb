"""Loading weights from a local file, with an error that says which network and which file."""

import warnings
from pathlib import Path

from rankmatch_keras.errors import UserError


def load_weights(model, path):
    """Loads a weights file into a model of exactly that architecture.

    Args:
        model: built ``keras.Model``.
        path: ``.weights.h5`` as ``save_weights`` writes it, or a legacy ``.h5``.

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
        with warnings.catch_warnings():
            # Keras first lists every layer it skipped in a warning each, then raises.
            warnings.filterwarnings("ignore", message="Skipping nested container")
            model.load_weights(path)
    # h5py and Keras raise OSError, ValueError, KeyError and more for files of another kind or network.
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            expected=network,
            found=f"{path}, which does not fit ({reason})",
            remedy="Give the file of this network, without its classification top.",
        ) from error

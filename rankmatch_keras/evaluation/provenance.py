"""What makes a score traceable: which weights, computed by what."""

import hashlib
import sys
from typing import Any

import numpy as np


def weights_hash(model):
    """A short fingerprint of a model's weights.

    Args:
        model: ``keras.Model``.

    Returns:
        First 12 hexadecimal digits of the SHA-256 over shape, dtype and values of ``model.weights``, in their order.
    """
    import keras  # here, so that the package is imported without a framework

    digest = hashlib.sha256()
    for weight in model.weights:
        values = np.ascontiguousarray(keras.ops.convert_to_numpy(weight))
        digest.update(f"{values.shape} {values.dtype}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()[:12]


def default_provenance(predictor) -> dict[str, Any]:
    """The facts that every score carries: weights hash (of Keras models), backend, versions."""
    import keras

    backend = keras.backend.backend()
    # All of them have been imported by now, so nothing needs to be looked up on the disk.
    modules = {name: sys.modules.get(name) for name in ("rankmatch_keras", "keras", backend)}
    versions = {name: getattr(module, "__version__", "unknown") for name, module in modules.items()}
    facts = {"weights_hash": weights_hash(predictor)} if isinstance(predictor, keras.Model) else {}
    return {**facts, "backend": backend, "versions": versions}

import hashlib
import importlib

import keras
import numpy as np
import pytest

from rankmatch_keras.evaluation import weights_hash
from rankmatch_keras.evaluation.provenance import default_provenance

pytestmark = pytest.mark.once


def _model():
    image = keras.Input((None, None, 2))
    model = keras.Model(image, keras.layers.BatchNormalization()(keras.layers.Conv2D(3, 1)(image)))
    model.set_weights([np.arange(w.size, dtype="float32").reshape(w.shape) for w in model.get_weights()])
    return model


def test_hash_by_hand():
    """The same on every backend: kernel, bias, then gamma, beta, moving mean, moving variance."""
    digest = hashlib.sha256()
    for shape in [(1, 1, 2, 3), *[(3,)] * 5]:
        digest.update(f"{shape} float32".encode())
        digest.update(np.arange(np.prod(shape), dtype="<f4").tobytes())
    assert weights_hash(_model()) == digest.hexdigest()[:12]


def test_hash_tells_weights_apart_and_survives_saving(tmp_path):
    model = _model()
    model.save(tmp_path / "model.keras")
    assert weights_hash(keras.saving.load_model(tmp_path / "model.keras")) == weights_hash(model)
    weights = model.get_weights()
    weights[-1][0] += 1e-3
    changed = _model()
    changed.set_weights(weights)
    assert weights_hash(changed) != weights_hash(model)


def test_default_provenance():
    backend = keras.backend.backend()
    facts = default_provenance(_model())
    assert facts["weights_hash"] == weights_hash(_model())
    assert facts["backend"] == backend
    assert facts["versions"] == {
        name: importlib.import_module(name).__version__ for name in ("rankmatch_keras", "keras", backend)
    }
    assert "weights_hash" not in default_provenance(object())

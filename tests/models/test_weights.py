import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.errors import UserError
from rankmatch_keras.models import load_weights


def model(units, name="network"):
    return keras.Sequential([keras.Input((3,)), keras.layers.Dense(units)], name=name)


def test_round_trip(tmp_path):
    source, target = model(2), model(2)
    source.save_weights(tmp_path / "a.weights.h5")
    load_weights(target, str(tmp_path / "a.weights.h5"))
    np.testing.assert_array_equal(ops.convert_to_numpy(source.weights[0]), ops.convert_to_numpy(target.weights[0]))


def test_errors_name_network_and_file(tmp_path):
    model(2).save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(UserError, match=r"'wide' \(16 parameters\).*a.weights.h5, which does not fit"):
        load_weights(model(4, "wide"), tmp_path / "a.weights.h5")
    with pytest.raises(UserError, match="no file .*missing.weights.h5"):
        load_weights(model(2), tmp_path / "missing.weights.h5")
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="weights.h5 or .h5 file.*notes.txt"):
        load_weights(model(2), tmp_path / "notes.txt")
    (tmp_path / "broken.weights.h5").write_text("x")
    with pytest.raises(UserError, match="broken.weights.h5, which does not fit"):
        load_weights(model(2), tmp_path / "broken.weights.h5")

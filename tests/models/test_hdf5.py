"""Files of weights that take values from other files, or declare more than they hold."""

import zipfile

import h5py
import numpy as np
import pytest

from rankmatch_keras.errors import UserError
from rankmatch_keras.models import create_backbone, from_tf_keras, load_predictor, load_weights
from rankmatch_keras.models.hdf5 import require_own_values

pytestmark = pytest.mark.once

SECRET = np.arange(6.0)


def virtual(file, folder):
    layout = h5py.VirtualLayout((6,), "f8")
    layout[:] = h5py.VirtualSource(folder / "secret.h5", "values", (6,))
    file.create_virtual_dataset("w", layout)


def external(file, folder):
    file.create_dataset("w", (6,), "f8", external=[(str(folder / "secret.bin"), 0, 48)])


def link(file, folder):
    file.create_group("deep")["w"] = h5py.ExternalLink(folder / "secret.h5", "values")


def never_written(file, folder):
    file.create_dataset("w", (3_000_000_000,), "f4")


def hardly_written(file, folder):
    file.create_dataset("w", (3_000_000_000,), "f4", chunks=(1024,), compression="gzip")[:5] = 1.0


HOSTILE = (virtual, external, link, never_written, hardly_written)


def write(path, make):
    with h5py.File(path.parent / "secret.h5", "w") as file:
        file["values"] = SECRET
    SECRET.tofile(path.parent / "secret.bin")
    with h5py.File(path, "w") as file:
        make(file, path.parent)
    return path


@pytest.mark.parametrize("make", HOSTILE)
def test_every_reader_refuses_values_that_the_file_does_not_hold(make, tmp_path):
    path = write(tmp_path / "m.h5", make)
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.write(path, "model.weights.h5")
    network = create_backbone("tiny")
    for read, file in (
        (from_tf_keras, path),
        (lambda name: load_weights(network, name), path),
        (load_predictor, path),
        (load_predictor, tmp_path / "m.keras"),
    ):
        with pytest.raises(UserError, match="all weights in|bytes declared"):
            read(file)


def test_a_packed_archive_that_grows_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "m.keras", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("model.weights.h5", bytes(1 << 24))
    with pytest.raises(UserError, match=r"16,777,216 bytes declared and [0-9,]+ held by model.weights.h5"):
        load_predictor(tmp_path / "m.keras")


@pytest.mark.parametrize("options", [{}, {"compression": "gzip"}, {"chunks": (100, 10), "compression": "lzf"}])
def test_values_of_its_own_are_accepted(options, tmp_path):
    def make(file, folder):
        file.create_dataset("zeros", data=np.zeros((1000, 1000), "f4"), **options)
        file["empty"] = h5py.Empty("f4")
        file["none"] = np.zeros((0, 3))
        file["names"] = [b"a", b"bc"]
        file["scalar"] = 1.0
        file["again"] = h5py.SoftLink("/zeros")

    require_own_values(write(tmp_path / "m.h5", make))

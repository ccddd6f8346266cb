"""What a file of weights may hold: values of its own, about as many as it is large."""

import zipfile
from pathlib import Path

import h5py

from rankmatch_keras.errors import UserError

LARGEST_RATIO = 1100  # deflate packs at most 1032 bytes into one


def require_own_values(path: str | Path) -> None:
    """Check that an HDF5 file, or each one in a `.keras` file, holds all values that it declares.

    HDF5 can take values from any other file, and it can declare terabytes of values without having them.

    Args:
        path: the file; one of another kind is left to its reader.

    Raises:
        UserError: values lie in other files, or are declared but not there.
        OSError: the file is damaged; h5py has more types for this.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.file_size > LARGEST_RATIO * member.compress_size:
                    raise _too_large(f"{member.filename} in {path}", member.file_size, member.compress_size)
                if member.filename.endswith(".h5"):
                    with archive.open(member) as stream, h5py.File(stream, "r") as file:
                        _check(file, path)
    elif h5py.is_hdf5(path):
        with h5py.File(path, "r") as file:
            _check(file, path)


def _check(file, path):
    def visit(name, entry):
        if isinstance(entry, h5py.Dataset):
            _check_dataset(name, entry, path)
        else:
            _check_links(entry, path)

    _check_links(file, path)
    file.visititems(visit)  # follows no links


def _check_links(group, path):
    for name in group:
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            raise _elsewhere(path, f"a link to {link.filename}")


def _check_dataset(name, dataset, path):
    if dataset.is_virtual:
        raise _elsewhere(path, f"{name}, which is a view of other data")
    if dataset.external:
        raise _elsewhere(path, f"{name}, whose values are in {dataset.external[0][0]}")
    if dataset.shape is None:  # no values
        return
    held = dataset.id.get_storage_size()
    if dataset.nbytes > LARGEST_RATIO * held:
        raise _too_large(f"{name} in {path}", dataset.nbytes, held)


def _elsewhere(path, found):
    return UserError(f"all weights in {path}", found, "Save the model again.")


def _too_large(what, declared, held):
    return UserError(
        "as many values as a file of weights declares",
        f"{declared:,} bytes declared and {held:,} held by {what}",
        "Copy or save it again.",
    )

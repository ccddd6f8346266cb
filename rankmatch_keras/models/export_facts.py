"""Facts that an exported file holds beside the network: the names of its classes, and the slices of its channels.

They are one JSON text: in ONNX a metadata property, in the folder of a SavedModel a file among the extra assets, and in
the formats of one file an entry of a zip archive, which a .pt2 file is and a .tflite file may end in.
"""

import json
import zipfile
from pathlib import Path

NAME = "rankmatch.json"
PROPERTY = "rankmatch"
ASSETS = "assets.extra"  # where TensorFlow leaves the files of others alone
MOST_BYTES = 1 << 20


def write_facts(kind, path, class_names, slices=1):
    """Add facts to an exported file.

    Args:
        kind: a name in `exporting.FORMATS`.
        path: the file or folder.
        class_names: names of the classes; empty where they are not known.
        slices: how many slices of a volume the channels are.
    """
    text = json.dumps({"classes": list(class_names), "slices": slices})
    if kind == "onnx":
        import onnx

        model = onnx.load(str(path), load_external_data=False)
        onnx.helper.set_model_props(model, {PROPERTY: text})
        onnx.save(model, str(path))
    elif kind == "savedmodel":
        (Path(path) / ASSETS).mkdir(exist_ok=True)
        (Path(path) / ASSETS / NAME).write_text(text, encoding="utf-8")
    else:
        with zipfile.ZipFile(path, "a") as archive:
            # PyTorch demands one folder of all entries.
            folder = next((name.partition("/")[0] + "/" for name in archive.namelist()), "")
            archive.writestr(folder + NAME, text)


def facts_in_files(path):
    """Return the text of the facts in a file or folder other than ONNX; empty where there is none."""
    path = Path(path)
    if path.is_dir():
        file = path / ASSETS / NAME
        return file.read_text(encoding="utf-8") if file.is_file() and file.stat().st_size <= MOST_BYTES else ""
    if not zipfile.is_zipfile(path):
        return ""
    with zipfile.ZipFile(path) as archive:
        entry = next((one for one in archive.infolist() if one.filename.rpartition("/")[2] == NAME), None)
        return "" if entry is None or entry.file_size > MOST_BYTES else archive.read(entry).decode()


def parsed_facts(text, count, most_slices):
    """Return `(class names, slices)` of a text: no names and 1 slice where they are not those of such a network.

    Args:
        text: what `write_facts` wrote, or anything.
        count: number of classes.
        most_slices: number of channels.
    """
    try:
        facts = json.loads(text[:MOST_BYTES])
        names, slices = facts["classes"], facts["slices"]
        fits = (
            len(names) in (0, count)
            and all(isinstance(name, str) for name in names)
            and slices in range(1, most_slices + 1, 2)
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return (), 1
    return (tuple(names), int(slices)) if fits else ((), 1)

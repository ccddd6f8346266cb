"""Files of a saved network for programs without Keras: raw images in, classes and probabilities out."""

import dataclasses
import importlib.util
import re
import traceback

import keras
from keras import ops

from rankmatch_keras import backend
from rankmatch_keras.errors import UserError
from rankmatch_keras.models.export_facts import write_facts
from rankmatch_keras.models.predictor import context_of

INSTALL = "Run `pip install 'rankmatch-keras[export]'`."


@dataclasses.dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        title: its name.
        ending: of the file; "" for a folder.
        modules: by each backend that can write it, the modules of the extra `export` that this takes.
        runtime: the module that runs it, where it is one of the extra.
    """

    title: str
    ending: str
    modules: dict[str, tuple[str, ...]]
    runtime: str | None = None


FORMATS = {
    "onnx": Format(
        "ONNX", ".onnx", {"torch": ("onnx", "onnxscript"), "tensorflow": ("onnx", "tf2onnx")}, runtime="onnxruntime"
    ),
    "savedmodel": Format("a SavedModel", "", {"tensorflow": ()}),
    "tflite": Format("TensorFlow Lite", ".tflite", {"tensorflow": ()}, runtime="ai_edge_litert"),
    "torch": Format("a program of PyTorch", ".pt2", {"torch": ()}),
}


def writer_of(kind, running, installed):
    """Return the backend that writes a format: the running one where it can.

    Args:
        kind: a name in `FORMATS`.
        running: name of the running backend.
        installed: names of the installed ones.

    Raises:
        UserError: none of them can, or a package of the extra is missing.
    """
    able = FORMATS[kind].modules
    found = [name for name in (running, *installed) if name in able]
    if not found:
        raise UserError(
            f"{' or '.join(able)}, which can write {FORMATS[kind].title}",
            f"only {', '.join(installed)}",
            f"Run `pip install 'rankmatch-keras[{next(iter(able))}]'`, or choose another --to.",
        )
    require_modules(*able[found[0]], *filter(None, [FORMATS[kind].runtime]))
    return found[0]


def require_modules(*names):
    """Check that packages of the extra `export` are there.

    Raises:
        UserError: one is not.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"{' and '.join(missing)}, which this format takes", "none installed", INSTALL)


def write_exported(predictor, kind, path, size=None, dtype="uint8", class_names=()):
    """Write a network in a format that the running backend can write.

    Args:
        predictor: a loaded predictor.
        kind: a name in `FORMATS`.
        path: file or folder to write, with the ending of the format.
        size: `(height, width)` of all images, or None for any.
        dtype: of the images, "uint8" or "float32".
        class_names: names of the classes, which the file keeps; empty where they are not known.

    Raises:
        UserError: a layer of the network cannot be written.
    """
    model = with_classes(predictor, size, dtype)
    try:
        backend.export.WRITERS[kind](model, path)
        write_facts(kind, path, class_names, 2 * context_of(predictor) + 1)
    except (MemoryError, OSError):
        raise
    except Exception as error:  # exporters raise errors of many types
        reason = " ".join(re.sub(r"\x1b\[\d*m", "", str(error)).split())[:200] or type(error).__name__
        raise UserError(
            f"a network that {keras.backend.backend()} can write as {FORMATS[kind].title}",
            f"{_layer_of(error)} ({reason})",
            "Fix the size by --size HxW, or choose another --to.",
        ) from error


def with_classes(predictor, size=None, dtype="uint8"):
    """Return a model of raw images (1, H, W, C) to "classes" (1, H, W) and "probabilities" (1, H, W, K).

    Args:
        predictor: a loaded predictor.
        size: `(H, W)`, or None for any.
        dtype: of the images.
    """
    image = keras.Input((*(size or (None, None)), predictor.input_shape[-1]), 1, dtype=dtype, name="image")
    probabilities = predictor(image)
    # Integers, as Keras' argmax of floats looks at their bits, for which ONNX has no operation.
    largest = ops.cast(ops.equal(probabilities, ops.max(probabilities, axis=-1, keepdims=True)), "int32")
    classes = ops.argmax(largest, axis=-1)
    classes = ops.cast(classes, "uint8" if probabilities.shape[-1] <= 256 else "int32")
    return keras.Model(image, {"classes": classes, "probabilities": probabilities})


def _layer_of(error):
    """Name the layer that was called last when an error was raised."""
    frames = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
    layers = [x for x in frames if isinstance(x, keras.Layer) and not isinstance(x, keras.Model)]
    return f"layer {layers[-1].name!r} of {type(layers[-1]).__name__}" if layers else "one that it cannot"

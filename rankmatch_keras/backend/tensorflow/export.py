"""Files that TensorFlow writes of a network, by Keras' exporters: SavedModel, TensorFlow Lite, and ONNX."""

import contextlib
import io
import logging
import warnings

import keras
import tensorflow as tf


def write_saved_model(model, path):
    """Write a SavedModel folder.

    Args:
        model: functional `keras.Model` from one batch of images to a dict.
        path: folder or file to write.
    """
    _export(model, path, "tf_saved_model")


def write_tflite(model, path):
    """Write a `.tflite` file of TensorFlow Lite's own operations; arguments as in `write_saved_model`."""
    # Keras would allow TensorFlow's beside them, which few devices have.
    _export(model, path, "litert", target_spec={"supported_ops": [tf.lite.OpsSet.TFLITE_BUILTINS]})


def write_onnx(model, path):
    """Write an `.onnx` file; arguments as in `write_saved_model`."""
    _export(model, path, "onnx")


WRITERS = {"onnx": write_onnx, "savedmodel": write_saved_model, "tflite": write_tflite}


def _export(model, path, kind, **options):
    image = keras.InputSpec(shape=(1, *model.input_shape[1:]), dtype=model.inputs[0].dtype, name="image")
    level, logging.root.manager.disable = logging.root.manager.disable, logging.ERROR
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            model.export(str(path), format=kind, verbose=False, input_signature=[image], **options)
    finally:
        logging.root.manager.disable = level

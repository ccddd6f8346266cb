"""Exported files run by their own runtimes, with the interface of a predictor."""

from pathlib import Path

import numpy as np

from rankmatch_keras.errors import UserError
from rankmatch_keras.models.export_facts import PROPERTY, facts_in_files, parsed_facts
from rankmatch_keras.models.exporting import FORMATS, require_modules

ANY_SIDE = 33  # of an image that is run to read off the number of classes
ENDINGS = {form.ending: kind for kind, form in FORMATS.items() if form.ending}


def is_exported(path):
    """Tell from its name, or from its files, whether a path is an exported network."""
    return Path(path).suffix in ENDINGS or (Path(path) / "saved_model.pb").is_file()


class ExportedPredictor:
    """An exported network, with what prediction reads off a `keras.Model`.

    Args:
        path: the file or folder.
        kind: a name in `FORMATS`; None: read off the path.

    Attributes:
        input_shape: (1, H, W, C), with None for sides that may be any.
        output_shape: (1, H, W, K), of the probabilities.
        dtype: of the images.
        class_names: names of the classes, if the file holds them; else empty.
        slices: how many slices of a volume the channels are.

    Raises:
        UserError: it cannot be read, or its runtime is not installed.
    """

    layers = ()

    def __init__(self, path, kind=None):
        self.path = Path(path)
        kind = kind or ENDINGS.get(self.path.suffix, "savedmodel")
        if not self.path.exists():
            raise UserError("an exported network", f"no file {path}", "Check the path, or export it.")
        require_modules(*filter(None, [FORMATS[kind].runtime]))
        try:
            self.input_shape, self.dtype, self._run, *facts = RUNTIMES[kind](str(self.path))
            probabilities = self._run(np.zeros([side or ANY_SIDE for side in self.input_shape], self.dtype))[1]
            self.output_shape = (*self.input_shape[:3], np.shape(probabilities)[3])
            text = facts[0] if facts else facts_in_files(self.path)
            self.class_names, self.slices = parsed_facts(text, self.output_shape[3], self.input_shape[3])
        except Exception as error:  # each runtime has errors of its own
            reason = " ".join(str(error).split())[:160] or type(error).__name__
            raise UserError(
                f"{FORMATS[kind].title} as `rankmatch export` writes it", f"{path} ({reason})", "Export it again."
            ) from error

    @property
    def weights(self):
        """The bytes of its files, from which a fingerprint tells one network from another."""
        files = sorted(self.path.rglob("*")) if self.path.is_dir() else [self.path]
        return [np.fromfile(file, "uint8") for file in files if file.is_file()]

    def predict(self, image):
        """Run the network on one image.

        Args:
            image: (H, W, C), in the units that the network was trained on.

        Returns:
            classes (H, W) and float32 probabilities (H, W, K).

        Raises:
            UserError: the image has another size than the network, another number of channels or another range.
        """
        own = self.input_shape[1:]
        if any(side not in (None, found) for side, found in zip(own, image.shape, strict=True)):
            raise UserError(
                f"images of {_by(own)}, for which {self.path} was exported",
                f"one of {_by(image.shape)}",
                "Export the network with --size dynamic.",
            )
        classes, probabilities = self._run(np.ascontiguousarray(self._of_own_dtype(image)[None]))
        return np.asarray(classes)[0], np.asarray(probabilities)[0]

    def _of_own_dtype(self, image):
        image = np.asarray(image)
        if self.dtype == "uint8" and image.dtype != "uint8":
            rounded = np.rint(image)
            if not (rounded.min() >= 0 and rounded.max() <= 255):  # NaN is neither
                raise UserError(
                    f"values from 0 to 255, for which {self.path} was exported",
                    f"an image of {image.dtype} with others",
                    "Convert it to 8 bits, or export the network of a run on such images.",
                )
            image = rounded
        return image.astype(self.dtype)

    def predict_on_batch(self, images):
        """Return the probabilities (B, H, W, K) of images (B, H, W, C)."""
        return np.stack([self.predict(image)[1] for image in np.asarray(images)])


def _by(shape):
    return "x".join("any" if side is None else str(side) for side in shape)


def agreement(predictor, exported, images):
    """Compare an exported network with the one that it was written of.

    Args:
        predictor: the loaded predictor.
        exported: `ExportedPredictor`.
        images: iterable of (H, W, C).

    Returns:
        The share of pixels with the same class, of the image where it is lowest, and the largest difference of
        probabilities.
    """
    share, difference = 1.0, 0.0
    for image in images:
        expected = np.asarray(predictor.predict_on_batch(image[None]))[0]
        classes, probabilities = exported.predict(image)
        if classes.shape != image.shape[:2] or probabilities.shape != expected.shape:
            return 0.0, 1.0
        share = min(share, float(np.mean(classes == expected.argmax(axis=-1))))
        difference = max(difference, float(np.abs(probabilities - expected).max()))
    return share, difference


def _onnx(path):
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (image,) = session.get_inputs()
    dtype = {"tensor(uint8)": "uint8", "tensor(float)": "float32"}[image.type]
    shape = tuple(side if isinstance(side, int) else None for side in image.shape)
    text = session.get_modelmeta().custom_metadata_map.get(PROPERTY, "")
    return shape, dtype, lambda x: session.run(["classes", "probabilities"], {image.name: x}), text


def _tflite(path):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(path)
    runner = interpreter.get_signature_runner()
    ((name, image),) = runner.get_input_details().items()
    shape = tuple(None if side < 0 else int(side) for side in image["shape_signature"])

    def run(x):
        outputs = runner(**{name: x})
        return outputs["classes"], outputs["probabilities"]

    return shape, np.dtype(image["dtype"]).name, run


def _saved_model(path):
    import tensorflow as tf

    loaded = tf.saved_model.load(path)
    serve = loaded.signatures["serving_default"]
    ((name, image),) = serve.structured_input_signature[1].items()

    def run(x, loaded=loaded):  # the signature alone would not keep the variables
        outputs = serve(**{name: tf.constant(x)})
        return outputs["classes"].numpy(), outputs["probabilities"].numpy()

    return tuple(image.shape), image.dtype.name, run


def _torch(path):
    import torch

    program = torch.export.load(path)
    network = program.module()
    (name,) = program.graph_signature.user_inputs
    image = next(node.meta["val"] for node in program.graph.nodes if node.name == name)
    shape = tuple(side if isinstance(side, int) else None for side in image.shape)

    def run(x):
        with torch.no_grad():
            return [output.numpy() for output in network(torch.from_numpy(x))]

    return shape, str(image.dtype).removeprefix("torch."), run


RUNTIMES = {"onnx": _onnx, "savedmodel": _saved_model, "tflite": _tflite, "torch": _torch}

"""Files that PyTorch writes of a network: its own programs, and ONNX."""

import logging
import warnings

import torch

EXAMPLE = (75, 107)  # any size: what depends on it is no part of the file
NAMES = ("classes", "probabilities")


def write_torch(model, path):
    """Write a `.pt2` file, see `torch.export.load`.

    Args:
        model: functional `keras.Model` from one batch of images to a dict of `NAMES`.
        path: file to write.
    """
    torch.export.save(_traced(model), path)


def write_onnx(model, path):
    """Write an `.onnx` file; arguments as in `write_torch`."""
    log = logging.getLogger("torch.onnx")
    level, log.level = log.level, logging.ERROR  # it tells which other packages are not there
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                _traced(model), dynamo=True, input_names=["image"], output_names=list(NAMES), verbose=False
            )
            program.save(path)
    finally:
        log.level = level


WRITERS = {"onnx": write_onnx, "torch": write_torch}


class _Network(torch.nn.Module):
    """Images as the only argument, and a tuple in place of the dict, whose order an exporter may change."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, image):
        outputs = self.model(image, training=False)
        return tuple(outputs[name] for name in NAMES)


def _traced(model):
    """Trace a network. Keras' own exporters know no sizes that are left open on PyTorch."""
    _, *sides, channels = model.input_shape
    open_sides = {axis: torch.export.Dim.DYNAMIC for axis, side in enumerate(sides, start=1) if side is None}
    sizes = [side or example for side, example in zip(sides, EXAMPLE, strict=True)]
    image = torch.zeros((1, *sizes, channels), dtype=getattr(torch, model.inputs[0].dtype))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(_Network(model).eval(), (image,), dynamic_shapes=(open_sides,), strict=False)
    # How maps lie in memory at the size of the example; at others the program computes the same.
    program._guards_code = []
    return program

"""Pictures in the TensorBoard log, read back from its file."""

import importlib.util
import io

import keras
import numpy as np
import pytest
from PIL import Image

from rankmatch_keras import data
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.evaluation import overlay
from rankmatch_keras.training.tensorboard import TensorBoard

pytestmark = [
    pytest.mark.once,
    pytest.mark.skipif(importlib.util.find_spec("tensorflow") is None, reason="needs TensorFlow"),
]


def test_image_truth_and_prediction_are_logged(tmp_path):
    rng = np.random.default_rng(0)
    image, mask = rng.integers(0, 256, (24, 30, 3)).astype(np.uint8), rng.integers(0, 2, (24, 30)).astype(np.uint8)
    for name, pixels in (("a", image), ("mask", mask)):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    sample = Sample("a", tmp_path / "a.png", data.MaskFile(tmp_path / "mask.png"))
    inputs = keras.Input((None, None, 3))
    head = keras.layers.Conv2D(2, 1)
    model = keras.Model(inputs, keras.layers.Softmax()(head(keras.layers.Rescaling(1 / 255)(inputs))))
    callback = TensorBoard(tmp_path / "log", [sample], model, data.Protocol("center_crop", crop=9))
    callback.set_model(None)
    callback._log_pictures(4)
    callback._close_writers()

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "log" / "validation"))
    events.Reload()
    (event,) = events.Tensors("prediction_0")
    picture = np.asarray(Image.open(io.BytesIO(event.tensor_proto.string_val[2])))
    classes = np.asarray(model.predict_on_batch(image[None]))[0].argmax(-1)
    assert event.step == 4
    np.testing.assert_array_equal(
        picture, np.concatenate([image, overlay(image, mask), overlay(image, classes)], axis=1)
    )

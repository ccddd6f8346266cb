"""Whole-image inference: one image at a time, at its own size, without resizing."""

import numpy as np

from rankmatch_keras.errors import UserError


def predict_probabilities(predictor, image):
    """Class probabilities of one image.

    Runs ``predictor.predict_on_batch``, which keeps no gradients and traces at most twice under TensorFlow
    whatever the number of image sizes (on 2 cores 0.07 s an image against 0.35 s op by op). JAX compiles once
    per image size, which takes seconds.

    Args:
        predictor: ``keras.Model`` from raw images (1, H, W, C) in 0..255 to probabilities (1, H, W, K).
        image: uint8 (H, W, C).

    Returns:
        float32 numpy (H, W, K).

    Raises:
        UserError: if the image is not (H, W, C), or the prediction is not (H, W, K) at the image's size.
    """
    image = np.asarray(image)
    if image.ndim != 3:
        raise UserError("an image (H, W, C)", f"shape {image.shape}", "Give one image with its channels last.")
    _build_without_xla(predictor)
    probabilities = np.asarray(predictor.predict_on_batch(image[None]), np.float32)
    if probabilities.ndim != 4 or probabilities.shape[:3] != (1, *image.shape[:2]):
        raise UserError(
            f"a predictor with one output (1, {image.shape[0]}, {image.shape[1]}, K)",
            f"{probabilities.shape}",
            "Use the saved inference model, which predicts at image size.",
        )
    return probabilities[0]


def predict_classes(predictor, image):
    """The most probable class of every pixel of one image.

    Args:
        predictor: see `predict_probabilities`.
        image: uint8 (H, W, C).

    Returns:
        int32 numpy (H, W) in 0..K-1; the lowest class among equals.
    """
    return np.argmax(predict_probabilities(predictor, image), axis=-1).astype(np.int32)


def _build_without_xla(predictor):
    """Makes TensorFlow's predict function with XLA off, unless there is one; the model's setting is put back.

    On GPUs Keras would switch XLA on, which compiles anew for every image size where a plain graph serves all.
    """
    import keras  # here, so that the package is imported without a framework

    made = getattr(predictor, "predict_function", None) is not None
    if made or keras.backend.backend() != "tensorflow" or not isinstance(predictor, keras.Model):
        return
    chosen = predictor.jit_compile
    predictor.jit_compile = False
    try:
        predictor.make_predict_function()
    finally:
        predictor.jit_compile = chosen

"""Segmentation models: backbones, DeepLabV3+, and the model that is saved for prediction."""

from rankmatch_keras.models.backbones import (
    BACKBONES,
    backbone_normalization,
    create_backbone,
    measured_normalization,
)
from rankmatch_keras.models.deeplab_v3_plus import deeplab_v3_plus
from rankmatch_keras.models.dilation import dilate
from rankmatch_keras.models.loading import load_predictor
from rankmatch_keras.models.predictor import predictor
from rankmatch_keras.models.segmenter import Segmenter
from rankmatch_keras.models.weights import load_weights

__all__ = [
    "BACKBONES",
    "DeepLabV3Plus",
    "Segmenter",
    "backbone_normalization",
    "create_backbone",
    "deeplab_v3_plus",
    "dilate",
    "load_predictor",
    "load_weights",
    "measured_normalization",
    "predictor",
    "segmenter_from_keras_cv",
]

_LAZY = ("DeepLabV3Plus", "segmenter_from_keras_cv")


def __getattr__(name):
    """Imports what needs keras-cv on first use (PEP 562): keras-cv loads TensorFlow on every backend."""
    if name in _LAZY:
        from rankmatch_keras.models import keras_cv

        return getattr(keras_cv, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

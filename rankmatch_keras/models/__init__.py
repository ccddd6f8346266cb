"""Segmentation models: backbones, DeepLabV3+, and the model that is saved for prediction."""

import importlib

from rankmatch_keras.models.backbones import (
    BACKBONES,
    backbone_normalization,
    create_backbone,
    measured_normalization,
)
from rankmatch_keras.models.deeplab_v3_plus import deeplab_v3_plus
from rankmatch_keras.models.dilation import dilate
from rankmatch_keras.models.features import feature_model
from rankmatch_keras.models.loading import load_predictor
from rankmatch_keras.models.predictor import predictor
from rankmatch_keras.models.renormalized import renormalized
from rankmatch_keras.models.segmenter import Segmenter, class_count
from rankmatch_keras.models.starting import start_from
from rankmatch_keras.models.weights import load_weights

__all__ = [
    "BACKBONES",
    "DeepLabV3Plus",
    "Segmenter",
    "backbone_normalization",
    "class_count",
    "create_backbone",
    "deeplab_v3_plus",
    "dilate",
    "feature_model",
    "from_tf_keras",
    "keras_hub",
    "load_predictor",
    "load_weights",
    "measured_normalization",
    "predictor",
    "renormalized",
    "segmenter_from_keras_cv",
    "start_from",
]

_LAZY = {"DeepLabV3Plus": "keras_cv", "segmenter_from_keras_cv": "keras_cv", "from_tf_keras": "keras_2"}
_LAZY_MODULES = ("keras_hub",)


def __getattr__(name):
    """Imports what needs other libraries on first use (PEP 562): keras-cv loads TensorFlow on every backend."""
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    if name in _LAZY_MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

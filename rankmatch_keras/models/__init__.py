"""Segmentation models: backbones, DeepLabV3+, SegFormer's decoder, and the predictor that is saved."""

import importlib

# All layers that a saved predictor may contain are registered by these imports, so that Keras finds them by name.
from rankmatch_keras.models.backbones import (
    BACKBONES,
    backbone_normalization,
    create_backbone,
    measured_normalization,
    renormalized,
    require_backbone,
    require_decoder,
)
from rankmatch_keras.models.deeplab_v3_plus import deeplab_v3_plus
from rankmatch_keras.models.dilation import dilate
from rankmatch_keras.models.fixed_size import FixedSizeMaps
from rankmatch_keras.models.keras_2 import from_tf_keras
from rankmatch_keras.models.loading import load_predictor, load_weights, start_from
from rankmatch_keras.models.neural_process import NeuralProcess
from rankmatch_keras.models.predictor import feature_model, predictor
from rankmatch_keras.models.segformer import segformer
from rankmatch_keras.models.segmenter import Segmenter, class_count
from rankmatch_keras.models.tree_segmenter import TreeSegmenter, with_tree

__all__ = [
    "BACKBONES",
    "DeepLabV3Plus",
    "FixedSizeMaps",
    "NeuralProcess",
    "Segmenter",
    "TreeSegmenter",
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
    "require_backbone",
    "require_decoder",
    "segformer",
    "segmenter_from_keras_cv",
    "start_from",
    "with_tree",
]

_LAZY = {"DeepLabV3Plus": "keras_cv", "segmenter_from_keras_cv": "keras_cv"}


def __getattr__(name):
    """Import on first use what needs other libraries (PEP 562); keras-cv loads TensorFlow on every backend."""
    if name in _LAZY:
        return getattr(importlib.import_module(f"{__name__}.{_LAZY[name]}"), name)
    if name == "keras_hub":
        return importlib.import_module(f"{__name__}.keras_hub")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

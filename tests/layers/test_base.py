"""Bases of the layers, and the round trip that every layer and loss of the package passes."""

import importlib
import inspect
import pkgutil

import keras
import numpy as np
import pytest

import rankmatch_keras
from rankmatch_keras.backend.replicas import Replicas, own_rows, set_replicas
from rankmatch_keras.layers.base import ConfigFromArguments, Float32Layer, argument_names, random_source, uniform

ELSEWHERE = {"FixedSizeMaps"}  # holds a backbone of keras-hub; tested with it
# Arguments that differ from the defaults, by class, wherever in the package it stands.
PROTOTYPES = ("ClassPrototypes", {"num_classes": 3, "channels": 4})
AGENTS = {"num_agents": 3, "seed": 1}
RELATED = {"num_agents": 7, "agents": "random", "similarity": "cosine", "temperature": 2.0, "agent_gradient": False}
CONTRAST = {"num_classes": 3, "channels": 4, "capacity": 9, "anchors": 5, "negatives": 6, "seed": 1}
ARGUMENTS: dict[str, dict] = {
    "AdversarialMove": {"seed": 1},
    "AllAgents": AGENTS,
    "ChannelNormalization": {"mean": (1.0, 2.0), "std": (3.0, 4.0), "reverse_channels": True},
    "ClassAverages": {"num_classes": 3, "momentum": 0.5, "initial": 0.25, "absent": "zero"},
    "ClassBank": {"num_classes": 3, "capacity": 4, "channels": 5, "option": "size", "memory": 1000000, "seed": 1},
    "ClassConfidenceThreshold": {"initial": 0.5, "momentum": 0.25},
    "ClassMix": {"num_classes": 3, "seed": 1},
    "ClassParts": {"num_classes": 3, "parts": 2, "channels": 4, "decay": 0.5},
    "ClassThreshold": {"num_classes": 3, "momentum": 0.5},
    "ClassPrototypes": {**PROTOTYPES[1], "decay": 0.5},
    "Clock": {"total_steps": 5},
    "ComplementaryDropout": {"seed": 1},
    "ConfidenceWeight": {"num_classes": 3, "momentum": 0.5},
    "ContextMasking": {"seed": 1},
    "ContrastiveLoss": {"temperature": 0.25},
    "CoarseAverage": {"step": 3},
    "CorrelationConsistencyLoss": {**RELATED, "divergence": "l2", "seed": 1},
    "CorrelationPropagation": {"num_classes": 3},
    "DensityContrast": {
        **CONTRAST,
        **{"feature_channels": 2, "added": 7, "candidates": 8, "dense": 3, "first_class": 0},
    },
    "Diagnosis": {"parents": (2, 2, -1), "sample": True, "seed": 1},
    "DistributionAlignment": {"num_classes": 3, "strength": 0.5, "momentum": 0.5},
    "DivergenceLoss": {},
    "FeatureDrop": {"seed": 1},
    "FeatureDropout": {"rate": 0.25, "seed": 1},
    "FeatureNoise": {"seed": 1},
    "FixedThreshold": {"threshold": 0.5, "momentum": 0.5},
    "FineCoarseConv2D": {"filters": 2, "kernel_size": 5, "kernel_initializer": keras.initializers.HeNormal(seed=1)},
    "GaussianThreshold": {"num_classes": 3, "initial": 0.5, "momentum": 0.25},
    "GuidedCutout": {"seed": 1},
    "NeighboringSlices": {"slices": 5},
    "NeuralProcess": {"num_classes": 3, "channels": 4, "hidden": 5, "draws": 2, "seed": 1},
    "NodeLoss": {
        **{"parents": (2, 2, -1), "ignore_index": 9, "ohem": (0.5, 3), "kind": "focal", "class_weights": (1.0, 2.0)}
    },
    "ObjectMasking": {"seed": 1},
    "OrthogonalAgents": {"num_agents": 3, "seed": keras.random.SeedGenerator(1, name="seeds")},
    "PadToGrid": {"output_stride": 8},
    "PadToMultiple": {"multiple": 8},
    "PartContrast": {**CONTRAST, "parts": 2},
    "PathScores": {"parents": (2, 2, -1)},
    "PixelConsistencyLoss": {"threshold": 0.5},
    "ProbabilityConsistencyLoss": {"classes": "sum"},
    "PrototypeContrast": {
        "prototypes": PROTOTYPES,
        "num_classes": 3,
        "anchors": 5,
        "negatives": 6,
        "pool": 7,
        "seed": 1,
    },
    "RandomAgents": AGENTS,
    "RandomBoxes": {"area": (0.2, 0.4), "ratio": 1.5, "law": (2, 3), "count": 2, "probability": 0.5, "seed": 1},
    "RankConsistencyLoss": {**RELATED, "top_k": 3, "reduction": "mean_all", "seed": 1},
    "ResizeImageLike": {"interpolation": "nearest"},
    "ResizeTo": {"size": (5, 6)},
    "SoftConsistencyLoss": {},
    "SquaredConfidence": {"momentum": 0.5},
    "SupervisedLoss": {"ignore_index": 9, "ohem": (0.5, 3), "kind": "focal", "class_weights": (1.0, 2.0)},
    "TopAgents": AGENTS,
    "Turns": {"every": 5},
    "UnreliableContrast": {**CONTRAST, "added": 7},
    "WeightedConsistencyLoss": {"normalizer": "kept", "kind": "ce+dice", "class_weights": (1.0, 2.0)},
}


def described_layers():
    """Return the layers of the package that can be made and have `ConfigFromArguments`, by name."""
    for room in ("layers", "losses", "models", "methods"):
        package = importlib.import_module(f"rankmatch_keras.{room}")
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if "keras_cv" not in module.name:  # it imports TensorFlow
                importlib.import_module(module.name)
    found, todo = {}, [ConfigFromArguments]
    while todo:
        kind = todo.pop()
        todo += kind.__subclasses__()
        ours = kind.__module__.startswith(f"{rankmatch_keras.__name__}.")
        # Bases have no `call` of their own that works, and methods are models, with a harness of their own.
        is_base = bool([name for name in kind.__subclasses__() if name.__module__.startswith("rankmatch_keras.")])
        if ours and not is_base and not issubclass(kind, keras.Model) and kind.__name__ not in ELSEWHERE:
            found[kind.__name__] = kind
    return found


LAYERS = described_layers()


def test_every_layer_is_in_the_table():
    assert set(LAYERS) == set(ARGUMENTS)


def made(value):
    if isinstance(value, tuple) and value and value[0] in LAYERS:
        return LAYERS[value[0]](**value[1], name="inner")
    return value


@pytest.mark.parametrize("name", ARGUMENTS)
def test_config_round_trip(name):
    kind, arguments = LAYERS[name], {key: made(value) for key, value in ARGUMENTS[name].items()}
    layer = kind(**arguments, name="layer")
    defaults = {p.name: p.default for p in inspect.signature(kind).parameters.values()}
    assert set(argument_names(kind)) >= set(arguments)
    for key in argument_names(kind):
        assert getattr(layer, key) == arguments.get(key, defaults.get(key)), key
    config = layer.get_config()
    assert set(config) == {"name", "trainable", "dtype", *argument_names(kind)}
    copy = kind.from_config(config)
    assert type(copy) is kind and copy.get_config() == config
    assert [(v.name, v.shape) for v in copy.variables] == [(v.name, v.shape) for v in layer.variables]
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(again) is kind and again.get_config() == config


@pytest.mark.parametrize("name", ARGUMENTS)
def test_dtype_under_mixed_precision(name):
    """What computes in float32 does so whatever the model's precision."""
    arguments = {key: made(value) for key, value in ARGUMENTS[name].items()}
    previous = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = LAYERS[name](**arguments)
    finally:
        keras.config.set_dtype_policy(previous)
    assert layer.compute_dtype == ("float32" if isinstance(layer, Float32Layer) else "bfloat16")


class Part(ConfigFromArguments, keras.layers.Layer):
    """A base with an argument that classes without `**kwargs` do not take."""

    def __init__(self, size=1, **kwargs):
        super().__init__(**kwargs)
        self.size = size


class Whole(ConfigFromArguments, keras.Model):
    """A model that holds a layer."""

    def __init__(self, part, *, scale: float = 1.0, name=None, **kwargs):
        super().__init__(name=name, **kwargs)
        self.part = part
        self.scale = scale


class Fixed(Part):
    """Its base's argument is decided."""

    def __init__(self, factor):
        super().__init__(size=3)
        self.factor = factor


def test_models_with_nested_layers_round_trip():
    whole = Whole(Part(4, name="part"), scale=2.0, name="whole")
    with keras.saving.custom_object_scope({"Part": Part}):
        copy = Whole.from_config(whole.get_config())
    assert (copy.name, copy.scale, copy.part.size, copy.part.name) == ("whole", 2.0, 4, "part")
    assert Whole.from_config(whole.get_config(), {"Part": Part}).part.size == 4


def test_arguments_end_at_a_class_that_takes_no_others():
    assert argument_names(Fixed) == ("factor",)
    assert argument_names(Whole) == ("part", "scale")


def test_state_has_its_initial_value_and_no_gradient():
    layer = Float32Layer()
    counts = layer.add_state("counts", (2,), dtype="int32")
    level = layer.add_state("level", initial=0.5)
    assert keras.ops.convert_to_numpy(counts).tolist() == [0, 0] and float(level) == 0.5
    assert (counts.dtype, level.dtype) == ("int32", "float32")
    assert not layer.trainable_variables and len(layer.variables) == 2


def test_random_source_keeps_a_generator():
    generator = keras.random.SeedGenerator(3)
    assert random_source(generator) is generator
    first, second = (uniform((2, 3), random_source(5)) for _ in range(2))
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(first), keras.ops.convert_to_numpy(second))


def test_replicas_sample_the_rows_of_the_global_batch():
    class Two(Replicas):
        count = 2

        def __init__(self, number):
            self.number = number

        def index(self):
            return self.number

    expected = keras.ops.convert_to_numpy(keras.random.uniform((6, 4), -1.0, 2.0, seed=keras.random.SeedGenerator(5)))
    try:
        for number in range(2):
            set_replicas(Two(number))
            found = keras.ops.convert_to_numpy(uniform((3, 4), keras.random.SeedGenerator(5), -1.0, 2.0))
            np.testing.assert_array_equal(found, expected[own_rows(6, 2, number)])
    finally:
        set_replicas(Replicas())

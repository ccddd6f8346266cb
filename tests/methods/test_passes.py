"""Passes: whose images share batch statistics, and whose move the running ones."""

import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras.methods.passes import Passes, kept_statistics
from rankmatch_keras.models.ema import EMATeacher

KINDS = ("labeled", "weak", "strong")


@pytest.fixture
def images():
    """Images of each kind, of different brightness so that their statistics differ."""
    rng = np.random.default_rng(0)
    return {
        name: ops.convert_to_tensor(rng.normal(shift, 1.0 + shift, (2, 33, 33, 3)).astype("float32"))
        for shift, name in enumerate(KINDS)
    }


def numpy(tree):
    return keras.tree.map_structure(ops.convert_to_numpy, tree)


def moving(network):
    """The running statistics of a segmenter."""
    return [np.array(ops.convert_to_numpy(v)) for v in network.variables if v.name.startswith("moving_")]


def assert_close(found, expected):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def by_hand(segmenter, sequence, images):
    """The running statistics after passes of the kinds in each group together."""
    for group in sequence:
        segmenter(ops.concatenate([images[kind] for kind in group]), training=True)
    return moving(segmenter)


def test_together_the_kinds_are_one_batch(small_segmenter, images):
    found = numpy(Passes("joint")(small_segmenter(), **images))
    expected = numpy(small_segmenter()(ops.concatenate([*images.values()]), training=True))
    assert_close(found.values(), [expected[name] for name in found])


def test_apart_each_kind_is_a_batch(small_segmenter, images):
    found = numpy(Passes("separate")(small_segmenter(), **images))
    for number, kind in enumerate(images):
        expected = numpy(small_segmenter()(images[kind], training=True))
        rows = {name: value[2 * number : 2 * number + 2] for name, value in found.items()}
        assert_close(rows.values(), [expected[name] for name in rows])
    together = numpy(Passes("joint")(small_segmenter(), **images))
    assert np.abs(together["logits"] - found["logits"]).max() > 1e-2


@pytest.mark.parametrize("normalize", ["joint", "separate"])
def test_the_halves_of_a_pass_are_the_whole(normalize, small_segmenter, images):
    passes, whole, halves = Passes(normalize), small_segmenter(), small_segmenter()
    expected = numpy(passes(whole, **images))
    encoded = passes.encode(halves, **images)
    maps = {k: {n: v[2 * i : 2 * i + 2] for n, v in encoded.items()} for i, k in enumerate(images)}
    found = numpy(passes.decode(halves, **maps))
    assert_close(found.values(), [expected[name] for name in found])
    assert_close(moving(halves), moving(whole))


@pytest.mark.parametrize(
    ("normalize", "statistics", "sequence"),
    [
        ("joint", "all", [("labeled", "weak"), ("strong",)]),
        ("joint", "labeled+weak", [("labeled", "weak")]),
        ("separate", "all", [("labeled",), ("weak",), ("strong",)]),
        ("separate", "labeled+weak", [("labeled",), ("weak",)]),
        ("separate", "labeled", [("labeled",)]),
    ],
)
def test_which_passes_move_the_running_statistics(normalize, statistics, sequence, small_segmenter, images):
    passes, segmenter = Passes(normalize, statistics), small_segmenter()
    passes(segmenter, labeled=images["labeled"], weak=images["weak"])
    passes(segmenter, strong=images["strong"])
    assert_close(moving(segmenter), by_hand(small_segmenter(), sequence, images))


@pytest.mark.parametrize("statistics", ["labeled", "labeled+weak"])
def test_dropped_features_move_nothing(statistics, small_segmenter, images):
    passes, segmenter = Passes("separate", statistics), small_segmenter()
    before = moving(segmenter)
    passes.decode(segmenter, dropped=passes.encode(segmenter, dropped=images["weak"]))
    for old, new in zip(before, moving(segmenter), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize("of_teacher", [False, True])
def test_kept_statistics_are_the_same_bits(of_teacher, small_segmenter, images):
    network = EMATeacher(small_segmenter()) if of_teacher else small_segmenter()
    network(images["labeled"], training=True)
    before = moving(network)
    with kept_statistics(network):
        network(images["strong"], training=True)
        assert any((old != new).any() for old, new in zip(before, moving(network), strict=True))
    for old, new in zip(before, moving(network), strict=True):
        np.testing.assert_array_equal(new, old)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("joint", "labeled"), "Expected normalize='separate' with statistics='labeled'. Received: normalize='joint'"),
        (("both",), "Expected normalize in .*Received: normalize='both'"),
        (("separate", "weak"), "Expected statistics in .*Received: statistics='weak'"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Passes(*arguments)

"""The contrastive methods: schedules, banks, and classes that never occur."""

import numpy as np
import pytest
from keras import ops
from method_cases import CASES

from rankmatch_keras.errors import UserError
from rankmatch_keras.layers import RandomBoxes
from rankmatch_keras.methods import CSS, DGCL, ESL, U2PL, ContrastiveUniMatch, build
from rankmatch_keras.models.segmenter import decoded_channels

# On the other backends the parity tests run these methods.
pytestmark = pytest.mark.once

NAMES = ("u2pl", "dgcl", "css", "esl", "contrastive")


def numbers(terms):
    return {name: float(ops.convert_to_numpy(value)) for name, value in terms.items()}


def make(name, small_segmenter, classes=3, **options):
    case = CASES[name]
    return case.kind(small_segmenter(classes), **{**case.options, **options})


def finished(method):
    method.clock.step.assign(method.total_steps)


def bank_of(method):
    return {
        U2PL: lambda: method.contrast.bank,
        ContrastiveUniMatch: lambda: method.contrast.bank,
        DGCL: lambda: method.contrast.memory,
        ESL: lambda: method.contrast.queues,
    }[type(method)]()


@pytest.mark.parametrize("name", NAMES)
def test_four_batches(name, small_segmenter, random_batch, gradients):
    """At the beginning, at the end, with a single class, and with nothing at all."""
    late = {} if name == "contrastive" else {"warm_up": 0.5}
    method, batch = make(name, small_segmenter, **late), random_batch()
    terms = numbers(method.compute_terms(batch))
    assert terms["supervised"] > 0.0
    if late:  # labeled images alone
        assert terms["contrast"] == terms.get("unsupervised", 0.0) == terms.get("soft", 0.0) == 0.0

    finished(method)
    terms = numbers(method.compute_terms(batch))
    assert terms["contrast"] > 0.0
    if name != "css":
        counts = ops.convert_to_numpy(bank_of(method).count.value)
        assert 0 < counts.max() <= bank_of(method).capacity

    batch["labeled_mask"] = np.where(batch["labeled_mask"] == 255, 255, 1).astype("int32")
    batch["valid"][:] = False
    assert np.isfinite(list(numbers(method.compute_terms(batch)).values())).all()
    for gradient in gradients(lambda: method.compute_losses(batch)["loss"], method):
        assert np.isfinite(gradient).all()

    batch["labeled_mask"][:] = 255
    losses = numbers(method.compute_losses(batch))
    assert set(losses.values()) == {0.0}
    for variable in method.variables:
        assert np.isfinite(np.float64(ops.convert_to_numpy(variable.value))).all(), variable.path


def test_u2pl_keeps_more_pixels_over_time(small_segmenter, random_batch):
    method, batch = make("u2pl", small_segmenter), random_batch()
    first = numbers(method.compute_terms(batch))["mask_ratio"]
    assert first == pytest.approx(0.8, abs=0.01)
    finished(method)
    assert numbers(method.compute_terms(batch))["mask_ratio"] == 1.0


def test_css_keeps_labels_of_classifier_and_prototypes_and_its_contrast_fades(
    small_segmenter, random_batch, monkeypatch
):
    monkeypatch.setattr(RandomBoxes, "__call__", lambda _, size, image: ops.zeros((size, *image), dtype="bool"))
    contrast = []
    for step in (0, 5):  # of 10
        method = make("css", small_segmenter)
        method.clock.step.assign(step)
        terms = numbers(method.compute_terms(random_batch()))
        contrast.append(terms["contrast"])
        assert 0.0 < terms["agreement"] < 1.0 and terms["mask_ratio"] == 1.0  # at a threshold of 0
        assert ops.convert_to_numpy(method.prototypes.known()).all()
    assert contrast[1] == pytest.approx(np.exp(-5 * 0.25) * contrast[0], rel=1e-5)


def test_a_rare_class_does_not_keep_dgcl_waiting(small_segmenter, random_batch):
    batch = random_batch()
    batch["labeled_mask"][:, :20] = 1
    batch["labeled_mask"][:, 20:] = 255
    method = make("dgcl", small_segmenter, first_class=1)
    terms = numbers(method.compute_terms(batch))
    counts = ops.convert_to_numpy(method.contrast.memory.count.value)
    assert counts[1] == method.capacity
    assert terms["contrast"] > 0.0


def test_heads_read_the_decoded_map(small_segmenter):
    segmenter = small_segmenter()
    assert decoded_channels(segmenter) == 16
    method = U2PL(segmenter, total_steps=3, channels=6, capacity=4)
    assert method.heads[0].input_shape[-1] == 16 and method.heads[0].output_shape[-1] == 6
    assert len(method.teachers) == 2
    teacher = {id(variable) for network in method.teachers for variable in network.variables}
    assert not teacher & {id(variable) for variable in method.trainable_variables}
    assert {id(v) for v in method.head.trainable_variables} <= {id(v) for v in method.trainable_variables}


def test_published_sizes(small_segmenter, monkeypatch):
    segmenter = small_segmenter(2)
    method = U2PL(segmenter, total_steps=2, capacity=30)
    assert (method.anchors, method.negatives, method.ema_decay, method.channels) == (256, 50, 0.99, 256)
    method = DGCL(segmenter, total_steps=2, capacity=40)
    assert (method.added, method.anchors, method.dense, method.negatives) == (1000, 200, 50, 512)
    assert (method.ema_decay, method.term_weights["unsupervised"], method.term_weights["contrast"]) == (0.999, 0.5, 0.5)
    method = CSS(segmenter, total_steps=2)
    assert (method.anchors, method.negatives, method.threshold, method.representation_threshold) == (
        256,
        512,
        0.97,
        0.7,
    )
    method = ESL(segmenter, total_steps=2)
    assert (method.parts, method.negatives, method.mass, method.channels) == (5, 255, 0.95, 512)
    assert list(method.term_weights.values()) == [1.0, 0.2, 0.1]


def test_a_bank_too_large_for_the_memory_is_refused_before_it_is_made(small_segmenter):
    with pytest.raises(UserError, match="GB for .*Lower capacity, e.g. --set capacity="):
        build("u2pl", small_segmenter(), {"capacity": 10**10}, {"total_steps": 5})


@pytest.mark.parametrize(
    ("name", "options"), [("u2pl", {"stride": 0}), ("css", {"warm_up": 1.5}), ("esl", {"mass": 0.0})]
)
def test_options_out_of_range(name, options, small_segmenter):
    with pytest.raises(ValueError, match=f"Received: .*{next(iter(options))}"):
        make(name, small_segmenter, **options)

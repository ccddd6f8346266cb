"""Methods that train two networks: who labels for whom, and which networks make a pair."""

import keras
import numpy as np
import pytest
from keras import layers, ops

from rankmatch_keras.backend.replicas import Replicas, set_replicas
from rankmatch_keras.errors import UserError
from rankmatch_keras.layers import RandomBoxes
from rankmatch_keras.methods import CPS, CoTraining, build
from rankmatch_keras.models import Segmenter

# On the other backends the parity tests run these methods.
pytestmark = pytest.mark.once


def numpy(value):
    return ops.convert_to_numpy(value)


def numbers(terms):
    return {name: float(numpy(value)) for name, value in terms.items()}


def cross_entropy(logits, label, counted, valid):
    """The sum over counted pixels by the number of valid ones."""
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    per_pixel = -np.take_along_axis(log_probabilities, label[..., None], -1)[..., 0]
    return (per_pixel * counted * valid).sum() / valid.sum()


def logits_of(network, *images):
    return numpy(network(np.concatenate(images), training=True)["logits"])


def half(batch, boxes):
    """Mixes entries as a method does: what the boxes mark comes from the other end of the batch."""
    return [np.where(boxes[..., None] if x.ndim == 4 else boxes, x[::-1], x) for x in batch]


@pytest.fixture
def boxes():
    mask = np.zeros((2, 33, 33), bool)
    mask[0, 5:20, 8:] = True
    mask[1, :12, :12] = True
    return mask


def test_cps_with_boxes(small_segmenter, random_batch, boxes, monkeypatch):
    method, batch = CPS(small_segmenter(), small_segmenter(seed=1)), random_batch()
    monkeypatch.setattr(RandomBoxes, "__call__", lambda *_: ops.convert_to_tensor(boxes))
    terms = numbers(method.compute_terms(batch))
    labels = [logits_of(network, batch["weak_image"]).argmax(-1) for network in method.students]
    image, valid, *labels = half([batch["weak_image"], batch["valid"], *labels], boxes)
    for number, own, other in ((1, 0, 1), (2, 1, 0)):
        logits = logits_of(method.students[own], batch["labeled_image"], image)
        expected = cross_entropy(logits[1:], labels[other], 1.0, valid)
        assert terms[f"cross_{number}"] == pytest.approx(expected, rel=1e-4)
        known = batch["labeled_mask"] != 255
        expected = cross_entropy(logits[:1], np.where(known, batch["labeled_mask"], 0), 1.0, known)
        assert terms[f"supervised_{number}"] == pytest.approx(expected, rel=1e-4)
    assert terms["agreement"] == pytest.approx(((labels[0] == labels[1]) & valid).sum() / valid.sum(), rel=1e-5)
    assert method.term_weights == {"supervised_1": 1.0, "supervised_2": 1.0, "cross_1": 1.0, "cross_2": 1.0}


def test_cps_without_boxes_uses_labeled_images_too(small_segmenter, random_batch):
    method, batch = CPS(small_segmenter(), small_segmenter(seed=1), cutmix=False), random_batch()
    assert method.weight == 1.5 and len(method.stages()) == 1
    terms = numbers(method.compute_terms(batch))
    logits = [logits_of(network, batch["labeled_image"], batch["weak_image"]) for network in method.students]
    valid = np.concatenate([np.ones((1, 33, 33), bool), batch["valid"]])
    for number, own, other in ((1, 0, 1), (2, 1, 0)):
        expected = cross_entropy(logits[own], logits[other].argmax(-1), 1.0, valid)
        assert terms[f"cross_{number}"] == pytest.approx(expected, rel=1e-4)


def test_cotraining(small_segmenter, random_batch):
    method, batch = CoTraining(small_segmenter(), small_segmenter(seed=1), threshold=0.5), random_batch()
    terms = numbers(method.compute_terms(batch))
    boxes = np.zeros((2, 33, 33), bool)
    boxes[0, 4:20, 6:25] = True  # the batch's; the second one is empty
    weak = [logits_of(network, batch["labeled_image"], batch["weak_image"])[1:] for network in method.students]
    for number, own, other in ((1, 0, 1), (2, 1, 0)):
        probabilities = np.exp(weak[other]) / np.exp(weak[other]).sum(-1, keepdims=True)
        decision = [batch[f"strong_image_{number}"], probabilities.argmax(-1), probabilities.max(-1), batch["valid"]]
        image, label, confidence, valid = half(decision, boxes)
        assert 0.05 < (confidence >= 0.5).mean() < 0.95
        expected = cross_entropy(logits_of(method.students[own], image), label, confidence >= 0.5, valid)
        assert terms[f"cross_{number}"] == pytest.approx(expected, rel=1e-4)
    assert list(method.term_weights.values()) == [0.5] * 4


@pytest.mark.parametrize("term", ["cross_1", "supervised_2"])
def test_a_term_teaches_one_network(term, small_segmenter, random_batch, gradients):
    method, batch = CPS(small_segmenter(), small_segmenter(seed=1)), random_batch()
    number = int(term[-1])
    largest = [
        max(np.abs(g).max() for g in gradients(lambda: method.compute_terms(batch)[term], network))
        for network in method.students
    ]
    assert largest[number - 1] > 1e-6 and largest[2 - number] == 0.0


def test_the_second_network_begins_with_the_firsts_encoder(small_segmenter):
    method = CPS(small_segmenter())
    first, second = method.students
    for one, other in zip(first.encoder.variables, second.encoder.variables, strict=True):
        np.testing.assert_array_equal(numpy(one.value), numpy(other.value))
        assert one is not other
    kernels = [numpy(network.decoder.trainable_variables[0].value) for network in (first, second)]
    assert (kernels[0] != kernels[1]).any()
    assert method.evaluated is first and len(method.trainable_variables) == 2 * len(first.trainable_variables)


def test_several_replicas_run_one_stage(small_segmenter):
    methods = CPS(small_segmenter()), CoTraining(small_segmenter(), small_segmenter(seed=1))
    assert [len(method.stages()) for method in methods] == [2, 4]
    replicas = Replicas()
    replicas.count = 2
    set_replicas(replicas)
    try:
        assert [len(method.stages()) for method in methods] == [1, 1]
    finally:
        set_replicas(Replicas())


def test_networks_of_different_channels_or_classes_are_refused(small_segmenter):
    first = small_segmenter()
    expected = r"same number of classes. Received: '\w+' with 3, '\w+' with 5"
    with pytest.raises(ValueError, match=expected):
        CoTraining(first, small_segmenter(classes=5))
    image = keras.Input((None, None, 4))
    maps = {"low": layers.Conv2D(12, 7, 4)(image), "high": layers.Conv2D(24, 5, 16)(image)}
    with pytest.raises(ValueError, match="same number of input channels. Received: .* with 3, .* with 4"):
        CPS(first, Segmenter(keras.Model(image, maps), small_segmenter().decoder))


def test_a_second_network_is_not_an_option(small_segmenter):
    with pytest.raises(UserError, match="an option of cps; found 'second'"):
        build("cps", small_segmenter(), {"second": 3})
    method = build("cotraining", small_segmenter(), {"weight": 2}, second=small_segmenter(seed=1))
    assert method.term_weights["cross_2"] == 1.0
    with pytest.raises(UserError, match="second"):
        build("cotraining", small_segmenter(), {})

"""Passes of a step, and the sources of what is pasted."""

import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras import FixMatch, RankMatch, UniMatch
from rankmatch_keras.methods.fixmatch import CONTEXT, PseudoLabels, Targets
from rankmatch_keras.models import Segmenter, create_backbone, deeplab_v3_plus


def gradients_are_recorded():
    if keras.backend.backend() != "torch":
        return None  # the other backends have no such mode
    import torch

    return torch.is_grad_enabled()


class RecordingSegmenter(Segmenter):
    """Notes every pass: which half, how many images, in which mode."""

    def __init__(self, segmenter):
        super().__init__(segmenter.encoder, segmenter.decoder)
        self.recorder = type("Recorder", (), {"passes": [], "gradient": []})()

    def note(self, half, value, training):
        self.recorder.passes.append((half, int(value.shape[0]), training))
        self.recorder.gradient.append(gradients_are_recorded())

    def encode(self, images, training=None):
        self.note("encode", images, training)
        return super().encode(images, training=training)

    def decode(self, features, training=None):
        self.note("decode", features["high"], training)
        return super().decode(features, training=training)


@pytest.fixture
def recording(small_segmenter):
    return RecordingSegmenter(small_segmenter())


# With 1 labeled and 2 unlabeled images.
SOURCE_PASSES = [("encode", 2, False), ("decode", 2, False)]
# One encoder pass for labeled and weak; the decoder sees those 3 and the 2 unlabeled ones with dropped features, but
# never the labeled one dropped; then both strong views together.
UNIMATCH_PASSES = [("encode", 3, True), ("decode", 5, True), ("encode", 4, True), ("decode", 4, True)]
FIXMATCH_PASSES = [("encode", 3, True), ("decode", 3, True), ("encode", 2, True), ("decode", 2, True)]
PASSES = [(FixMatch, FIXMATCH_PASSES), (UniMatch, UNIMATCH_PASSES), (RankMatch, UNIMATCH_PASSES)]


@pytest.mark.parametrize("second_view", [False, True])
@pytest.mark.parametrize(("kind", "passes"), PASSES)
def test_passes_of_a_step(kind, passes, second_view, recording, random_batch):
    kind(recording).compute_losses(random_batch(labeled=1, unlabeled=2, second_view=second_view))
    assert recording.recorder.passes == [*(SOURCE_PASSES if second_view else []), *passes]
    if keras.backend.backend() == "torch":
        assert recording.recorder.gradient == [*([False, False] if second_view else []), True, True, True, True]


def test_box_source_does_not_move_the_statistics(small_segmenter, random_batch):
    batch = random_batch(second_view=True)
    moved = []
    for scale in (1.0, 50.0):
        method = UniMatch(small_segmenter(), seed=0)
        method.compute_losses({**batch, "source_weak_image": scale * batch["source_weak_image"]})
        moved.append([ops.convert_to_numpy(v) for v in method.segmenter.encoder.non_trainable_variables])
    # Only the strong views, whose pasted boxes are the same, and the weak ones count.
    for one, other in zip(*moved, strict=True):
        np.testing.assert_array_equal(one, other)


def decision_of(label, valid=None, features=None):
    label = np.int32(label)
    return PseudoLabels(
        label=ops.convert_to_tensor(label),
        confidence=ops.convert_to_tensor(label.astype("float32") / 100),
        weight=ops.convert_to_tensor((label >= 50).astype("float32")),
        valid=ops.convert_to_tensor(np.ones(label.shape, bool) if valid is None else valid),
        features=ops.convert_to_tensor(features),
    )


def pasted(target, source, boxes):
    """Slices, image by image."""
    result = target.copy()
    for b, (y0, x0, y1, x1) in enumerate(boxes):
        result[b, y0:y1, x0:x1] = source[b, y0:y1, x0:x1]
    return result


@pytest.mark.parametrize("second_view", [False, True])
@pytest.mark.parametrize("number", [1, 2])
def test_boxes_are_pasted_from_the_source(number, second_view, small_segmenter, random_batch):
    method = UniMatch(small_segmenter())
    batch = random_batch(unlabeled=3, second_view=True)
    boxes = batch[f"cutmix_box_{number}"]
    rng = np.random.default_rng(1)
    labels, other_labels = rng.integers(0, 90, (2, 3, 33, 33))
    features, other_features = rng.normal(size=(2, 3, 33, 33, 4)).astype("float32")  # grid = image: pasted by slices
    weak = decision_of(labels, batch["valid"], features)
    source = decision_of(other_labels, batch["source_valid"], other_features)
    images, other_images = batch[f"strong_image_{number}"], batch[f"source_strong_image_{number}"]
    if not second_view:  # the batch in reverse order
        source, other_labels, other_features, other_images = None, labels[::-1], features[::-1], images[::-1]
    other_valid = batch["source_valid"] if second_view else batch["valid"][::-1]

    tensors = {name: ops.convert_to_tensor(value) for name, value in batch.items()}
    view = method.strong_view(tensors, number, Targets(weak, source))
    for found, expected in (
        (view.image, pasted(images, other_images, boxes)),
        (view.target.label, pasted(labels, other_labels, boxes)),
        (view.target.valid, pasted(batch["valid"], other_valid, boxes)),
        (view.target.features, pasted(features, other_features, boxes)),
        (view.target.confidence, pasted(labels, other_labels, boxes).astype("float32") / 100),
        (view.target.weight, pasted(labels, other_labels, boxes) >= 50),
    ):
        np.testing.assert_array_equal(ops.convert_to_numpy(found), expected)


def test_features_are_pasted_at_the_grid(small_segmenter, random_batch):
    # A 3x3 grid on 33 pixels sits at 0, 16 and 32; the box of view 1, rows 4..19 and columns 6..24, holds its center.
    method = UniMatch(small_segmenter())
    batch = {name: ops.convert_to_tensor(value) for name, value in random_batch().items()}
    features = np.stack([np.zeros((3, 3, 1)), np.ones((3, 3, 1))]).astype("float32")
    view = method.strong_view(batch, 1, Targets(decision_of(np.zeros((2, 33, 33)), None, features), None))
    mixed = ops.convert_to_numpy(view.target.features)[..., 0]
    assert mixed[0].tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert mixed[1].tolist() == [[1, 1, 1]] * 3


def test_pseudo_labels_have_no_gradient(small_segmenter, value_and_gradient):
    method = FixMatch(small_segmenter())
    logits = np.random.default_rng(0).normal(size=(1, 4, 4, 3)).astype("float32")

    def total(z):
        decision = method.pseudo_label({"logits": z, "features": z}, np.ones((1, 4, 4), bool))
        return ops.sum(decision.confidence) + ops.sum(decision.features) + 0.0 * ops.sum(z)

    np.testing.assert_array_equal(value_and_gradient(total, logits)[1], np.zeros_like(logits))


@pytest.mark.parametrize("second_view", [False, True])
@pytest.mark.parametrize("kind", [FixMatch, UniMatch])
def test_no_gradient_connects_the_stages(kind, second_view, small_segmenter, random_batch, gradients):
    method = kind(small_segmenter())
    batch = random_batch(second_view=second_view)

    def teacher_says():
        teacher = method.weak_stage(batch, None)[1]
        decisions = (teacher.weak, teacher.source if second_view else teacher.weak)
        return sum(ops.sum(d.confidence) + ops.sum(d.features) for d in decisions)

    assert all((gradient == 0).all() for gradient in gradients(teacher_says, method.segmenter))


def test_diagnostics_by_hand(small_segmenter):
    method = UniMatch(small_segmenter(), threshold=0.9)
    weak = PseudoLabels(
        label=None,
        confidence=ops.convert_to_tensor(np.float32([[[0.95, 0.9, 0.5, 0.99]]])),
        weight=ops.convert_to_tensor(np.float32([[[1, 1, 0, 1]]])),
        valid=ops.convert_to_tensor(np.array([[[True, True, True, False]]])),
        features=None,
    )
    values = method.diagnose(weak)
    assert float(values["mask_ratio"]) == pytest.approx(2 / 3)
    assert float(values["confidence"]) == pytest.approx((0.95 + 0.9 + 0.5) / 3)


def test_weights(small_segmenter):
    method = FixMatch(small_segmenter())
    assert method.term_weights == {"supervised": 0.5, "strong_1": 0.5}
    assert method.threshold == 0.95


def test_second_strong_view_is_not_needed(small_segmenter, random_batch):
    batch = random_batch()
    del batch["strong_image_2"], batch["cutmix_box_2"]
    losses = FixMatch(small_segmenter(), threshold=0.0).compute_losses(batch)
    assert keras.ops.convert_to_numpy(losses["strong_1"]) > 0


def test_one_strong_view_has_the_weight_of_both(small_segmenter, random_batch):
    batch = random_batch()
    del batch["strong_image_2"], batch["cutmix_box_2"]
    method = UniMatch(small_segmenter(), threshold=0.0, views=1, feature_dropout=None)
    assert method.term_weights == {"supervised": 0.5, "strong_1": 0.5} and method.strong_views == 1
    # The same as FixMatch, whose weights these are.
    one, other = (
        {name: float(ops.convert_to_numpy(value)) for name, value in each.compute_losses(batch).items()}
        for each in (method, FixMatch(small_segmenter(), threshold=0.0))
    )
    assert one == pytest.approx(other, rel=1e-5)
    assert UniMatch(small_segmenter(), views=1).term_weights["strong_1"] == 0.25
    with pytest.raises(ValueError, match="views=3"):
        UniMatch(small_segmenter(), views=3)


def test_boxes_may_hide_pixels_or_do_nothing(small_segmenter, random_batch):
    batch = {name: ops.convert_to_tensor(value) for name, value in random_batch().items()}
    image, (y0, x0, y1, x1) = ops.convert_to_numpy(batch["strong_image_1"]), random_batch()["cutmix_box_1"][0]
    weak = decision_of(np.zeros((2, 33, 33)), random_batch()["valid"], np.zeros((2, 3, 3, 1), "float32"))
    view = FixMatch(small_segmenter(), boxes="none").strong_view(batch, 1, Targets(weak, None))
    np.testing.assert_array_equal(ops.convert_to_numpy(view.image), image)
    assert view.target is weak
    view = FixMatch(small_segmenter(), boxes="cutout").strong_view(batch, 1, Targets(weak, None))
    hidden, seen = (ops.convert_to_numpy(value)[0] for value in (view.image, view.target.valid))
    expected, valid = image[0].copy(), random_batch()["valid"][0].copy()
    expected[y0:y1, x0:x1], valid[y0:y1, x0:x1] = 0.0, False
    np.testing.assert_array_equal(hidden, expected)
    np.testing.assert_array_equal(seen, valid)
    with pytest.raises(ValueError, match="boxes='mixup'"):
        FixMatch(small_segmenter(), boxes="mixup")


def around(batch, rows, columns, size=33):
    """Adds images around the weak views, which lie in them at some rows and columns."""
    count = len(batch["weak_image"])
    context = np.random.default_rng(5).normal(size=(count, size, size, 3)).astype("float32")
    places = {
        name: np.tile(np.float32(value), (count, 1)) for name, value in zip(CONTEXT[1:], (rows, columns), strict=True)
    }
    return {**batch, "context_image": context, **places}


@pytest.mark.parametrize("ema_decay", [None, 0.9])
def test_labels_of_the_image_around_the_view_are_cut_out(ema_decay, random_batch):
    segmenter = deeplab_v3_plus(create_backbone("tiny"), 3)  # which takes any size
    method = FixMatch(segmenter, label_view="image", ema_decay=ema_decay, threshold=0.0)
    rows, columns = np.arange(16, 49), np.arange(32, 65)[::-1]  # in the feature map's steps of 16 pixels
    batch = around(random_batch(), rows, columns, size=65)
    network = method.segmenter if ema_decay is None else method.teacher.network
    weak = method.weak_stage(batch, None)[1].weak  # whose pass of labeled images comes first
    outputs = {name: ops.convert_to_numpy(x) for name, x in network(batch["context_image"], training=False).items()}
    logits = outputs["logits"][:, 16:49, 32:65][:, :, ::-1]
    np.testing.assert_array_equal(ops.convert_to_numpy(weak.label), logits.argmax(-1))
    np.testing.assert_allclose(
        ops.convert_to_numpy(weak.features), outputs["features"][:, 1:4, 2:5][:, :, ::-1], rtol=1e-5, atol=1e-6
    )
    np.testing.assert_array_equal(ops.convert_to_numpy(weak.valid), batch["valid"])


def test_feature_maps_need_not_align(random_batch):
    # 40 pixels give 3 cells, 33 as many, and 64 give 4: no stride is common to the view and the image around it.
    for size in (40, 64):
        method = RankMatch(deeplab_v3_plus(create_backbone("tiny"), 3), label_view="image", num_agents=4, seed=0)
        batch = around(random_batch(), np.arange(33), np.arange(33), size)
        losses = {name: float(ops.convert_to_numpy(value)) for name, value in method.compute_losses(batch).items()}
        assert losses["rank_1"] > 0 and np.isfinite(list(losses.values())).all()


def test_nothing_is_learned_outside_of_what_was_labeled(small_segmenter, random_batch):
    method = FixMatch(small_segmenter(), label_view="image", threshold=0.0)
    batch = around(random_batch(), np.arange(-2, 31), np.arange(8, 41))
    valid = ops.convert_to_numpy(method.weak_stage(batch, None)[1].weak.valid)
    expected = batch["valid"].copy()
    expected[:, :2] = expected[:, :, 25:] = False
    np.testing.assert_array_equal(valid, expected)


def test_the_image_around_the_view_moves_no_statistics(recording, random_batch):
    kinds = (FixMatch, UniMatch, RankMatch)
    for kind, passes in zip(kinds, (FIXMATCH_PASSES, UNIMATCH_PASSES, UNIMATCH_PASSES), strict=True):
        recording.recorder.passes.clear()
        batch = around(random_batch(labeled=1, unlabeled=2), np.arange(33), np.arange(33))
        kind(recording, label_view="image").compute_losses(batch)
        extra = [("encode", 2, False), ("decode", 2, False)]
        assert sorted(recording.recorder.passes, key=str) == sorted([*extra, *passes], key=str)
    with pytest.raises(ValueError, match="label_view='whole'"):
        FixMatch(recording, label_view="whole")
    with pytest.raises(ValueError, match="context_image"):
        UniMatch(recording, label_view="image", views=1).compute_losses(random_batch())


def test_soft_labels_are_pasted_and_learned_as_they_are(small_segmenter, random_batch):
    method = FixMatch(small_segmenter(), threshold=0.0, soft_labels=True)
    batch = {name: ops.convert_to_tensor(value) for name, value in random_batch().items()}
    weak = method.weak_stage(batch, None)[1].weak
    target = method.strong_view(batch, 1, Targets(weak, None)).target
    probabilities = ops.convert_to_numpy(weak.probabilities)
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, rtol=1e-5)
    np.testing.assert_array_equal(probabilities.argmax(-1), ops.convert_to_numpy(weak.label))
    boxes = random_batch()["cutmix_box_1"]
    mixed = pasted(probabilities, probabilities[::-1], boxes)
    np.testing.assert_array_equal(ops.convert_to_numpy(target.probabilities), mixed)
    logits = np.random.default_rng(1).normal(size=mixed.shape).astype("float32")
    log_softmax = logits - np.log(np.exp(np.float64(logits)).sum(-1, keepdims=True))
    valid = ops.convert_to_numpy(target.valid)
    expected = -(mixed * log_softmax).sum(-1)[valid].sum() / valid.sum()
    found = float(ops.convert_to_numpy(method.consistency(target, ops.convert_to_tensor(logits))))
    assert found == pytest.approx(expected, rel=1e-5)

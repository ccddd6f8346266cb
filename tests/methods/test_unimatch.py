import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras import UniMatch


class StoredSegmenter(keras.Model):
    """Its images are the logits that it answers with; its features are every fourth of them."""

    def encode(self, images, training=None):
        return {"logits": ops.convert_to_tensor(images)}

    def decode(self, features, training=None):
        return {"logits": features["logits"], "features": features["logits"][:, ::4, ::4]}

    def call(self, images, training=None):
        return self.decode(self.encode(images))


class StoredDropout(keras.layers.Layer):
    """Answers with stored logits instead of dropping features."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def call(self, maps):
        return {"logits": ops.convert_to_tensor(self.logits)}


def as_boxes(masks):
    """Masks `(B, H, W)` of one box each to `y0, x0, y1, x1`, after checking that they are boxes."""
    boxes = np.zeros((len(masks), 4), dtype="int32")
    for box, mask in zip(boxes, masks, strict=True):
        rows, columns = np.nonzero(mask)
        if len(rows):
            box[:] = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
            assert mask[box[0] : box[2], box[1] : box[3]].all() and len(rows) == mask.sum()
    return boxes


def test_published_terms_total_and_mask_ratio(golden):
    numbers = golden("unimatch_losses")
    batch = {
        "labeled_image": numbers["logits_labeled"],
        "labeled_mask": numbers["labels"].astype("int32"),
        "weak_image": numbers["logits_weak"],
        "valid": numbers["ignore"] != 255,
        "source_weak_image": numbers["logits_box_source"],
        "source_valid": numbers["ignore_box_source"] != 255,
    }
    for view in (1, 2):
        # The stored logits are those of the mixed images, so that pasting must not change these.
        batch[f"strong_image_{view}"] = batch[f"source_strong_image_{view}"] = numbers[f"logits_strong{view}"]
        batch[f"cutmix_box_{view}"] = as_boxes(numbers[f"box{view}"])
    method = UniMatch(StoredSegmenter(), threshold=float(numbers["threshold"]))
    method.drop_features = StoredDropout(numbers["logits_feature_dropout"])

    losses = method.compute_losses({name: ops.convert_to_tensor(value) for name, value in batch.items()})
    published = {
        "supervised": "loss_supervised",
        "strong_1": "loss_strong1",
        "strong_2": "loss_strong2",
        "feature_dropout": "loss_feature_dropout",
        "loss": "loss_total",
        "mask_ratio": "mask_ratio",
    }
    for name, key in published.items():
        assert float(losses[name]) == pytest.approx(float(numbers[key]), rel=1e-5), name


def test_weights(small_segmenter):
    method = UniMatch(small_segmenter())
    # (L_sup + L_s1 / 4 + L_s2 / 4 + L_fp / 2) / 2
    assert method.term_weights == {"supervised": 1 / 2, "strong_1": 1 / 8, "strong_2": 1 / 8, "feature_dropout": 1 / 4}
    assert (method.threshold, method.feature_dropout) == (0.95, 0.5)


def test_dropped_stream_is_the_weak_one_without_dropout(small_segmenter, random_batch):
    method = UniMatch(small_segmenter(), feature_dropout=0.0)
    stream = method.weak_stream(random_batch())
    weak = ops.convert_to_numpy(ops.argmax(stream.dropped_logits, axis=-1))
    np.testing.assert_array_equal(weak, ops.convert_to_numpy(stream.weak.label))


def test_labeled_images_are_decoded_clean(small_segmenter, random_batch):
    # The decoder's normalization mixes the whole batch; in inference mode nothing but dropout could reach them.
    method = UniMatch(small_segmenter(), seed=0)
    method.segmenter.decoder.trainable = False  # normalization then uses its stored statistics
    batch = random_batch()
    stream = method.weak_stream(batch)
    maps = method.segmenter.encode(np.concatenate([batch["labeled_image"], batch["weak_image"]]), training=True)
    clean = ops.convert_to_numpy(method.segmenter.decode(maps, training=False)["logits"])
    np.testing.assert_allclose(ops.convert_to_numpy(stream.labeled_logits), clean[:1], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(ops.convert_to_numpy(stream.weak.label), clean[1:].argmax(-1))
    assert np.abs(ops.convert_to_numpy(stream.dropped_logits) - clean[1:]).max() > 1e-2

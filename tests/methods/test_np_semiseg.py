import keras
import numpy as np
import pytest
from keras import ops

from rankmatch_keras import models
from rankmatch_keras.layers import ChannelNormalization
from rankmatch_keras.methods import NPSemiSeg
from rankmatch_keras.models.neural_process import neural_process_of, with_neural_process

# On the other backends the parity tests run these methods.
pytestmark = pytest.mark.once

SMALL = {"threshold": 0.0, "memory": 20, "draws": 2, "seed": 0}


def test_memories_hold_codes_and_move_the_centers(small_segmenter, random_batch):
    method, batch = NPSemiSeg(small_segmenter(), **SMALL), random_batch()
    random = [ops.convert_to_numpy(x).copy() for x in (method.process.context_centers, method.process.target_centers)]
    batch["labeled_mask"][:] = np.where(np.arange(33) < 17, 0, 255)  # one class, in the left half
    losses = method.compute_losses(batch)
    assert float(ops.convert_to_numpy(losses["divergence"])) > 0
    context, target = (ops.convert_to_numpy(bank.count) for bank in (method.context, method.target))
    assert 0 < context[0] <= 20 and not context[1:].any() and (target >= context).all() and target.sum() > context.sum()
    for bank, centers, before in zip(
        (method.context, method.target),
        (method.process.context_centers, method.process.target_centers),
        random,
        strict=True,
    ):
        vectors, count = ops.convert_to_numpy(bank.vectors), ops.convert_to_numpy(bank.count)
        for c, center in enumerate(ops.convert_to_numpy(centers)):
            expected = vectors[c, : count[c]].mean(0) if count[c] else before[c]
            np.testing.assert_allclose(center, expected, rtol=1e-5, atol=1e-6)


def test_the_saved_predictor_predicts_by_the_neural_process(small_segmenter, random_batch, tmp_path):
    method = NPSemiSeg(small_segmenter(), **SMALL)
    assert method.evaluated is method.segmenter and with_neural_process(method.segmenter) is method.segmenter
    predictor = models.predictor(method.evaluated, ChannelNormalization(mean=[0.0] * 3, std=[1.0] * 3))
    image = random_batch()["weak_image"][:1]
    before = predictor.predict_on_batch(image)
    centers = neural_process_of(method.segmenter).context_centers
    centers.assign(3.0 * centers.value)
    after = predictor.predict_on_batch(image)
    assert np.abs(before - after).max() > 1e-4
    predictor.save(tmp_path / "model.keras")
    again = models.load_predictor(tmp_path / "model.keras").predict_on_batch(image)
    np.testing.assert_allclose(again, after, rtol=1e-4, atol=1e-6)


def test_a_configured_copy_is_not_wrapped_twice(small_segmenter):
    method = NPSemiSeg(small_segmenter(), **SMALL)
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(method))
    assert [v.shape for v in copy.variables] == [v.shape for v in method.variables]
    assert sum(layer.name == "neural_process" for layer in copy.segmenter.decoder.layers) == 1

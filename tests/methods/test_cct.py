import numpy as np
import pytest
from keras import ops

from rankmatch_keras.methods import CCT

# On the other backends the parity tests run these methods.
pytestmark = pytest.mark.once

KINDS = (
    "vat",
    "channel_dropout",
    "guided_cutout",
    "context_masking",
    "object_masking",
    "feature_drop",
    "feature_noise",
)
NONE = dict.fromkeys(KINDS, 0)


def test_two_decoders_of_each_kind_with_weights_of_their_own(small_segmenter):
    method = CCT(small_segmenter(), total_steps=10)
    assert method.kinds == tuple(kind for kind in KINDS for _ in range(2))
    kernels = [ops.convert_to_numpy(d.trainable_variables[0]) for d in (*method.heads, method.segmenter.decoder)]
    assert len({kernel.tobytes() for kernel in kernels}) == 15
    variables = len(method.segmenter.trainable_variables) + 14 * len(method.segmenter.decoder.trainable_variables)
    assert len(method.trainable_variables) == variables
    assert method.evaluated is method.segmenter


def test_the_second_term_is_the_mean_over_the_decoders(small_segmenter, random_batch):
    batch = random_batch()
    method = CCT(small_segmenter(), **{**NONE, "object_masking": 2}, total_steps=10)
    method.perturbations = [lambda maps, logits: maps, lambda maps, logits: {k: 0.0 * v for k, v in maps.items()}]
    found = {name: float(ops.convert_to_numpy(value)) for name, value in method.compute_losses(batch).items()}

    network = small_segmenter()
    encoded = network.encode(np.concatenate([batch["labeled_image"], batch["weak_image"]]), training=True)
    target = ops.softmax(network.decode(encoded, training=True)["logits"][1:])
    losses = []
    for decoder, factor in zip(method.heads, (1.0, 0.0), strict=True):
        maps = {name: factor * value[1:] for name, value in encoded.items() if name != "canvas"}
        logits = network.resize(decoder(maps, training=True)["logits"], encoded["canvas"])
        squares = ops.convert_to_numpy(ops.square(ops.softmax(logits) - target))
        losses.append(squares.mean(-1)[batch["valid"]].sum() / batch["valid"].size)
    # At the first step the weight is 30 exp(-5).
    assert found["consistency"] == pytest.approx(np.exp(-5.0) * np.mean(losses), rel=1e-4)
    assert found["loss"] == pytest.approx(found["supervised"] + 30 * found["consistency"], rel=1e-5)


def test_the_weight_grows_in_the_first_tenth(small_segmenter, random_batch):
    method = CCT(small_segmenter(), **{**NONE, "context_masking": 1}, total_steps=20)
    method.perturbations = [lambda maps, logits: maps]
    values = [float(ops.convert_to_numpy(method.compute_losses(random_batch())["consistency"])) for _ in range(4)]
    ramp = np.exp(-5.0 * np.square([1.0, 0.5, 0.0, 0.0]))
    np.testing.assert_allclose(values, ramp * values[-1], rtol=1e-3)


def test_the_main_decoder_learns_from_labels_alone(small_segmenter, random_batch, gradients):
    method, batch = CCT(small_segmenter(), **dict.fromkeys(KINDS, 1), total_steps=10, seed=0), random_batch()

    def of(part):
        found = gradients(lambda: method.compute_terms(batch)["consistency"], part)
        return max(np.abs(gradient).max() for gradient in found)

    assert of(method.segmenter.decoder) == 0.0
    # Gradients of every kind: each decoder learns, and so does the encoder.
    assert of(method.segmenter.encoder) > 0.0 and all(of(decoder) > 0.0 for decoder in method.heads)


def test_there_must_be_a_decoder(small_segmenter):
    with pytest.raises(ValueError, match="one auxiliary decoder"):
        CCT(small_segmenter(), total_steps=10, **NONE)

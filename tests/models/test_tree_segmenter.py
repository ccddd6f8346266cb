import keras
import numpy as np
import pytest
from keras import ops
from small_network import small_segmenter

from rankmatch_keras import models
from rankmatch_keras.layers import ChannelNormalization
from rankmatch_keras.models import class_count, deeplab_v3_plus, with_tree
from rankmatch_keras.models.copies import copy_segmenter

pytestmark = pytest.mark.once

PARENTS = (-1, 3, 3, -1)


def deeplab():
    keras.utils.set_random_seed(0)
    return deeplab_v3_plus(models.create_backbone("tiny", weights=None), 3, aspp_filters=8, decoder_filters=8)


def image(size=33):
    return np.random.default_rng(0).normal(size=(2, size, size, 3)).astype("float32")


def numpy(outputs):
    return {name: np.float64(ops.convert_to_numpy(value)) for name, value in outputs.items()}


@pytest.mark.parametrize("make", [small_segmenter, deeplab])
def test_leaves_are_those_of_the_classifier_and_classes_are_scored_along_their_paths(make):
    plain = make()
    tree = with_tree(plain, PARENTS)
    before, found = numpy(plain(image())), numpy(tree(image()))
    assert found["nodes"].shape == (2, 33, 33, 4) and class_count(tree) == 3
    np.testing.assert_allclose(found["nodes"][..., :3], before["logits"], rtol=1e-5, atol=1e-5)
    p = 1 / (1 + np.exp(-found["nodes"]))
    products = np.stack([p[..., 0], p[..., 1] * p[..., 3], p[..., 2] * p[..., 3]], axis=-1)
    np.testing.assert_allclose(np.exp(found["logits"]), products, rtol=1e-4)
    assert len(tree.trainable_variables) == len(plain.trainable_variables) + 2
    symbols = tree.compute_output_spec(keras.KerasTensor((None, None, None, 3)))
    assert {name: value.shape[-1] for name, value in symbols.items()} == {
        name: value.shape[-1] for name, value in found.items()
    }


def test_copies_and_configurations_keep_the_tree():
    tree = with_tree(small_segmenter(), PARENTS)
    assert with_tree(tree, PARENTS) is tree
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(tree))
    again.encoder.set_weights(tree.encoder.get_weights())
    again.decoder.set_weights(tree.decoder.get_weights())
    for copy in (copy_segmenter(tree), again):
        assert type(copy) is models.TreeSegmenter and copy.parents == PARENTS
        np.testing.assert_array_equal(*(numpy(network(image()))["nodes"] for network in (tree, copy)))


@pytest.mark.parametrize("size", [33, 41])
def test_the_saved_predictor_predicts_the_largest_product(size, tmp_path):
    tree = with_tree(deeplab(), PARENTS)
    # An improbable group: the largest leaf is not the largest product.
    tree.decoder.get_layer("groups").bias.assign(np.float32([-2.0]))
    predictor = models.predictor(tree, ChannelNormalization(mean=[0.0] * 3, std=[1.0] * 3))
    predictor.save(tmp_path / "model.keras")
    x = image(size)
    found = models.load_predictor(tmp_path / "model.keras").predict_on_batch(x)
    padded = np.pad(x, ((0, 0), (0, (1 - size) % 16), (0, (1 - size) % 16), (0, 0)))
    nodes = numpy(tree(padded))["nodes"][:, :size, :size]
    p = 1 / (1 + np.exp(-nodes))
    products = np.stack([p[..., 0], p[..., 1] * p[..., 3], p[..., 2] * p[..., 3]], axis=-1)
    np.testing.assert_allclose(found, products / products.sum(-1, keepdims=True), rtol=1e-3, atol=1e-6)
    assert (nodes[..., :3].argmax(-1) != products.argmax(-1)).mean() > 0.05
    features, stride = models.feature_model(models.load_predictor(tmp_path / "model.keras"))
    assert stride == 16 and features(x).shape[-1] == 8


def test_a_warm_start_takes_the_whole_network(tmp_path):
    tree, other = with_tree(small_segmenter(), PARENTS), with_tree(small_segmenter(seed=1), PARENTS)
    models.predictor(tree, ChannelNormalization(mean=[0.0] * 3, std=[1.0] * 3)).save(tmp_path / "model.keras")
    models.start_from(other, tmp_path / "model.keras")
    np.testing.assert_array_equal(*(numpy(network(image()))["nodes"] for network in (tree, other)))


def test_a_tree_of_other_classes_is_refused():
    with pytest.raises(ValueError, match="tree of the network's 3 classes. Received: 2"):
        with_tree(small_segmenter(), (2, 2, -1))

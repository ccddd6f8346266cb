import keras

from rankmatch_keras import FixMatch


def test_weights(small_segmenter):
    method = FixMatch(small_segmenter())
    assert method.term_weights == {"supervised": 0.5, "strong_1": 0.5}
    assert method.threshold == 0.95


def test_second_strong_view_is_not_needed(small_segmenter, random_batch):
    batch = random_batch()
    del batch["strong_image_2"], batch["cutmix_box_2"]
    losses = FixMatch(small_segmenter(), threshold=0.0).compute_losses(batch)
    assert keras.ops.convert_to_numpy(losses["strong_1"]) > 0

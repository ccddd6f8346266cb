import numpy as np
import pytest

from rankmatch_keras.prediction import folder
from rankmatch_keras.suggestion import scores
from rankmatch_keras.suggestion.scores import pooled_features, score

pytestmark = pytest.mark.once

WEIGHTS = np.array([1.0, 2.0, 5.0])


class Pixels:
    """Probabilities from the color of a pixel and its column in the window, so that mirroring changes them."""

    output_shape = (None, None, None, 3)

    def predict_on_batch(self, images):
        logits = np.nan_to_num(images) / 60.0
        logits[..., 0] += np.linspace(0, 2, images.shape[2])
        values = np.exp(logits - logits.max(-1, keepdims=True))
        return (values / values.sum(-1, keepdims=True)).astype(np.float32)


class Same:
    """Features: the image itself."""

    def predict_on_batch(self, images):
        return images


def expected(image, weights):
    """The scores as they are defined, pixel by pixel."""
    there = Pixels().predict_on_batch(image[None])[0]
    back = Pixels().predict_on_batch(image[None, :, ::-1])[0][:, ::-1]
    rows = []
    for p, q, values in zip(there.reshape(-1, 3), back.reshape(-1, 3), image.reshape(-1, 3), strict=True):
        if np.isnan(values).any():
            continue
        mean = (p + q) / 2
        entropy = -sum(m * np.log(m) for m in mean) / np.log(3)
        first, second = sorted(mean)[:0:-1]
        rows.append((entropy, first - second, p.argmax() != q.argmax(), entropy * (mean @ weights), mean.argmax()))
    *means, classes = zip(*rows, strict=True)
    return [np.mean(each) for each in means], np.bincount(classes, minlength=3) / len(rows)


@pytest.mark.parametrize("missing", [False, True])
def test_scores_are_means_over_the_pixels_with_data(missing):
    image = np.random.default_rng(0).uniform(0, 255, (7, 9, 3)).astype(np.float32)
    if missing:
        image[2:4, 5] = np.nan
    found = score(Pixels(), image, WEIGHTS)
    means, shares = expected(image, WEIGHTS)
    own = [found.entropy, found.margin, found.disagreement, found.uncertainty]
    np.testing.assert_allclose(own, means, rtol=1e-4)
    np.testing.assert_allclose(found.shares, shares)
    assert 0 < found.disagreement < 1


def test_large_images_are_seen_in_windows(monkeypatch):
    monkeypatch.setattr(folder, "WHOLE_PIXELS", 60)
    monkeypatch.setattr(scores, "WHOLE_PIXELS", 60)
    monkeypatch.setattr(scores, "WINDOW", 4)
    image = np.random.default_rng(1).uniform(0, 255, (8, 8, 3))
    seen = []

    class Watched(Same):
        def predict_on_batch(self, images):
            seen.append(images.shape[1:3])
            return images

    found = pooled_features(Watched(), image)
    assert set(seen) == {(4, 4)} and found.shape == (3,)
    np.testing.assert_allclose(pooled_features(Same(), image[:7, :7]), image[:7, :7].mean((0, 1)))
    score(Pixels(), image.astype(np.float32), WEIGHTS)

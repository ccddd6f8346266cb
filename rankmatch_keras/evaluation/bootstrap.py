"""How far a score could move if the set held other images of the same kind: bootstrap over images."""

import numpy as np

from rankmatch_keras.evaluation.metrics import iou_of, mean_of_present

RESAMPLES = 1000
LEVEL = 0.95
BLOCK = 1 << 18  # drawn images at once, which keeps the memory at a few MB


def mean_iou_interval(counts, resamples=RESAMPLES, seed=0, level=LEVEL):
    """Percentile interval of the mean IoU over sets of as many images, drawn with replacement.

    The IoU of a resampled set follows from its summed counts, as that of the set itself does; classes absent from it
    stay out of its mean.

    Args:
        counts: int (images, 3, K): per image and class the pixels in truth and prediction at once, in the truth and
            in the prediction (`ConfusionMatrix.class_counts`).
        resamples: number of resampled sets.
        seed: seed of the draws; the same seed gives the same interval.
        level: probability that the interval covers, in 0..1.

    Returns:
        (low, high), floats in 0..1; NaN for fewer than two images.
    """
    counts = np.asarray(counts)
    if len(counts) < 2:
        return float("nan"), float("nan")
    flat = counts.reshape(len(counts), -1).astype(np.float64)  # sums stay exact up to 2^53 pixels
    means = []
    for times in draws(len(counts), resamples, seed):
        totals = (times @ flat).reshape(-1, *counts.shape[1:])
        means.append(mean_of_present(iou_of(*np.moveaxis(totals, 1, 0))))
    finite = np.concatenate(means)
    finite = finite[~np.isnan(finite)]
    if not finite.size:
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def draws(images, resamples, seed):
    """Yields how often each image is drawn, float64 (some resamples, images), for all resamples block by block."""
    generator = np.random.default_rng(seed)
    step = max(1, BLOCK // images)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(images, size=(rows, images)) + images * np.arange(rows)[:, None]
        yield np.bincount(drawn.reshape(-1), minlength=rows * images).reshape(rows, images).astype(np.float64)

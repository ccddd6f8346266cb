"""Confusion matrix, the scores computed from it, and the bootstrap interval of mean IoU over images."""

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.errors import UserError

BLOCK = 1 << 20  # pixels counted at once: little memory, and it stays in the cache
RESAMPLES = 1000
LEVEL = 0.95
SAMPLED_BLOCK = 1 << 18  # images sampled at once: a few MB


class ConfusionMatrix:
    """Counts of pixels by true class (rows) and predicted class (columns), summed over a whole set.

    The IoU of class k over all images together is `I_k / U_k` with `I_k = counts[k, k]` and
    `U_k = row sum k + column sum k - I_k`. A class absent from both truth and prediction has no IoU (NaN) and stays
    out of the mean. The published evaluators divide by `U + 1e-10` instead, which scores such a class 0; on the full
    public sets every class occurs and both agree. The same classes are absent from every other score; precision is 0
    for a class that is never predicted, recall for one that is only predicted.

    Args:
        num_classes: number of classes K, >= 1.
        ignore_index: value in the truth that marks pixels to ignore; it takes precedence over a class of that id.

    Attributes:
        counts: int64 (K, K), rows truth, columns prediction.

    Example:
        >>> matrix = ConfusionMatrix(2)
        >>> matrix.update(np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 1]]))
        >>> matrix.iou().tolist(), matrix.mean_iou()
        ([0.5, 0.5], 0.5)
    """

    def __init__(self, num_classes, ignore_index=IGNORE_INDEX):
        if num_classes < 1:
            raise UserError("at least one class", f"num_classes={num_classes}", "Give the class names.")
        self.num_classes = int(num_classes)
        self.ignore_index = ignore_index
        self.counts = np.zeros((self.num_classes, self.num_classes), np.int64)

    def update(self, mask, prediction, name="the mask"):
        """Add one image (or any number of pixels).

        Args:
            mask: integer array of any shape, true class per pixel, 0..K-1 or `ignore_index`.
            prediction: integer array of the same shape, 0..K-1 wherever the mask is not `ignore_index`.
            name: what an error message calls the mask, e.g. its path.

        Raises:
            UserError: (a ValueError) if shapes differ, a dtype is not integer, or ids are outside 0..K-1; nothing is
                added then.
        """
        mask, prediction = np.asarray(mask), np.asarray(prediction)
        if mask.shape != prediction.shape:
            raise UserError(
                "truth and prediction of one shape",
                f"mask {mask.shape} and prediction {prediction.shape}",
                "Predict at the size of the mask.",
            )
        truths, predictions = mask.reshape(-1), prediction.reshape(-1)
        counted = np.zeros(self.num_classes**2, np.int64)
        for start in range(0, truths.size, BLOCK):
            block = slice(start, start + BLOCK)
            counted += self._count(truths[block], predictions[block], name)
        self.counts += counted.reshape(self.counts.shape)

    def class_counts(self):
        """Return pixels per class, int64 (3, K): in both truth and prediction, in the truth, in the prediction."""
        return np.stack([np.diag(self.counts), self.counts.sum(1), self.counts.sum(0)])

    def iou(self):
        """Compute IoU per class, float64 (K,) in 0..1; NaN for classes absent from both truth and prediction."""
        return iou_of(*self.class_counts())

    def dice(self):
        """Compute the Dice score (F1) per class, `2 I / (T + P)`, float64 (K,) in 0..1; NaN for absent classes."""
        both, truth, prediction = self.class_counts()
        return _fraction(2 * both, truth + prediction, truth + prediction > 0)

    def precision(self):
        """Compute the fraction of pixels predicted as a class that are right, float64 (K,); NaN for absent classes."""
        both, truth, prediction = self.class_counts()
        return _fraction(both, prediction, truth + prediction > 0)

    def recall(self):
        """Compute the fraction of a class's pixels that are predicted as it, float64 (K,); NaN for absent classes."""
        both, truth, prediction = self.class_counts()
        return _fraction(both, truth, truth + prediction > 0)

    def mean_iou(self):
        """Compute the mean of `iou` over the classes present, float in 0..1; NaN if nothing was counted."""
        return mean_of_present(self.iou())

    def pixel_accuracy(self):
        """Compute the fraction of counted pixels that are right, float in 0..1; NaN if nothing was counted."""
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else float("nan")

    def __add__(self, other):
        """Return a matrix over the pixels of both, e.g. to join parts of a set that were scored separately."""
        if not isinstance(other, ConfusionMatrix):
            return NotImplemented
        mine, theirs = (self.num_classes, self.ignore_index), (other.num_classes, other.ignore_index)
        if mine != theirs:
            raise UserError(
                f"matrices of the same classes and ignore index {mine}", f"{theirs}", "Join matrices of one data set."
            )
        joined = ConfusionMatrix(self.num_classes, self.ignore_index)
        joined.counts = self.counts + other.counts
        return joined

    def _count(self, truth, predicted, name):
        valid = truth != self.ignore_index
        if not valid.all():  # indexing by a mask costs more than the counting
            truth, predicted = truth[valid], predicted[valid]
        self._check_ids(truth, name)
        self._check_ids(predicted, "the prediction")
        pairs = truth.astype(np.intp) * self.num_classes + predicted
        return np.bincount(pairs, minlength=self.num_classes**2)

    def _check_ids(self, ids, name):
        if not np.issubdtype(ids.dtype, np.integer):
            raise UserError(f"integer class ids in {name}", f"dtype {ids.dtype}", "Take the argmax first.")
        if ids.size and (ids.min() < 0 or ids.max() >= self.num_classes):
            odd = np.unique(ids[(ids < 0) | (ids >= self.num_classes)])[:5].tolist()
            raise UserError(
                f"class ids 0..{self.num_classes - 1} (or {self.ignore_index}, ignored) in {name}",
                f"{', '.join(map(str, odd))}",
                "Check the number of classes and the mask's encoding.",
            )


def iou_of(intersection, truth, prediction):
    """Compute intersection over union from counts of pixels.

    Args:
        intersection: (..., K) pixels of the class in both truth and prediction.
        truth: (..., K) pixels of the class in the truth.
        prediction: (..., K) pixels of the class in the prediction.

    Returns:
        float64 (..., K); NaN where the union is empty.
    """
    union = np.asarray(truth) + prediction - intersection
    return _fraction(intersection, union, union > 0)


def mean_of_present(values):
    """Compute the mean over the last axis without the NaN of absent classes; NaN where nothing is left.

    Args:
        values: float (..., K).

    Returns:
        float for one row of values, else float64 (...).
    """
    values = np.asarray(values, np.float64)
    present = ~np.isnan(values)
    means = _fraction(np.where(present, values, 0).sum(-1), present.sum(-1), present.any(-1))
    return float(means) if values.ndim == 1 else means


def mean_iou_interval(counts, resamples=RESAMPLES, seed=0, level=LEVEL):
    """Estimate how much the mean IoU would vary over other sets of such images: bootstrap percentile interval.

    Sets of as many images are sampled with replacement. The IoU of such a set follows from its summed counts, like
    that of the whole set; classes absent from it stay out of its mean.

    Args:
        counts: int (images, 3, K): `ConfusionMatrix.class_counts` of each image.
        resamples: number of sampled sets.
        seed: seed of the sampling; the same seed gives the same interval.
        level: coverage of the interval, in 0..1.

    Returns:
        (low, high), floats in 0..1; NaN for fewer than two images.
    """
    low, high = _quantiles(mean_of_present(_resampled_iou(counts, resamples, seed)), level)
    return float(low), float(high)


def iou_intervals(counts, resamples=RESAMPLES, seed=0, level=LEVEL):
    """Estimate for each class how much its IoU would vary over other sets of such images; see `mean_iou_interval`.

    Returns:
        float64 (K, 2), low and high in 0..1; NaN for absent classes and fewer than two images.
    """
    return np.stack(_quantiles(_resampled_iou(counts, resamples, seed), level), axis=-1)


def _resampled_iou(counts, resamples, seed):
    """Return the IoU of each class in each sampled set, float64 (resamples, K); NaN for fewer than two images."""
    counts = np.asarray(counts)
    if len(counts) < 2:
        return np.full((1, counts.shape[-1]), np.nan)
    flat = counts.reshape(len(counts), -1).astype(np.float64)  # sums stay exact up to 2^53 pixels
    found = []
    for times in resampled_sets(len(counts), resamples, seed):
        totals = (times @ flat).reshape(-1, *counts.shape[1:])
        found.append(iou_of(*np.moveaxis(totals, 1, 0)))
    return np.concatenate(found)


def _quantiles(values, level):
    """Return the limits of the middle part of what is no NaN along the first axis, `(low, high)`; NaN without any."""
    known = ~np.isnan(values).all(axis=0)
    limits = np.full((2, *values.shape[1:]), np.nan)
    if known.any():
        limits[:, known] = np.nanquantile(values[:, known], [(1 - level) / 2, (1 + level) / 2], axis=0)
    return limits


def resampled_sets(images, resamples, seed):
    """Yield how often each image occurs in each sampled set, float64 (some sets, images), block by block."""
    generator = np.random.default_rng(seed)
    step = max(1, SAMPLED_BLOCK // images)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        sampled = generator.integers(images, size=(rows, images)) + images * np.arange(rows)[:, None]
        yield np.bincount(sampled.reshape(-1), minlength=rows * images).reshape(rows, images).astype(np.float64)


def _fraction(part, whole, present):
    """Divide, with 0 where the whole is 0 and NaN where the class is not present."""
    zeros = np.zeros(np.shape(part))
    return np.where(present, np.divide(part, whole, out=zeros, where=np.asarray(whole) > 0), np.nan)

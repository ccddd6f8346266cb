"""The confusion matrix, the scores that follow from it, and their bootstrap interval over images."""

import numpy as np

from rankmatch_keras.errors import UserError

BLOCK = 1 << 20  # pixels counted at once, which keeps the memory small and in the cache
RESAMPLES = 1000
LEVEL = 0.95
SAMPLED_BLOCK = 1 << 18  # sampled images at once, which keeps the memory at a few MB


class ConfusionMatrix:
    """Counts of pixels by true class (rows) and predicted class (columns), summed over a whole set.

    IoU of class k over all images together: ``I_k / U_k`` with ``I_k = counts[k, k]`` and
    ``U_k = row sum k + column sum k - I_k``. A class that neither truth nor prediction holds has no IoU (NaN)
    and stays out of the mean. The published evaluators divide by ``U + 1e-10`` instead, so that such a class
    counts as 0; on the full public sets every class occurs and both agree. The same classes are absent from every
    other score; precision is 0 for a class that is never predicted, recall for one that is only predicted.

    Args:
        num_classes: number of classes K, >= 1.
        ignore_index: value in the truth that marks pixels to leave out; it wins over a class of that id.

    Attributes:
        counts: int64 (K, K), rows truth, columns prediction.

    Example:
        >>> matrix = ConfusionMatrix(2)
        >>> matrix.update(np.array([[0, 0, 1, 255]]), np.array([[0, 1, 1, 1]]))
        >>> matrix.iou().tolist(), matrix.mean_iou()
        ([0.5, 0.5], 0.5)
    """

    def __init__(self, num_classes, ignore_index=255):
        if num_classes < 1:
            raise UserError("at least one class", f"num_classes={num_classes}", "Give the class names.")
        self.num_classes = int(num_classes)
        self.ignore_index = ignore_index
        self.counts = np.zeros((self.num_classes, self.num_classes), np.int64)

    def update(self, mask, prediction, name="the mask"):
        """Adds one image (or any number of pixels).

        Args:
            mask: integer array of any shape, true class per pixel, 0..K-1 or ``ignore_index``.
            prediction: integer array of the same shape, 0..K-1 wherever the mask is not ``ignore_index``.
            name: what an error message calls the mask, e.g. its path.

        Raises:
            UserError: (a ValueError) for unlike shapes, other dtypes, or ids outside 0..K-1; nothing is
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
        """Pixels per class, int64 (3, K): truth and prediction at once, in the truth, in the prediction."""
        return np.stack([np.diag(self.counts), self.counts.sum(1), self.counts.sum(0)])

    def iou(self):
        """IoU per class, float64 (K,) in 0..1; NaN for classes absent from both truth and prediction."""
        return iou_of(*self.class_counts())

    def dice(self):
        """Dice coefficient (F1) per class, ``2 I / (T + P)``, float64 (K,) in 0..1; NaN for absent classes."""
        both, truth, prediction = self.class_counts()
        return _share(2 * both, truth + prediction, truth + prediction > 0)

    def precision(self):
        """Share of the pixels predicted as a class that are of it, float64 (K,) in 0..1; NaN for absent classes."""
        both, truth, prediction = self.class_counts()
        return _share(both, prediction, truth + prediction > 0)

    def recall(self):
        """Share of a class's pixels that are predicted as it, float64 (K,) in 0..1; NaN for absent classes."""
        both, truth, prediction = self.class_counts()
        return _share(both, truth, truth + prediction > 0)

    def mean_iou(self):
        """Mean of `iou` over the classes present, float in 0..1; NaN if nothing was counted."""
        return mean_of_present(self.iou())

    def pixel_accuracy(self):
        """Share of counted pixels that are right, float in 0..1; NaN if nothing was counted."""
        total = self.counts.sum()
        return float(np.trace(self.counts) / total) if total else float("nan")

    def __add__(self, other):
        """A new matrix over the pixels of both, e.g. to join the parts of a set scored apart."""
        if not isinstance(other, ConfusionMatrix):
            return NotImplemented
        mine, theirs = (self.num_classes, self.ignore_index), (other.num_classes, other.ignore_index)
        if mine != theirs:
            raise UserError(
                f"matrices of the same classes and ignore value {mine}", f"{theirs}", "Join like with like."
            )
        joined = ConfusionMatrix(self.num_classes, self.ignore_index)
        joined.counts = self.counts + other.counts
        return joined

    def _count(self, truth, predicted, name):
        valid = truth != self.ignore_index
        if not valid.all():  # indexing by a mask costs more than the counting itself
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
    """Intersection over union from counts of pixels.

    Args:
        intersection: (..., K) pixels of the class in truth and prediction at once.
        truth: (..., K) pixels of the class in the truth.
        prediction: (..., K) pixels of the class in the prediction.

    Returns:
        float64 (..., K); NaN where the union is empty.
    """
    union = np.asarray(truth) + prediction - intersection
    return _share(intersection, union, union > 0)


def mean_of_present(values):
    """Mean over the last axis without the NaN of absent classes; NaN where nothing is left.

    Args:
        values: float (..., K).

    Returns:
        float for one row of values, else float64 (...).
    """
    values = np.asarray(values, np.float64)
    present = ~np.isnan(values)
    means = _share(np.where(present, values, 0).sum(-1), present.sum(-1), present.any(-1))
    return float(means) if values.ndim == 1 else means


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
    step = max(1, SAMPLED_BLOCK // images)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = generator.integers(images, size=(rows, images)) + images * np.arange(rows)[:, None]
        yield np.bincount(drawn.reshape(-1), minlength=rows * images).reshape(rows, images).astype(np.float64)


def _share(part, whole, present):
    """``part / whole``, 0 where the whole is 0, NaN where the class is not present."""
    zeros = np.zeros(np.shape(part))
    return np.where(present, np.divide(part, whole, out=zeros, where=np.asarray(whole) > 0), np.nan)

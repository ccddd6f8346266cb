"""The confusion matrix and the scores that follow from it: IoU per class, mean IoU, pixel accuracy."""

import numpy as np

from rankmatch_keras.errors import UserError


class ConfusionMatrix:
    """Counts of pixels by true class (rows) and predicted class (columns), summed over a whole set.

    IoU of class k over all images together: ``I_k / U_k`` with ``I_k = counts[k, k]`` and
    ``U_k = row sum k + column sum k - I_k``. A class that neither truth nor prediction holds has no IoU (NaN)
    and stays out of the mean. The published evaluators divide by ``U + 1e-10`` instead, so that such a class
    counts as 0; on the full public sets every class occurs and both agree.

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
        valid = mask != self.ignore_index
        if valid.all():  # indexing by a mask costs more than the counting itself
            truth, predicted = mask.ravel(), prediction.ravel()
        else:
            truth, predicted = mask[valid], prediction[valid]
        self._check_ids(truth, name)
        self._check_ids(predicted, "the prediction")
        pairs = truth.astype(np.int64) * self.num_classes + predicted
        counted = np.bincount(pairs, minlength=self.num_classes**2)
        self.counts += counted.reshape(self.counts.shape)

    def iou(self):
        """IoU per class, float64 (K,) in 0..1; NaN for classes absent from both truth and prediction."""
        intersection = np.diag(self.counts).astype(np.float64)
        union = self.counts.sum(0) + self.counts.sum(1) - np.diag(self.counts)
        return np.divide(intersection, union, out=np.full(self.num_classes, np.nan), where=union > 0)

    def mean_iou(self):
        """Mean of `iou` over the classes present, float in 0..1; NaN if nothing was counted."""
        iou = self.iou()
        present = iou[~np.isnan(iou)]
        return float(present.mean()) if present.size else float("nan")

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

    def _check_ids(self, ids, name):
        if not np.issubdtype(ids.dtype, np.integer):
            raise UserError(f"integer class ids in {name}", f"dtype {ids.dtype}", "Take the argmax first.")
        if ids.size and (ids.min() < 0 or ids.max() >= self.num_classes):
            odd = np.unique(ids[(ids < 0) | (ids >= self.num_classes)])[:5].tolist()
            raise UserError(
                f"class ids 0..{self.num_classes - 1} (or {self.ignore_index}, ignored) in {name}",
                f"{', '.join(map(str, odd))}",
                "Check the number of classes and the mask's coding.",
            )

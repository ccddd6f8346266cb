"""Boundary IoU (Cheng et al., CVPR 2021): how well the outlines of the classes are met.

The ordinary IoU of a large object hardly moves when its outline is off by some pixels; this one does.
"""

import numpy as np
from scipy import ndimage

from rankmatch_keras.evaluation.metrics import iou_of
from rankmatch_keras.evaluation.windows import row_blocks

RATIO = 0.02  # of the image diagonal, as published


class BoundaryCounts:
    """Counts of pixels near the contours of the classes, summed over a set.

    The boundary region of a class is what lies in the class within d pixels (chessboard distance) of a pixel that does
    not, where everything outside of the image does not. Pixels that the truth ignores are left out of truth and
    prediction alike, so that a prediction without mistakes scores 1.

    Args:
        num_classes: number of classes K.
        ignore_index: value in the truth that marks pixels to leave out.

    Attributes:
        counts: int64 (3, K): pixels in both boundary regions of the class, in that of the truth, of the prediction.
    """

    def __init__(self, num_classes, ignore_index=255):
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.counts = np.zeros((3, num_classes), np.int64)

    def update(self, mask, prediction):
        """Adds one image.

        Args:
            mask: integer (H, W), true class per pixel, 0..K-1 or ``ignore_index``.
            prediction: integer (H, W), 0..K-1.
        """
        distance = boundary_distance(mask.shape)
        height, width = mask.shape
        # Blocks much higher than the rows around them that each needs to see.
        for rows in row_blocks(height, width, max(1 << 23, 4 * distance * width)):
            seen = slice(max(0, rows.start - distance), rows.stop + distance)
            inner = slice(rows.start - seen.start, rows.stop - seen.start)
            outside = mask[seen] == self.ignore_index
            truth = self._near_contours(mask[seen], outside, distance)[inner]
            predicted = self._near_contours(prediction[seen], outside, distance)[inner]
            both = truth[truth == predicted]
            for counted, labels in zip(self.counts, (both, truth, predicted), strict=True):
                # The bin of all other pixels is left away.
                counted += np.bincount(labels.reshape(-1), minlength=self.num_classes + 1)[: self.num_classes]

    def iou(self):
        """Boundary IoU per class, float64 (K,) in 0..1; NaN for classes absent from truth and prediction."""
        return iou_of(*self.counts)

    def _near_contours(self, labels, outside, distance):
        """The labels within the distance of another label or the border; K elsewhere and where `outside`."""
        nothing = self.num_classes
        labels = labels.astype(np.min_scalar_type(nothing))
        labels[outside] = nothing
        # One pass for all classes: a square window that holds one label only is inside of its class.
        size = 2 * distance + 1
        lowest = ndimage.minimum_filter(labels, size, mode="constant", cval=nothing)
        highest = ndimage.maximum_filter(labels, size, mode="constant", cval=nothing)
        labels[lowest == highest] = nothing
        return labels


def boundary_distance(shape):
    """Width d of the boundary region in pixels: `RATIO` of the image diagonal, at least 1."""
    return max(1, round(RATIO * float(np.hypot(*shape))))

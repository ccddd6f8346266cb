"""Boundary IoU (Cheng et al., CVPR 2021), which measures how well predictions follow the outlines of the classes.

The ordinary IoU of a large object hardly changes when its outline is off by a few pixels; this one does.
"""

import numpy as np
from scipy import ndimage

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.evaluation.metrics import iou_of
from rankmatch_keras.evaluation.windows import row_blocks

RATIO = 0.02  # of the image diagonal, as published


class BoundaryCounts:
    """Counts of pixels near the outlines of the classes, summed over a set.

    The boundary region of a class is its pixels within d pixels (chessboard distance) of a pixel outside the class;
    everything beyond the image border is outside. Ignored pixels are left out of truth and prediction alike, so that a
    perfect prediction scores 1.

    Args:
        num_classes: number of classes K.
        ignore_index: value in the truth that marks pixels to ignore.

    Attributes:
        counts: int64 (3, K): pixels of each class in both boundary regions, in the truth's, in the prediction's.
    """

    def __init__(self, num_classes, ignore_index=IGNORE_INDEX):
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.counts = np.zeros((3, num_classes), np.int64)

    def update(self, mask, prediction):
        """Add one image.

        Args:
            mask: integer (H, W), true class per pixel, 0..K-1 or `ignore_index`.
            prediction: integer (H, W), 0..K-1.
        """
        distance = boundary_distance(mask.shape)
        height, width = mask.shape
        # Blocks much taller than the rows around them that each has to see as well.
        for rows in row_blocks(height, width, max(1 << 23, 4 * distance * width)):
            seen = slice(max(0, rows.start - distance), rows.stop + distance)
            inner = slice(rows.start - seen.start, rows.stop - seen.start)
            outside = mask[seen] == self.ignore_index
            truth = self._near_contours(mask[seen], outside, distance)[inner]
            predicted = self._near_contours(prediction[seen], outside, distance)[inner]
            both = truth[truth == predicted]
            for counted, labels in zip(self.counts, (both, truth, predicted), strict=True):
                # The last bin holds all other pixels.
                counted += np.bincount(labels.reshape(-1), minlength=self.num_classes + 1)[: self.num_classes]

    def iou(self):
        """Compute boundary IoU per class, float64 (K,) in 0..1; NaN for classes absent from truth and prediction."""
        return iou_of(*self.counts)

    def _near_contours(self, labels, outside, distance):
        """Keep the labels within `distance` of another label or the border; set K elsewhere and where `outside`."""
        nothing = self.num_classes
        labels = labels.astype(np.min_scalar_type(nothing))
        labels[outside] = nothing
        # One pass for all classes: a pixel whose square window holds a single label is inside its class.
        size = 2 * distance + 1
        lowest = ndimage.minimum_filter(labels, size, mode="constant", cval=nothing)
        highest = ndimage.maximum_filter(labels, size, mode="constant", cval=nothing)
        labels[lowest == highest] = nothing
        return labels


def boundary_distance(shape):
    """Return the width d of the boundary region in pixels: `RATIO` of the image diagonal, at least 1."""
    return max(1, round(RATIO * float(np.hypot(*shape))))

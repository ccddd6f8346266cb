"""Accuracy of pseudo-labels on unlabeled images whose masks are hidden from training."""

import csv
import math
from numbers import Real

import keras
import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.backend.distribution import running
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import ConfusionMatrix, predict_probabilities
from rankmatch_keras.texts import counted, printable, say
from rankmatch_keras.training.records import read_rows

LARGEST_SIDE = 1024  # larger images are cropped to their middle


class PseudoLabelHealth(keras.callbacks.Callback):
    """Fractions of pseudo-labels that are kept and right, after each epoch, on some unlabeled images.

    The masks of these images are known but hidden: they serve this report alone and never reach the training. Each
    epoch appends a row to `pseudo_labels.csv` in the run directory; all columns but `threshold` are in 0..1:

    - `kept`: fraction of pixels whose confidence reaches the threshold;
    - `accuracy` of the kept pixels, and `accuracy_all` of all;
    - `kept_<class>`: fraction kept of the pixels of a class;
    - `recall_<class>`: fraction of the kept pixels of a class that are labeled as it;
    - `accuracy_<class>`: fraction of the kept pixels labeled as a class that are of it (precision).

    A rare class that others swallow has a low recall while the accuracies stay high. A cell is empty where there is no
    such pixel. With several processes each labels its part of the images.

    Args:
        run: the run directory, see `training.Run`.
        samples: labeled samples; unreadable ones are skipped with a line that says so.
        class_names: names of the K classes.
        predictor: the inference model that fractions the trained weights.
        threshold: confidence threshold of kept labels; `None`: the method's own, or 0 where it has none.
    """

    def __init__(self, run, samples, class_names, predictor, threshold: float | None = None):
        super().__init__()
        self.run = run
        self.samples = list(samples)
        self.class_names = tuple(class_names)
        self.predictor = predictor
        self.threshold = threshold

    def on_train_begin(self, logs=None):
        """Drop the samples whose masks or images are broken, before an hour of training."""
        good = [sample for sample in self.samples if _can_be_read(sample)]
        if len(good) < len(self.samples):
            of = counted(len(self.samples), "image")
            say(f"Pseudo-labels are checked on {len(good)} of {of}; the others cannot be read.")
        self.samples = good

    def on_epoch_end(self, epoch, logs=None):
        """Label the images and append a row."""
        if not self.samples:
            return
        threshold = self._threshold()
        counts = running().sum(np.stack(self._count(threshold)))
        row = {"epoch": epoch + 1, "threshold": threshold, **_fractions(counts, self.class_names)}
        running().on_main(lambda: self._append(row))
        if not math.isnan(row["kept"]):
            right = "" if math.isnan(row["accuracy"]) else f", {100 * row['accuracy']:.1f} % of them right"
            say(f" - pseudo-labels of {counted(len(self.samples), 'image')}: {100 * row['kept']:.1f} % kept{right}")

    def _threshold(self):
        own = getattr(self.model, "threshold", 0.0) if self.threshold is None else self.threshold
        return float(own) if isinstance(own, Real) else 0.0

    def _count(self, threshold):
        """Return confusion matrices `(K, K)` of all pixels and of the kept ones, over this process's images."""
        every, kept = (ConfusionMatrix(len(self.class_names), IGNORE_INDEX) for _ in range(2))
        predictor = running().local(self.predictor)
        for sample in self.samples[running().process :: running().processes]:
            image, mask = _middle(sample.read_image()), _middle(sample.read_mask())
            probabilities = predict_probabilities(predictor, image)  # (H, W, K)
            label = probabilities.argmax(-1)
            every.update(mask, label, name=sample.mask)
            kept.update(np.where(probabilities.max(-1) >= threshold, mask, IGNORE_INDEX), label, name=sample.mask)
        return every.counts, kept.counts

    def _append(self, row):
        """Append a row; rows of an epoch that is trained again after an interrupt are replaced."""
        path = self.run.pseudo_labels
        rows = [old for old in self._rows() if old["epoch"] < row["epoch"]]
        with self.run.replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row), restval="", extrasaction="ignore")
            writer.writeheader()
            for one in [*rows, row]:
                cells = {name: "" if math.isnan(value) else round(value, 6) for name, value in one.items()}
                writer.writerow({**cells, "epoch": int(one["epoch"])})

    def _rows(self):
        """Return the rows that are there; a damaged report must not end the training."""
        try:
            return read_rows(self.run.pseudo_labels)
        except UserError as error:
            say(f"The report on pseudo-labels begins anew: {error}")
            return ()


def _can_be_read(sample):
    try:
        return sample.read_image().shape[:2] == sample.read_mask().shape
    except UserError:
        return False


def _middle(array):
    top, left = (max(0, side - LARGEST_SIDE) // 2 for side in array.shape[:2])
    return array[top : top + LARGEST_SIDE, left : left + LARGEST_SIDE]


def _fractions(counts, class_names):
    every, kept = counts  # (K, K) each, rows truth, columns label
    fractions = {
        "kept": _fraction(kept.sum(), every.sum()),
        "accuracy": _fraction(np.trace(kept), kept.sum()),
        "accuracy_all": _fraction(np.trace(every), every.sum()),
    }
    for k, name in enumerate(map(printable, class_names)):
        fractions[f"kept_{name}"] = _fraction(kept[k].sum(), every[k].sum())
        fractions[f"recall_{name}"] = _fraction(kept[k, k], kept[k].sum())
        fractions[f"accuracy_{name}"] = _fraction(kept[k, k], kept[:, k].sum())
    return fractions


def _fraction(part, whole):
    return float(part / whole) if whole else math.nan

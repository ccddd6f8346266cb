"""How right pseudo-labels are, where unlabelled images have masks that the training does not see."""

import csv
import math
from numbers import Real

import keras
import numpy as np

from rankmatch_keras.backend.distribution import running
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import ConfusionMatrix, predict_probabilities
from rankmatch_keras.files import replacing

IGNORE = 255
LARGEST_SIDE = 1024  # of a larger image the middle is labelled


class PseudoLabelHealth(keras.callbacks.Callback):
    """After each epoch, labels some unlabelled images and writes how many labels count and how many of them are right.

    The images are unlabelled ones whose masks are known but hidden: they are for this report alone, and nothing of them
    reaches the training. Appended to `pseudo_labels.csv` in the run's folder, all but `threshold` in 0..1:
    `kept`, the share of the pixels whose confidence reaches the threshold; `accuracy` of these and `accuracy_all`;
    per class `kept_<class>`, of the pixels that are of it, `recall_<class>`, of the kept ones among these how many are
    labelled as it, and `accuracy_<class>`, of the kept pixels labelled as it how many are of it (precision). A rare
    class that others swallow has a low recall, while the accuracies stay high.
    A cell is empty where there is no such pixel. With several processes each labels its part of the images.

    Args:
        run: the run's folder, see `training.Run`.
        samples: labelled samples; those that cannot be read are left out, with a line that says so.
        class_names: names of the K classes.
        predictor: the inference model that shares the trained weights.
        threshold: smallest confidence of a label that counts; None: the method's own, and where it has none all count.
    """

    def __init__(self, run, samples, class_names, predictor, threshold: float | None = None):
        super().__init__()
        self.run = run
        self.samples = list(samples)
        self.class_names = tuple(class_names)
        self.predictor = predictor
        self.threshold = threshold

    def on_train_begin(self, logs=None):
        """Leaves out the samples whose masks or images are broken, before an hour of training."""
        good = [sample for sample in self.samples if _can_be_read(sample)]
        if len(good) < len(self.samples):
            print(f"Pseudo-labels are checked on {len(good)} instead of {len(self.samples)} images: unreadable ones.")
        self.samples = good

    def on_epoch_end(self, epoch, logs=None):
        """Labels the images and adds a row."""
        if not self.samples:
            return
        threshold = self._threshold()
        counts = running().sum(np.stack(self._count(threshold)))
        row = {"epoch": epoch + 1, "threshold": threshold, **_shares(counts, self.class_names)}
        running().on_main(lambda: self._append(row))
        if not math.isnan(row["kept"]):
            right = "" if math.isnan(row["accuracy"]) else f", {100 * row['accuracy']:.1f} % of them right"
            print(f" - pseudo-labels of {len(self.samples)} images: {100 * row['kept']:.1f} % count{right}")

    def _threshold(self):
        own = getattr(self.model, "threshold", 0.0) if self.threshold is None else self.threshold
        return float(own) if isinstance(own, Real) else 0.0

    def _count(self, threshold):
        """Confusion matrices (K, K) of all pixels and of the kept ones, over this process's images."""
        every, kept = (ConfusionMatrix(len(self.class_names), IGNORE) for _ in range(2))
        predictor = running().local(self.predictor)
        for sample in self.samples[running().process :: running().processes]:
            image, mask = _middle(sample.read_image()), _middle(sample.read_mask())
            probabilities = predict_probabilities(predictor, image)  # (H, W, K)
            label = probabilities.argmax(-1)
            every.update(mask, label, name=sample.mask)
            kept.update(np.where(probabilities.max(-1) >= threshold, mask, IGNORE), label, name=sample.mask)
        return every.counts, kept.counts

    def _append(self, row):
        """Adds a row; rows of a run that was cut off after them are written anew."""
        path = self.run.pseudo_labels
        rows = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                rows = [old for old in csv.DictReader(file) if int(old["epoch"]) < row["epoch"]]
        rows.append({name: "" if math.isnan(value) else round(value, 6) for name, value in row.items()})
        with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(row), restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)


def _can_be_read(sample):
    try:
        return sample.read_image().shape[:2] == sample.read_mask().shape
    except UserError:
        return False


def _middle(array):
    top, left = (max(0, side - LARGEST_SIDE) // 2 for side in array.shape[:2])
    return array[top : top + LARGEST_SIDE, left : left + LARGEST_SIDE]


def _shares(counts, class_names):
    every, kept = counts  # (K, K) each, rows truth, columns label
    shares = {
        "kept": _share(kept.sum(), every.sum()),
        "accuracy": _share(np.trace(kept), kept.sum()),
        "accuracy_all": _share(np.trace(every), every.sum()),
    }
    for k, name in enumerate(class_names):
        shares[f"kept_{name}"] = _share(kept[k].sum(), every[k].sum())
        shares[f"recall_{name}"] = _share(kept[k, k], kept[k].sum())
        shares[f"accuracy_{name}"] = _share(kept[k, k], kept[:, k].sum())
    return shares


def _share(part, whole):
    return float(part / whole) if whole else math.nan

"""Evaluator of a predictor on labeled samples, with read-ahead, even sampling and a progress counter."""

import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.data.masks.sizes import wrong_size
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.boundary import BoundaryCounts
from rankmatch_keras.evaluation.inference import WHOLE, predict_classes
from rankmatch_keras.evaluation.metrics import ConfusionMatrix, iou_of, mean_iou_interval, mean_of_present
from rankmatch_keras.evaluation.scores import Scores, default_provenance
from rankmatch_keras.evaluation.windows import scored_part
from rankmatch_keras.texts import show_progress

THREADS = 2
LOOKAHEAD = 4  # items waiting at most
LOOKAHEAD_BYTES = 1 << 28  # bytes of the items waiting, estimated from the latest: none waits beside a huge one


class Evaluator:
    """Evaluator that predicts every sample by a protocol and sums one confusion matrix over the set.

    The next images are decoded in the background while one is predicted; only counts are kept.

    Args:
        samples: labeled samples: objects with `read_image()`, `read_mask()` and the sources `image` and `mask`.
        class_names: names of the K classes, in the order of their ids.
        protocol: `data.Protocol`: how each image is shown to the network.
        ignore_index: mask value of the pixels to ignore.
        window_batch: number of windows of equal size predicted at once.
        boundary: whether to measure boundary IoU too.
        limit: score only this many samples, spread evenly over the list; None: all. The scores record it.
        provenance: what the scores can be traced to (set, split, seed, ...), copied into them before the weights hash,
            backend and versions.
        processes: the processes that share the work, e.g. a `backend.distribution.Distribution`, with `process`,
            `processes` and `gather(array)`: process p of n scores the images p, p + n, ..., the counts are summed, and
            all get the same scores. All must call `evaluate`. None: this process scores all.

    Attributes:
        image_scores: `ImageScore` of each image of the last evaluation, in its order.
        matrix: the `ConfusionMatrix` of the last evaluation; None before.
        counts: int64 (images, 3, K), `ConfusionMatrix.class_counts` of each of its images; None before.

    Raises:
        UserError: if there are no samples, a sample has no mask, or the limit or window batch is below 1.
    """

    def __init__(
        self,
        samples,
        class_names,
        protocol=WHOLE,
        ignore_index=IGNORE_INDEX,
        window_batch=4,
        boundary=True,
        limit=None,
        provenance=None,
        processes=None,
    ):
        self.samples = list(samples)
        self.class_names = tuple(class_names)
        self.protocol = protocol
        self.ignore_index = ignore_index
        self.window_batch = window_batch
        self.boundary = boundary
        self.limit = limit
        self.provenance = dict(provenance or {})
        self.processes = processes or Alone()
        self.image_scores: tuple[ImageScore, ...] = ()
        self.matrix: ConfusionMatrix | None = None
        self.counts: np.ndarray | None = None
        self._check()

    def evaluate(self, predictor, progress=None):
        """Score one predictor.

        Args:
            predictor: `keras.Model` from raw images (B, H, W, C) to probabilities (B, H, W, K).
            progress: called as `progress(done, total)` after every image, e.g. a `progress_bar`; None: silent.

        Returns:
            `Scores` over all images together.

        Raises:
            UserError: if a mask does not fit its image or holds unknown class ids (it names the file), or the predictor
                has another number of classes.
        """
        matrix = ConfusionMatrix(len(self.class_names), self.ignore_index)
        boundary = BoundaryCounts(len(self.class_names), self.ignore_index) if self.boundary else None
        chosen = evenly_spaced(self.samples, self.limit)
        counts = np.zeros((len(chosen), 3, len(self.class_names)), np.int64)
        own = range(self.processes.process, len(chosen), self.processes.processes)
        with ReadAhead(_read, [chosen[number] for number in own]) as pairs:
            for done, number in enumerate(own, start=1):
                # The arrays live no longer than this call: the next image needs the memory.
                single = self._score(predictor, chosen[number], boundary, *pairs.next())
                matrix += single
                counts[number] = single.class_counts()
                if progress is not None:
                    progress(done, len(own))
        for part in (matrix, boundary):
            if part is not None:
                part.counts = self._total(part.counts)
        counts = self._total(counts)
        self.matrix, self.counts = matrix, counts
        iou = iou_of(*counts.swapaxes(0, 1))
        facts = zip(chosen, mean_of_present(iou), iou, strict=True)
        self.image_scores = tuple(
            ImageScore(getattr(sample, "name", str(sample.image)), float(mean), each) for sample, mean, each in facts
        )
        return Scores.from_confusion_matrix(
            matrix,
            self.class_names,
            images=len(chosen),
            images_available=len(self.samples),
            protocol=self.protocol,
            boundary=boundary,
            mean_iou_interval=mean_iou_interval(counts),
            provenance={**self.provenance, **default_provenance(predictor), **self.provenance},
        )

    def _total(self, counts):
        """Sum over the processes."""
        return self.processes.gather(counts).sum(axis=0)

    def _score(self, predictor, sample, boundary, image, mask):
        """Return the confusion matrix of one sample, and add to the boundary counts."""
        if image.shape[:2] != mask.shape:
            raise wrong_size(mask.shape, image.shape[:2], sample.mask, sample.image)
        classes = predict_classes(predictor, image, self.protocol, self.window_batch, len(self.class_names))
        mask = scored_part(mask, self.protocol)
        matrix = ConfusionMatrix(len(self.class_names), self.ignore_index)
        matrix.update(mask, classes, name=sample.mask)
        if boundary is not None:
            boundary.update(mask, classes)
        return matrix

    def _check(self):
        if not self.samples:
            raise UserError("labeled samples to score", "none", "Give a split with masks.")
        for sample in self.samples:
            if sample.mask is None:
                raise UserError("a mask for every sample", f"none for {sample.image}", "Score a labeled split.")
        if self.limit is not None and self.limit < 1:
            raise UserError("a limit of at least 1 image", f"{self.limit}", "Omit it to score all.")
        if self.window_batch < 1:
            raise UserError("a window batch of at least 1", f"{self.window_batch}", "Leave it at 4.")


@dataclass(frozen=True)
class ImageScore:
    """Score of one image.

    Attributes:
        name: name of the sample.
        mean_iou: mean IoU over the classes in its truth or prediction; NaN if all its pixels are ignored.
        iou: IoU per class, float (K,); NaN for absent classes.
    """

    name: str
    mean_iou: float
    iou: np.ndarray


class Alone:
    """The single process of a run that is not distributed."""

    process = 0
    processes = 1

    def gather(self, values):
        """Return the values of all processes, (1, ...)."""
        return values[None]


class ReadAhead:
    """Reader of items in order that decodes the next few in threads; a context manager.

    Args:
        read: item -> tuple of arrays.
        items: what to read.
    """

    def __init__(self, read, items):
        self._read = read
        self._remaining = iter(items)
        self._waiting: deque[Future] = deque()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="decoding")

    def __enter__(self):
        """Return the reader; nothing starts yet."""
        return self

    def __exit__(self, *error):
        """Stop the threads, and cancel what still waits if a prediction failed."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def next(self):
        """Return the next item's arrays, without keeping them."""
        self._fill(1)
        arrays = self._waiting.popleft().result()
        self._fill(min(LOOKAHEAD, LOOKAHEAD_BYTES // max(1, sum(array.nbytes for array in arrays))))
        return arrays

    def _fill(self, number):
        while len(self._waiting) < number:
            item = next(self._remaining, None)
            if item is None:
                return
            self._waiting.append(self._pool.submit(self._read, item))


def evenly_spaced(items, limit):
    """Return at most `limit` items (None: all), spread evenly over the list, in its order."""
    if limit is None or limit >= len(items):
        return list(items)
    # The middle of each of `limit` equal stretches: neighbors in a list are often neighboring frames of a video.
    return [items[(2 * i + 1) * len(items) // (2 * limit)] for i in range(limit)]


def progress_bar(verb: str) -> Callable[[int, int], None]:
    """Make a function of `(done, total)` that counts images on stderr, with their rate, silent unless it is a terminal.

    Args:
        verb: what happens to the images, e.g. "scored".
    """
    start, calls = time.monotonic(), 0

    def show(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if sys.stderr.isatty():
            show_progress(f"{done} of {total} {verb}, {rate(calls, time.monotonic() - start)}", last=done == total)

    return show


def rate(count: int, seconds: float) -> str:
    """Say how fast images are dealt with: "2.5 images/s", or "4.0 s an image"."""
    if count > seconds:
        return f"{count / max(seconds, 1e-9):.1f} images/s"
    return f"{seconds / max(count, 1):.1f} s an image"


def _read(sample):
    """Read image and mask; the mask first, while no image takes memory beside its larger int32 version."""
    mask = sample.read_mask()
    # As bytes, ids take a quarter of the memory.
    if mask.size and np.issubdtype(mask.dtype, np.integer) and mask.min() >= 0 and mask.max() <= 255:
        mask = mask.astype(np.uint8)
    return sample.read_image(), mask

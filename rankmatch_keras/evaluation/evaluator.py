"""Scoring a predictor on a list of labeled samples."""

import sys
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.boundary import BoundaryCounts
from rankmatch_keras.evaluation.inference import WHOLE, predict_classes
from rankmatch_keras.evaluation.metrics import ConfusionMatrix, mean_iou_interval
from rankmatch_keras.evaluation.scores import Scores, default_provenance
from rankmatch_keras.evaluation.windows import scored_part

THREADS = 2
LOOKAHEAD = 4  # items waiting at most
LOOKAHEAD_BYTES = 1 << 28  # what they may take together, by the size of the latest: none waits beside a huge one


class Evaluator:
    """Predicts every sample by an evaluation protocol and sums one confusion matrix over the set.

    The next images are decoded in the background while one is predicted, and nothing but counts is kept.

    Args:
        samples: labelled samples: objects with `read_image()`, `read_mask()` and the sources `image`, `mask`.
        class_names: names of the K classes, in the order of their ids.
        protocol: `data.Protocol`: how each image is shown to the network.
        ignore_index: mask value of the pixels to leave out.
        window_batch: how many windows of equal size are predicted at once.
        boundary: whether boundary IoU is measured too.
        limit: score this many samples only, spread evenly over the list; None: all. The scores tell.
        provenance: what the scores should be traceable to (set, split, seed, ...), copied into them in front of
            weights hash, backend and versions.
        processes: anything with `process`, `processes` and `gather(array)`, as `backend.distribution.Distribution`:
            each process scores every so many-th image, counts are added up, and all get the same scores. All must
            call `evaluate`. None: this process scores all.

    Raises:
        UserError: without samples, for a sample without mask, or for a limit or window batch below 1.
    """

    def __init__(
        self,
        samples,
        class_names,
        protocol=WHOLE,
        ignore_index=255,
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
        self._check()

    def evaluate(self, predictor, progress=None):
        """Scores one predictor.

        Args:
            predictor: ``keras.Model`` from raw images (B, H, W, C) to probabilities (B, H, W, K).
            progress: called as ``progress(done, total)`` after every image; None: silent.

        Returns:
            `Scores` over all images together.

        Raises:
            UserError: naming the file, if a mask does not fit its image or holds unknown class ids; or if the
                predictor has another number of classes.
        """
        matrix = ConfusionMatrix(len(self.class_names), self.ignore_index)
        boundary = BoundaryCounts(len(self.class_names), self.ignore_index) if self.boundary else None
        chosen = evenly_spaced(self.samples, self.limit)
        counts = np.zeros((len(chosen), 3, len(self.class_names)), np.int64)
        own = range(self.processes.process, len(chosen), self.processes.processes)
        with ReadAhead(_read, [chosen[number] for number in own]) as pairs:
            for done, number in enumerate(own, start=1):
                # Arrays of one image live no longer than this call, so that there is room to decode the next.
                single = self._score(predictor, chosen[number], boundary, *pairs.next())
                matrix += single
                counts[number] = single.class_counts()
                if progress is not None:
                    progress(done, len(own))
        for part in (matrix, boundary):
            if part is not None:
                part.counts = self._total(part.counts)
        counts = self._total(counts)
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
        """The sum over the processes."""
        return self.processes.gather(counts).sum(axis=0)

    def _score(self, predictor, sample, boundary, image, mask):
        """The confusion matrix of one sample; adds to the boundary counts."""
        if image.shape[:2] != mask.shape:
            raise UserError(
                "a mask of its image's size",
                f"mask {mask.shape} in {sample.mask} for image {image.shape[:2]} in {sample.image}",
                "Pair each image with its own mask.",
            )
        classes = predict_classes(predictor, image, self.protocol, self.window_batch, len(self.class_names))
        mask = scored_part(mask, self.protocol)
        matrix = ConfusionMatrix(len(self.class_names), self.ignore_index)
        matrix.update(mask, classes, name=sample.mask)
        if boundary is not None:
            boundary.update(mask, classes)
        return matrix

    def _check(self):
        if not self.samples:
            raise UserError("labelled samples to score", "none", "Give a split with masks.")
        for sample in self.samples:
            if sample.mask is None:
                raise UserError("a mask for every sample", f"none for {sample.image}", "Score a labelled split.")
        if self.limit is not None and self.limit < 1:
            raise UserError("a limit of at least 1 image", f"{self.limit}", "Leave it out to score all.")
        if self.window_batch < 1:
            raise UserError("a window batch of at least 1", f"{self.window_batch}", "Leave it at 4.")


class Alone:
    """The one process where nobody else scores."""

    process = 0
    processes = 1

    def gather(self, values):
        """The values of all processes: (1, ...)."""
        return values[None]


class ReadAhead:
    """Reads items in order, with the next few under way in threads; a context manager.

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
        """Starts nothing yet."""
        return self

    def __exit__(self, *error):
        """Ends the threads, at once where a prediction failed half-way."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def next(self):
        """The next item's arrays; nothing here keeps them."""
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
    """At most ``limit`` of the items, spread evenly over the list and in its order (None: all)."""
    if limit is None or limit >= len(items):
        return list(items)
    # The middle of each of `limit` equal stretches: neighbours in a list are often neighbours in a film.
    return [items[(2 * i + 1) * len(items) // (2 * limit)] for i in range(limit)]


def progress_bar(verb: str) -> Callable[[int, int], None]:
    """Return a function of `(done, total)` that counts on stderr, silent unless that is a terminal.

    Args:
        verb: what happens to the items, e.g. "scored".
    """

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            end = "\n" if done == total else ""
            print(f"\r{done} of {total} {verb}", end=end, file=sys.stderr, flush=True)

    return show


def _read(sample):
    """Image and mask of a sample; the mask first, while there is no image beside its larger int32 version."""
    mask = sample.read_mask()
    # Ids as bytes where they fit: a quarter of the memory.
    if mask.size and np.issubdtype(mask.dtype, np.integer) and mask.min() >= 0 and mask.max() <= 255:
        mask = mask.astype(np.uint8)
    return sample.read_image(), mask

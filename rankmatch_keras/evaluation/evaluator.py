"""Scores a predictor on a list of labelled samples."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice

import numpy as np

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.inference import predict_probabilities
from rankmatch_keras.evaluation.metrics import ConfusionMatrix
from rankmatch_keras.evaluation.scores import WHOLE_IMAGE, Scores

DECODING_THREADS = 2
LOOKAHEAD = 4  # decoded images waiting at most; keeps memory flat


class Evaluator:
    """Predicts every sample as a whole image and sums one confusion matrix over the set.

    The next images are decoded in the background while one is predicted, and nothing but the counts is kept.

    Args:
        samples: labelled samples: objects with the paths ``image`` and ``mask``.
        class_names: names of the K classes, in the order of their ids.
        read_image: path -> uint8 (H, W, C); None: `rankmatch_keras.data.decoding.read_image`.
        read_mask: path -> integer (H, W); None: `rankmatch_keras.data.decoding.read_mask`.
        ignore_index: mask value of the pixels to leave out.
        limit: score this many samples only, spread evenly over the list; None: all. The scores tell.
        provenance: what the scores should be traceable to (split, seed, crop, ...), copied into them.

    Raises:
        UserError: without samples, for a sample without mask, or for a limit below 1.
    """

    def __init__(
        self,
        samples,
        class_names,
        read_image=None,
        read_mask=None,
        ignore_index=255,
        limit=None,
        provenance=None,
    ):
        self.samples = list(samples)
        self.class_names = tuple(class_names)
        self.read_image = read_image
        self.read_mask = read_mask
        self.ignore_index = ignore_index
        self.limit = limit
        self.provenance = dict(provenance or {})
        self._check()

    def evaluate(self, predictor, progress=None):
        """Scores one predictor.

        Args:
            predictor: ``keras.Model`` from raw images (1, H, W, C) to probabilities (1, H, W, K).
            progress: called as ``progress(done, total)`` after every image; None: silent.

        Returns:
            `Scores` over all images together.

        Raises:
            UserError: naming the file, if a mask does not fit its image or holds unknown class ids; or if the
                predictor has another number of classes.
        """
        matrix = ConfusionMatrix(len(self.class_names), self.ignore_index)
        chosen = spread(self.samples, self.limit)
        # Closing stops the decoding threads at once where a prediction fails half-way.
        with closing(_read_ahead(self._reader(), chosen)) as pairs:
            for done, (sample, (image, mask)) in enumerate(zip(chosen, pairs, strict=True), start=1):
                self._score(matrix, predictor, sample, image, mask)
                if progress is not None:
                    progress(done, len(chosen))
        return Scores.from_confusion_matrix(
            matrix,
            self.class_names,
            images=len(chosen),
            images_available=len(self.samples),
            mode=WHOLE_IMAGE,
            provenance=self.provenance,
        )

    def _score(self, matrix, predictor, sample, image, mask):
        if image.shape[:2] != mask.shape:
            raise UserError(
                "a mask of its image's size",
                f"mask {mask.shape} in {sample.mask} for image {image.shape[:2]} in {sample.image}",
                "Pair each image with its own mask.",
            )
        probabilities = predict_probabilities(predictor, image)
        if probabilities.shape[-1] != len(self.class_names):
            raise UserError(
                f"a predictor of {len(self.class_names)} classes",
                f"one of {probabilities.shape[-1]}",
                "Score a model with the class names that it was trained on.",
            )
        matrix.update(mask, np.argmax(probabilities, axis=-1), name=sample.mask)

    def _reader(self):
        """Sample -> (image, mask), with the package's own decoding where no reader was given."""
        read_image, read_mask = self.read_image, self.read_mask
        if read_image is None or read_mask is None:
            from rankmatch_keras.data import decoding

            read_image = read_image or decoding.read_image
            read_mask = read_mask or decoding.read_mask
        return lambda sample: (read_image(sample.image), read_mask(sample.mask))

    def _check(self):
        if not self.samples:
            raise UserError("labelled samples to score", "none", "Give a split with masks.")
        for sample in self.samples:
            if sample.mask is None:
                raise UserError("a mask for every sample", f"none for {sample.image}", "Score a labelled split.")
        if self.limit is not None and self.limit < 1:
            raise UserError("a limit of at least 1 image", f"{self.limit}", "Leave it out to score all.")


def spread(items, limit):
    """At most ``limit`` of the items, spread evenly over the list and in its order (None: all)."""
    if limit is None or limit >= len(items):
        return list(items)
    # The middle of each of `limit` equal stretches: neighbours in a list are often neighbours in a film.
    return [items[(2 * i + 1) * len(items) // (2 * limit)] for i in range(limit)]


def _read_ahead(read, items):
    """Yields ``read(item)`` in order, with the next few under way in threads."""
    pool = ThreadPoolExecutor(DECODING_THREADS, thread_name_prefix="decoding")
    remaining = iter(items)
    try:
        waiting = deque(pool.submit(read, item) for item in islice(remaining, LOOKAHEAD))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(read, item) for item in islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(wait=True, cancel_futures=True)

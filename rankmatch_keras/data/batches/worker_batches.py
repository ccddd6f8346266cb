"""Training batches by worker processes, read ahead; order and contents do not depend on the workers."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future

import keras
import numpy as np

from rankmatch_keras.data.batches.sample_order import SampleOrder, require_masks
from rankmatch_keras.data.batches.settings import BatchSettings, Normalization, require_same_format
from rankmatch_keras.data.batches.worker_examples import WorkerExamples
from rankmatch_keras.data.batches.worker_processes import Pool
from rankmatch_keras.data.sets.pixel_statistics import image_format
from rankmatch_keras.data.sets.samples import Sample
from rankmatch_keras.data.views.examples import Example
from rankmatch_keras.data.views.sampling import LABELED, UNLABELED

# Batches made while one is used.
AHEAD = 2


class WorkerBatches(keras.utils.PyDataset):
    """Training batches as a Keras data set: `fit` takes it on every backend, `for batch in batches` works too.

    Item i is batch number `start_step + i`, a flat dict of arrays. It is made on request, and the next ones are begun.
    The worker processes start with the first batch; `close` ends them, and so does the end of the program or of the
    last reference. Keras' own workers are not used: they would be forks of a process with threads.

    Args:
        labeled: samples with masks.
        unlabeled: samples, whose masks are read only as pseudo-labels; None or empty for supervised training.
        settings: the checked arguments of `training_batches`.

    Raises:
        UserError: as `training_batches`; while batches are made, if a file cannot be read.
    """

    def __init__(self, labeled: Sequence[Sample], unlabeled: Sequence[Sample] | None, settings: BatchSettings):
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=AHEAD)
        require_masks([*labeled, *(unlabeled or ())] if settings.pseudo_labels else labeled)
        formats = [image_format(samples) for samples in (labeled, unlabeled) if samples]
        require_same_format(formats[0], formats[-1])
        self.settings = settings
        self._streams = [(True, settings.labeled, SampleOrder(labeled, (settings.seed, LABELED)))]
        if unlabeled:
            self._streams.append((False, settings.unlabeled, SampleOrder(unlabeled, (settings.seed, UNLABELED))))
        self._make = WorkerExamples(
            formats[0],
            Normalization.of(settings.normalization, formats[0].channels),
            settings.views(formats[0]),
            settings.pseudo_labels,
            settings.augmentation,
        )
        self._pool: Pool | None = None
        self._pending: dict[int, list[Future]] = {}
        self._lock = threading.Lock()

    @property
    def num_batches(self) -> int | None:
        """Number of batches; None if they do not end."""
        return self.settings.steps

    def __len__(self) -> int:
        if self.settings.steps is None:
            raise TypeError(
                "These batches do not end: give `steps` to `training_batches`, or `steps_per_epoch` to `fit`."
            )
        return self.settings.steps

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        index = 0
        while self.settings.steps is None or index < self.settings.steps:
            yield self[index]
            index += 1

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Return batch number `start_step + index`.

        Raises:
            IndexError: there are no more batches.
            UserError: a file cannot be read, or a worker process was killed.
        """
        if index < 0 or (self.settings.steps is not None and index >= self.settings.steps):
            raise IndexError(f"Batch {index} of {self.settings.steps}.")
        # TensorFlow may ask from a thread of its own while another still reads ahead.
        with self._lock:
            examples = self._begin(index) if self.settings.parallel_calls else self._examples(index)
        return _stack(examples)

    def close(self) -> None:
        """End the worker processes; they start again with the next batch."""
        with self._lock:
            pool, self._pool, self._pending = self._pool, None, {}
        if pool is not None:
            pool.close()

    def _begin(self, index: int) -> Iterator[Example]:
        """Begin a batch and those after it, and forget all others."""
        if self._pool is None:
            self._pool = Pool(self._make, self.settings.parallel_calls)
        end = index + 1 + AHEAD if self.settings.steps is None else min(index + 1 + AHEAD, self.settings.steps)
        for number in self._pending.keys() - range(index, end):
            for future in self._pending.pop(number):
                future.cancel()
        for number in range(index, end):
            if number not in self._pending:
                self._pending[number] = [self._pool.submit(*job) for job in self._jobs(number)]
        return (future.result() for future in self._pending.pop(index))

    def _examples(self, index: int) -> Iterator[Example]:
        return (self._make(*job) for job in self._jobs(index))

    def _jobs(self, index: int) -> Iterator[tuple[bool, int, Sample]]:
        """Yield what makes batch number `start_step + index`: single samples, so that no worker holds the lists."""
        for labeled, rows, order in self._streams:
            for number in rows.numbers(self.settings.start_step + index):
                yield labeled, number, order[number]


def _stack(examples: Iterator[Example]) -> dict[str, np.ndarray]:
    batch: dict[str, list] = {}
    for example in examples:
        for name, value in example.items():
            batch.setdefault(name, []).append(value)
    return {name: np.stack(values) for name, values in batch.items()}

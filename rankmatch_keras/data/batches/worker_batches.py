"""Training batches by worker processes, read ahead, in an order and with contents that do not depend on the workers."""

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from typing import Any

import keras
import numpy as np

from rankmatch_keras.data.batches.sample_order import LABELED, UNLABELED, SampleOrder, require_masks
from rankmatch_keras.data.batches.settings import BatchSettings, Scaling, require_alike
from rankmatch_keras.data.batches.worker_examples import Examples
from rankmatch_keras.data.batches.worker_processes import Pool
from rankmatch_keras.data.sets.pixel_statistics import image_format
from rankmatch_keras.data.sets.samples import Sample

# Batches that are made while one is used.
AHEAD = 2


class WorkerBatches(keras.utils.PyDataset):
    """Training batches as a Keras data set: `fit` takes it on every backend, `for batch in batches` works too.

    Item i is batch number `start_step + i`, a flat dict of arrays. It is made when it is asked for, and the next ones
    are begun. The worker processes start with the first batch; `close` ends them, and so does the end of the program or
    of the last reference. Keras' own workers are not used: they would be forks of a process with threads.

    Args:
        labeled: samples with masks.
        unlabeled: samples, whose masks are read as pseudo-labels alone; None or empty for supervised training.
        plan: the checked arguments of `training_batches`.

    Raises:
        UserError: as `training_batches`; and while batches are made, where a file cannot be read.
    """

    def __init__(self, labeled: Sequence[Sample], unlabeled: Sequence[Sample] | None, plan: BatchSettings):
        super().__init__(workers=1, use_multiprocessing=False, max_queue_size=AHEAD)
        require_masks([*labeled, *(unlabeled or ())] if plan.pseudo_labels else labeled)
        formats = [image_format(samples) for samples in (labeled, unlabeled) if samples]
        require_alike(formats[0], formats[-1])
        self.plan = plan
        self._streams = [(True, plan.labeled, SampleOrder(labeled, (plan.seed, LABELED)))]
        if unlabeled:
            self._streams.append((False, plan.unlabeled, SampleOrder(unlabeled, (plan.seed, UNLABELED))))
        self._make = Examples(
            formats[0],
            Scaling.of(plan.normalization, formats[0].channels),
            plan.crop,
            plan.scale,
            plan.seed,
            plan.strong_views,
            plan.strong,
            plan.second_view,
            plan.pseudo_labels,
        )
        self._pool: Pool | None = None
        self._pending: dict[int, list[Future]] = {}
        self._lock = threading.Lock()

    @property
    def num_batches(self) -> int | None:
        """How many batches there are; None where they do not end."""
        return self.plan.steps

    def __len__(self) -> int:
        if self.plan.steps is None:
            raise TypeError(
                "These batches do not end: give `steps` to `training_batches`, or `steps_per_epoch` to `fit`."
            )
        return self.plan.steps

    def __bool__(self) -> bool:
        return True

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        index = 0
        while self.plan.steps is None or index < self.plan.steps:
            yield self[index]
            index += 1

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        """Return batch number `start_step + index`.

        Raises:
            IndexError: there are no more batches.
            UserError: a file cannot be read, or a worker process was killed.
        """
        if index < 0 or (self.plan.steps is not None and index >= self.plan.steps):
            raise IndexError(f"Batch {index} of {self.plan.steps}.")
        # TensorFlow may ask from a thread of its own while another still reads ahead.
        with self._lock:
            examples = self._begun(index) if self.plan.parallel_calls else self._examples(index)
        return self._stacked(examples)

    def close(self) -> None:
        """End the worker processes; they start again with the next batch."""
        with self._lock:
            pool, self._pool, self._pending = self._pool, None, {}
        if pool is not None:
            pool.close()

    def _begun(self, index: int) -> Iterator[dict[str, np.ndarray]]:
        """Begin a batch and those after it, and forget all others."""
        if self._pool is None:
            self._pool = Pool(self._make, self.plan.parallel_calls)
        end = index + 1 + AHEAD if self.plan.steps is None else min(index + 1 + AHEAD, self.plan.steps)
        for number in self._pending.keys() - range(index, end):
            for future in self._pending.pop(number):
                future.cancel()
        for number in range(index, end):
            if number not in self._pending:
                self._pending[number] = [self._pool.submit(*job) for job in self._jobs(number)]
        return (future.result() for future in self._pending.pop(index))

    def _examples(self, index: int) -> Iterator[dict[str, np.ndarray]]:
        return (self._make(*job) for job in self._jobs(index))

    def _jobs(self, index: int) -> Iterator[tuple[bool, int, Sample]]:
        """What makes batch number `start_step + index`: single samples, so that no worker holds the lists."""
        for with_mask, rows, stream in self._streams:
            for number in rows.numbers(self.plan.start_step + index):
                yield with_mask, number, stream[number]

    def _stacked(self, examples: Iterator[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        batch: dict[str, Any] = {}
        for example in examples:
            for name, value in example.items():
                batch.setdefault(name, []).append(value)
        return {name: np.stack(values) for name, values in batch.items()}


def make_batches(labeled: Sequence[Sample], unlabeled: Sequence[Sample] | None, plan: BatchSettings) -> WorkerBatches:
    """Make the training batches; see `WorkerBatches`."""
    return WorkerBatches(labeled, unlabeled, plan)

"""A run put together: what it trains and what it trains on."""

import dataclasses
import time
from typing import Any

import keras

from rankmatch_keras import data, methods, models
from rankmatch_keras.backend.distribution import running
from rankmatch_keras.data.views.own import OwnAugmentation
from rankmatch_keras.layers import ChannelNormalization
from rankmatch_keras.training.duration import PROVISIONAL, Duration, chosen_duration
from rankmatch_keras.training.hierarchies import parents_in
from rankmatch_keras.training.inputs import build_batches, class_weights_of, normalization_of
from rankmatch_keras.training.model import build_method, build_optimizer, build_segmenter
from rankmatch_keras.training.options import Options
from rankmatch_keras.training.rehearsal import agreed, rehearse


@dataclasses.dataclass(frozen=True)
class Assembly:
    """The parts of a run on its data.

    Attributes:
        options: the run's options.
        dataset: its data.
        split: which images are labeled.
        augmentation: the person's own, or `None`.
        normalization: the model's own.
        class_weights: weights of the classes in the losses; `None`: all equal.
    """

    options: Options
    dataset: data.SegmentationData
    split: data.Split
    augmentation: OwnAugmentation | None
    normalization: ChannelNormalization
    class_weights: tuple[float, ...] | None

    @classmethod
    def of(
        cls,
        options: Options,
        dataset: data.SegmentationData,
        split: data.Split,
        augmentation: OwnAugmentation | None = None,
    ) -> "Assembly":
        """Measure what the data decide."""
        normalization = normalization_of(options, split)
        return cls(options, dataset, split, augmentation, normalization, class_weights_of(options, dataset, split))

    def make(self, duration: Duration) -> tuple[methods.Method, keras.Model]:
        """Make the compiled method and its predictor."""
        options = self.options
        with running().scope():
            segmenter = build_segmenter(self.dataset, self.split, options)
            method = build_method(segmenter, options, duration.steps, self.class_weights, parents_in(self.dataset))
            slices = data.image_format(self.split.labeled).slices
            predictor = models.predictor(method.evaluated, self.normalization, options.output_stride, slices=slices)
            method.compile(build_optimizer(options, duration.steps, duration.steps_begun_with), options.jit_compile)
        running().prepare(method, options.sync_batch_norm)
        return method, predictor

    def batches(self, method: methods.Method, step: int = 0) -> Any:
        """Make this process's part of the batches of a method from an optimizer step on."""
        return build_batches(method, self.split, self.normalization, self.options, step, self.augmentation)

    def with_duration(self, begin: float) -> "Assembly":
        """Fill in the duration where the options leave it open.

        Args:
            begin: when the run began, by `time.perf_counter`.
        """
        options = chosen_duration(
            self.options,
            max(len(self.split.labeled), len(self.split.unlabeled)),
            measure=lambda: rehearse(self.options, self.dataset, lambda: self.make(PROVISIONAL), self.batches),
            elapsed=lambda: agreed([time.perf_counter() - begin])[0],
        )
        return dataclasses.replace(self, options=options)

"""Base of all methods: a segmenter, named loss terms, and the training step of the running backend."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import keras
from keras import ops

from rankmatch_keras import backend
from rankmatch_keras.backend.replicas import replicas
from rankmatch_keras.errors import UserError
from rankmatch_keras.layers.base import ConfigFromArguments, argument_names
from rankmatch_keras.layers.clock import Clock
from rankmatch_keras.losses import SupervisedLoss
from rankmatch_keras.methods.passes import Passes
from rankmatch_keras.models.ema import EMATeacher
from rankmatch_keras.models.loading import start_from
from rankmatch_keras.models.segmenter import class_count

LABELED = ("labeled_image", "labeled_mask")
NETWORKS = ("segmenter", "second")


def joined_when_replicated(stages: tuple[Callable, ...]) -> tuple[Callable, ...]:
    """Return the stages as a single one where several replicas run; for stages that do not use all weights.

    PyTorch's replicas exchange the gradients of all weights in the last stage.
    """

    def stage(batch, carry):
        terms: dict[str, Any] = {}
        for part in stages:
            found, carry = part(batch, carry)
            terms |= found
        return terms, carry

    return stages if replicas().count == 1 else (stage,)


class Method(ConfigFromArguments, keras.Model):
    """A way to train a segmenter: forward passes, loss terms and their weights.

    A subclass names its terms in `term_weights` and computes them in its `stages`. `fit` takes batches as
    `data.training_batches` makes them and logs the running mean over the epoch of every term, by its name.

    A stage is a function `(batch, carry) -> (terms, carry)`: it runs some forward passes and returns the terms that
    follow from them, and what the next stage needs of them, without gradient. As no gradient connects two stages, the
    gradient of the loss is the sum of theirs, and a training step may run the backward pass of a stage, and free its
    activations, before it starts the next one.

    The options from `labeled_loss` on go beyond the articles and are off by default.

    Args:
        segmenter: the network to train, see `models.Segmenter`.
        ignore_index: mask value of pixels that are left out.
        ohem: hard example mining of the supervised loss, see `losses.SupervisedLoss`.
        labeled_loss: the supervised loss: `"ce"`, `"dice"`, `"ce+dice"` or `"focal"`, see `losses.SupervisedLoss`.
        class_weights: weights of the K classes in it; `None`: all equal.
        normalize: whether labeled, weak and strong views share batch statistics as published (`"joint"`) or not
            (`"separate"`), see `Passes`.
        statistics: whose passes move the running statistics, `"labeled"`, `"labeled+weak"` or `"all"`, see `Passes`.
        average: decay of the EMA of the weights that is evaluated and saved; `None`: the last weights are.
        unlabeled_weight: factor of all terms but the supervised ones, at least 0.
        unlabeled_ramp: fraction of the run, 0 to 1, over which that factor grows from 0, counted from the first step
            with unlabeled images.
        total_steps: batches of the run; needed with `unlabeled_ramp`.

    Raises:
        ValueError: an option is out of range.
    """

    term_weights: dict[str, float]
    diagnostics: ClassVar[tuple[str, ...]] = ()
    required: tuple[str, ...] = LABELED
    # The output of a segmenter that labels teach.
    labeled_output: ClassVar[str] = "logits"
    # How the strong views of 8-bit color images are made, see `data.policies`.
    strong_policy: ClassVar[str] = "jitter"
    # Named sets of options, to be used as `RankMatch(segmenter, **RankMatch.presets["reference"])`.
    presets: ClassVar[dict[str, dict[str, Any]]] = {}

    def __init__(
        self,
        segmenter,
        *,
        ignore_index: int = 255,
        ohem: tuple[float, int] | None = None,
        labeled_loss: str = "ce",
        class_weights: tuple[float, ...] | None = None,
        normalize: str = "joint",
        statistics: str = "all",
        average: float | None = None,
        unlabeled_weight: float = 1.0,
        unlabeled_ramp: float = 0.0,
        total_steps: int | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        if not (hasattr(segmenter, "encode") and hasattr(segmenter, "decode")):
            raise UserError(
                "a segmenter, whose encoder and decoder are networks of their own",
                f"a {type(segmenter).__name__} without them",
                "Make one by models.deeplab_v3_plus(backbone, classes) or models.Segmenter(encoder, decoder).",
            )
        if unlabeled_weight < 0.0 or not 0.0 <= unlabeled_ramp <= 1.0:
            raise ValueError(
                "Expected unlabeled_weight of at least 0 and unlabeled_ramp from 0 to 1. "
                f"Received: {unlabeled_weight} and {unlabeled_ramp}"
            )
        if unlabeled_ramp and total_steps is None:
            raise ValueError("unlabeled_ramp is a fraction of the run. Expected total_steps. Received: none")
        if class_weights is not None and len(class_weights) != class_count(segmenter):
            raise ValueError(
                f"Expected a weight for each of {class_count(segmenter)} classes. Received: {len(class_weights)}"
            )
        self.segmenter = segmenter
        self.ignore_index = ignore_index
        self.ohem = ohem
        self.labeled_loss = labeled_loss
        self.class_weights = class_weights
        self.normalize = normalize
        self.statistics = statistics
        self.average = average
        self.unlabeled_weight = unlabeled_weight
        self.unlabeled_ramp = unlabeled_ramp
        self.total_steps = total_steps
        self.supervised_loss = SupervisedLoss(ignore_index, ohem, labeled_loss, class_weights)
        self.passes = Passes(normalize, statistics)
        self.averaged = None if average is None else EMATeacher(segmenter, average)
        self.ramp_clock = Clock(total_steps) if unlabeled_ramp and total_steps is not None else None
        self.labels_only = False
        self._run_step = backend.step.train_step
        self.trackers: dict[str, keras.metrics.Mean] = {}
        self._checked = False
        self.built = True

    @property
    def strong_views(self) -> int:
        """How many strong views of each unlabeled image it needs, 0 to 2."""
        return sum(f"strong_image_{number}" in self.required for number in (1, 2))

    @property
    def students(self) -> tuple:
        """Segmenters in training."""
        return (self.segmenter,)

    @property
    def teachers(self) -> tuple:
        """Segmenters that follow the students: those that label, and the EMA that is evaluated."""
        return () if self.averaged is None else (self.averaged.network,)

    @property
    def heads(self) -> tuple:
        """Built layers in training beside the segmenters, at the learning rate of the head."""
        return ()

    @property
    def evaluated(self):
        """Segmenter that predicts after training: the EMA of the weights where there is one."""
        return self.segmenter if self.averaged is None else self.averaged.network

    @property
    def batches_per_step(self) -> int:
        """Number of batches whose gradients make up one optimizer step."""
        # There is no optimizer before `compile`.
        return getattr(getattr(self, "optimizer", None), "gradient_accumulation_steps", None) or 1

    def compile(self, optimizer="sgd", jit_compile="auto", **kwargs):
        """Set the optimizer; the losses are the method's own.

        Args:
            optimizer: a Keras optimizer or its name. The head of `training.SGD(head_multiplier=...)` is the segmenter's
                decoder.
            jit_compile: whether XLA compiles the step; `"auto"` decides per backend and device.
            **kwargs: other arguments of `keras.Model.compile`, except `loss`.

        Raises:
            ValueError: `loss` is given.
        """
        if "loss" in kwargs or "loss_weights" in kwargs:
            raise ValueError(f"{type(self).__name__} brings its own losses: compile it without `loss`.")
        if jit_compile == "auto":
            jit_compile = backend.step.default_jit_compile()
        optimizer = keras.optimizers.get(optimizer)
        if hasattr(optimizer, "set_head"):
            heads = [*(student.decoder for student in self.students), *self.heads]
            optimizer.set_head([variable for head in heads for variable in head.trainable_variables])
        super().compile(optimizer=optimizer, jit_compile=jit_compile, **kwargs)
        if not self.trackers:
            names = ("loss", *self.term_weights, *self.diagnostics)
            self.trackers = {name: keras.metrics.Mean(name=name) for name in names}
        # Built here so that a resumed run finds variables to restore before its first step.
        self.optimizer.build(self.trainable_variables)
        # Not `self.optimizer`: Keras may have wrapped it for loss scaling.
        backend.step.prepare((*self.students, *self.teachers, *self.heads), optimizer)

    def stages(self) -> tuple[Callable, ...]:
        """Return the stages of a step in order, see the class."""
        raise NotImplementedError

    def plan(self) -> tuple[Callable, ...]:
        """Return what a step runs: the stages, or that of the labels alone, the first one after `begin_step`."""
        first, *others = (self.labels_stage,) if self.labels_only else self.stages()

        def begin(batch, carry):
            self.begin_step()
            return first(batch, carry)

        return (begin, *others)

    def begin_step(self):
        """Move the EMAs towards the students, and count the step."""
        self.update_teacher()
        if self.averaged is not None:
            self.averaged.update(self.segmenter, self.batches_per_step)
        if self.ramp_clock is not None and not self.labels_only:
            self.ramp_clock.tick()

    def update_teacher(self):
        """Move the teacher, if the method has one, towards the student; called at the beginning of each step."""

    def use_labels_only(self, labels_only: bool = True):
        """Train on labeled images alone from the next `fit` on, or on all of them again: a burn-in.

        Batches need no unlabeled images meanwhile. EMAs follow, and all variables stay as they are.
        """
        if labels_only != self.labels_only:
            self.labels_only = labels_only
            self._checked = False
            self.train_function = None  # compiled for the other kind of step

    def start_again(self, path):
        """Continue from the network of a file that `Checkpoint` saved; a method with two students stays as it is."""
        if len(self.students) == 1:
            start_from(self.segmenter, path)
            if self.averaged is not None:
                self.averaged.update(self.segmenter, restart=True)

    def labels_stage(self, batch, carry):
        """Compute the supervised terms of the students in a pass of labeled images alone."""
        names = [name for name in self.term_weights if name.startswith("supervised")]
        terms = {}
        for name, student in zip(names, self.students, strict=False):
            logits = self.passes(student, labeled=batch["labeled_image"])[self.labeled_output]
            terms[name] = self.supervised_loss(batch["labeled_mask"], logits)
        # Replicas exchange the gradients of all weights, so that each must have one.
        unused = [ops.sum(variable) for head in self.heads for variable in head.trainable_variables]
        terms[names[0]] += 0.0 * sum(unused)
        return terms, None

    def compute_terms(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Compute every loss term of `term_weights` and every value of `diagnostics` for one batch."""
        terms: dict[str, Any] = {}
        carry = None
        for stage in self.plan():
            found, carry = stage(batch, carry)
            terms |= found
        return terms

    def weigh(self, terms: Mapping[str, Any]):
        """Return the weighted sum of the given terms: a stage's part of the loss, or all of it."""
        labeled: list[Any] = []
        unlabeled: list[Any] = []
        for name, weight in self.term_weights.items():
            if name in terms:
                (labeled if name.startswith("supervised") else unlabeled).append(weight * terms[name])
        return sum(labeled) + self._unlabeled_factor() * sum(unlabeled) if unlabeled else sum(labeled)

    def _unlabeled_factor(self):
        if self.ramp_clock is None:
            return self.unlabeled_weight
        return self.unlabeled_weight * self.ramp_clock.ramp(0.0, self.unlabeled_ramp)

    def compute_losses(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Compute `{"loss": weighted sum, term: scalar, ...}` for one training batch, with gradient.

        Args:
            batch: flat dict as `data.training_batches` makes it: channels-last images float32, masks int32.

        Returns:
            Float32 scalars by name; `"loss"` is what the optimizer minimizes.

        Raises:
            ValueError: the batch lacks an entry that the method needs.
        """
        self.check(batch)
        terms = self.compute_terms(batch)
        return {"loss": self.weigh(terms), **terms}

    def use_step(self, run_step: Callable):
        """Replace the backend's `train_step` by another function of method and batch, e.g. a distribution engine's."""
        self._run_step = run_step

    def train_step(self, *args):
        """Run one optimizer step as `backend.step.train_step` does, or what `use_step` put in its place."""
        return self._run_step(self, *args)

    def log(self, losses: Mapping[str, Any]) -> dict[str, Any]:
        """Add the step's values to the running means and return those."""
        for name, value in losses.items():
            self.trackers[name].update_state(value)
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    def call(self, inputs, training=None):
        """Return the logits `(B, H, W, K)` of normalized images `(B, H, W, C)`, or of a batch's labeled images."""
        images = inputs["labeled_image"] if isinstance(inputs, Mapping) else inputs
        return self.segmenter(images, training=training)["logits"]

    def check(self, batch: Mapping[str, Any]):
        """Check that the first batch has the entries that the method needs.

        Raises:
            ValueError: one is missing.
        """
        if self._checked:
            return
        required = LABELED if self.labels_only else self.required
        missing = [name for name in required if name not in batch]
        if missing:
            raise ValueError(
                f"{type(self).__name__} needs a batch with {list(required)}, as data.training_batches makes it. "
                f"Received: {sorted(batch)}; missing: {missing}"
            )
        self._checked = True

    def get_config(self):
        """Return the constructor's arguments."""
        return {**self.arguments(), "name": self.name}


def options_of(kind: type[Method]) -> set[str]:
    """Return the names of the options that a method's constructor takes, those of its bases included."""
    return {*argument_names(kind)} - {*NETWORKS}

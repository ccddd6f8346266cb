"""Base of all methods: a segmenter, named loss terms, and the training step of the running backend."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import keras

from rankmatch_keras import backend
from rankmatch_keras.backend.replicas import replicas
from rankmatch_keras.layers.base import ConfigFromArguments, argument_names
from rankmatch_keras.losses import SupervisedLoss

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

    Args:
        segmenter: the network to train, see `models.Segmenter`.
        ignore_index: mask value of pixels that are left out.
        ohem: hard example mining of the supervised loss, see `losses.SupervisedLoss`.
    """

    term_weights: dict[str, float]
    diagnostics: ClassVar[tuple[str, ...]] = ()
    required: ClassVar[tuple[str, ...]] = LABELED
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
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.segmenter = segmenter
        self.ignore_index = ignore_index
        self.ohem = ohem
        self.supervised_loss = SupervisedLoss(ignore_index, ohem)
        self._run_step = backend.step.train_step
        self.trackers: dict[str, keras.metrics.Mean] = {}
        self._checked = False
        self.built = True

    @classmethod
    def strong_views(cls) -> int:
        """Return how many strong views of each unlabeled image it needs, 0 to 2."""
        return sum(f"strong_image_{number}" in cls.required for number in (1, 2))

    @property
    def students(self) -> tuple:
        """Segmenters in training."""
        return (self.segmenter,)

    @property
    def teachers(self) -> tuple:
        """Segmenters that only label and are no students."""
        return ()

    @property
    def heads(self) -> tuple:
        """Built layers in training beside the segmenters, at the learning rate of the head."""
        return ()

    @property
    def evaluated(self):
        """Segmenter that predicts after training."""
        return self.segmenter

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

    def compute_terms(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Compute every loss term of `term_weights` and every value of `diagnostics` for one batch."""
        terms: dict[str, Any] = {}
        carry = None
        for stage in self.stages():
            found, carry = stage(batch, carry)
            terms |= found
        return terms

    def weigh(self, terms: Mapping[str, Any]):
        """Return the weighted sum of the given terms: a stage's part of the loss, or all of it."""
        return sum(weight * terms[name] for name, weight in self.term_weights.items() if name in terms)

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
        missing = [name for name in self.required if name not in batch]
        if missing:
            raise ValueError(
                f"{type(self).__name__} needs a batch with {list(self.required)}, as data.training_batches makes it. "
                f"Received: {sorted(batch)}; missing: {missing}"
            )
        self._checked = True

    def get_config(self):
        """Return the constructor's arguments."""
        return {**self.arguments(), "name": self.name}


def options_of(kind: type[Method]) -> set[str]:
    """Return the names of the options that a method's constructor takes, those of its bases included."""
    return {*argument_names(kind)} - {*NETWORKS}

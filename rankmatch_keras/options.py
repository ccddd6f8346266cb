"""What a person can choose for a training run, as one checked record."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from rankmatch_keras.data.sets.protocol import Protocol
from rankmatch_keras.errors import UserError

JIT: dict[str, Any] = {"auto": "auto", "on": True, "off": False}
METHOD_FLAGS = ("threshold", "num_agents", "rank_weight")  # options that not every method has


@dataclasses.dataclass(frozen=True)
class Options:
    """What a person can choose for a training run; a recipe sets its own defaults.

    Durations are given once: `steps`, or `epochs` (passes over the unlabelled images), which `schedule` turns into
    steps.
    """

    dataset: str | None = None
    data: Path | None = None
    images: Path | None = None
    masks: Path | None = None
    unlabeled: Path | None = None
    val_images: Path | None = None
    val_masks: Path | None = None
    classes: str | None = None
    legend: Path | None = None
    hold_out: float = 0.2
    out: Path | None = None
    labels: int | None = None
    labeled_list: Path | None = None
    unlabeled_list: Path | None = None
    val_list: Path | None = None
    method: str = "rankmatch"
    preset: str = "paper"
    backbone: str = "mobilenet_v2"
    weights: str | None = None
    start_from: Path | None = None
    second_backbone: str | None = None
    second_weights: str | None = None
    output_stride: int = 16
    aspp_filters: int = 256
    decoder_filters: int = 256
    pool_norm: bool = True
    crop: int = 321
    batch: int = 2
    steps: int | None = None
    epochs: int | None = None
    interval: int = 50
    learning_rate: float = 0.001
    head_multiplier: float = 10.0
    l2: float = 1e-4
    threshold: float | None = None
    num_agents: int | None = None
    rank_weight: float | None = None
    set: tuple[str, ...] = ()
    box_source: str | None = None
    min_scale: float = 0.5
    max_scale: float = 2.0
    val_limit: int | None = None
    pseudo_label_images: int = 8
    eval_mode: str | None = None
    eval_crop: int | None = None
    eval_border: str | None = None
    eval_flip: bool = False
    eval_scales: str | None = None
    skip_bad: bool = False
    pipeline: str = "auto"
    network: str = "auto"
    distribute: str = "auto"
    replicas: int | None = None
    sync_batch_norm: bool = True
    precision: str = "float32"
    jit: str = "auto"
    accumulate: int = 1
    deterministic: bool = False
    seed: int = 0
    resume: bool = False
    smoke: bool = False
    stage: int = 0
    stages: Path | None = None

    def as_dict(self) -> dict[str, Any]:
        """All options by name, paths absolute, fit for JSON."""
        return {name: _plain(value) for name, value in dataclasses.asdict(self).items()}

    @property
    def jit_compile(self) -> bool | str:
        """`--jit` as `compile` takes it."""
        return JIT[self.jit]

    @property
    def several_batches(self) -> int | None:
        """`--accumulate` as Keras' optimizers take it."""
        return self.accumulate if self.accumulate > 1 else None

    @property
    def folder(self) -> Path:
        """The run's folder.

        Raises:
            UserError: it was not given.
        """
        if self.out is None:
            raise UserError("an output folder", "none", "Give --out, e.g. --out runs/first.")
        return self.out

    @property
    def needs_unlabeled(self) -> bool:
        """Whether the run, or one that follows it, reads unlabelled images."""
        return self.method != "supervised" or self.stage > 0

    def set_options(self) -> dict[str, Any]:
        """What `--set` says of the method.

        Raises:
            UserError: something else than `NAME=VALUE`.
        """
        given = {}
        for text in self.set:
            name, sign, value = text.partition("=")
            if not sign or not name.strip():
                raise UserError("an option of the method as NAME=VALUE", f"--set {text}", "Give e.g. --set top_k=6.")
            given[name.strip()] = _value(value.strip())
        return given

    def chosen_box_source(self) -> str:
        """Where CutMix boxes come from: as published for the `reference` preset, the cheaper way elsewhere."""
        return self.box_source or ("second_view" if self.preset == "reference" else "in_batch")

    def chosen_protocol(self, usual: Protocol) -> Protocol:
        """How the run is scored: as usual for its data but for what the flags say.

        Args:
            usual: the data set's own protocol.

        Raises:
            UserError: the flags contradict each other.
        """
        return with_flags(
            usual, self.eval_mode, self.eval_crop, self.eval_border, self.eval_flip, self.eval_scales, self.crop
        )

    def schedule(self, num_unlabeled: int) -> tuple[int, int]:
        """Resolves the duration.

        Args:
            num_unlabeled: number of unlabelled images (of labelled ones, where there are no others).

        Returns:
            `(epochs, optimizer steps per epoch)`: the run is evaluated and saved after each epoch.

        Raises:
            UserError: both durations are given, or steps that do not divide into intervals.
        """
        if self.epochs is not None and self.steps is not None:
            raise UserError("one duration", f"--steps {self.steps} and --epochs {self.epochs}", "Give one of them.")
        if self.epochs is not None:
            return self.epochs, max(1, num_unlabeled // (self.batch * self.accumulate))
        steps = 300 if self.steps is None else self.steps
        interval = min(self.interval, steps)
        if steps % interval:
            raise UserError(
                "--steps that divide into intervals of --interval steps",
                f"{steps} steps and {interval} an interval",
                f"Take {steps // interval * interval} steps, or another interval.",
            )
        return steps // interval, interval


def _plain(value):
    if isinstance(value, Path):
        return str(value.resolve())
    return list(value) if isinstance(value, tuple) else value


def _value(text):
    """A number, true, false, null or a list where the text is one in JSON, otherwise the text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def with_flags(
    usual: Protocol,
    mode: str | None,
    crop: int | None,
    border: str | None,
    flip: bool,
    scales: str | None,
    training_crop: int | None = None,
) -> Protocol:
    """A protocol with the flags `--eval-...` in place of what is usual.

    Args:
        usual: what holds where a flag is not given.
        mode: evaluation mode.
        crop: side of window or centre crop.
        border: "clip" or "shift".
        flip: whether mirrored images are added.
        scales: numbers separated by commas.
        training_crop: the crop where neither the flags nor the usual protocol say one.

    Raises:
        UserError: the flags contradict each other.
    """
    changes: dict[str, Any] = {"flip": True} if flip else {}
    if mode is not None:
        changes["mode"] = mode
    if crop is not None:
        changes["crop"] = crop
    elif mode == "whole":
        changes["crop"] = None
    elif mode is not None:
        changes["crop"] = usual.crop or training_crop
    if border is not None:
        changes["border"] = border
    if scales is not None:
        changes["scales"] = read_scales(scales)
    return dataclasses.replace(usual, **changes)


def read_scales(text: str) -> tuple[float, ...]:
    """`"0.75, 1"` -> `(0.75, 1.0)`.

    Raises:
        UserError: something else than numbers separated by commas.
    """
    try:
        return tuple(float(number) for number in text.split(","))
    except ValueError as error:
        raise UserError("scales as numbers separated by commas", f"{text!r}", "Give e.g. 0.75,1,1.25.") from error

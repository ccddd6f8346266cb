"""Options of a training run: the one catalog behind flags, help, configuration files, records and comparisons.

No framework is imported here, so that help prints at once.
"""

# Choices are tuples of the rooms that own them, which mypy cannot read inside `Literal`.
# mypy: disable-error-code="valid-type"

import dataclasses
import functools
from pathlib import Path
from typing import Annotated, Any, Literal

import pydantic
from annotated_types import Ge, Le

from rankmatch_keras.data.batches.pipelines import PIPELINES
from rankmatch_keras.data.sets.protocol import BORDERS, MODES, Protocol
from rankmatch_keras.environment import PRECISIONS, STRATEGIES
from rankmatch_keras.errors import UserError
from rankmatch_keras.training.catalog import About, catalog_of, parse_assignments
from rankmatch_keras.training.data_options import DATA, SPLIT, DataOptions
from rankmatch_keras.training.method_options import METHOD, MethodOptions
from rankmatch_keras.training.training_options import TRAINING, TrainingOptions

JIT: dict[str, Any] = {"auto": "auto", "on": True, "off": False}
NETWORK, SCORING, MACHINE, RUN = (
    "Network",
    "Scoring during and after training",
    "Backend and devices",
    "Run",
)
GROUPS = (DATA, SPLIT, RUN, METHOD, NETWORK, TRAINING, SCORING, MACHINE)  # order of the headings in the help

_engine = functools.partial(About, MACHINE, on_resume="free", in_comparison="free")
_free = functools.partial(About, in_comparison="free")


@pydantic.dataclasses.dataclass(frozen=True, config=pydantic.ConfigDict(extra="forbid", allow_inf_nan=False))
class Options(MethodOptions, DataOptions, TrainingOptions):
    """Everything a person can choose for a training run; a recipe has its own defaults.

    Raises:
        pydantic.ValidationError: a value has the wrong type or is out of range; `configuration.read_options` turns it
            into a `UserError`.
    """

    out: Annotated[Path | None, _free(RUN, "Run directory; must not hold another run.", on_resume="free")] = None
    backbone: Annotated[
        str,
        About(
            NETWORK,
            "Encoder: mobilenet_v2, resnet50, resnet101, kerascv_resnet50, kerascv_resnet101, tiny, or a preset of "
            "keras-hub by name or folder.",
            smoke="tiny",
        ),
    ] = "mobilenet_v2"
    decoder: Annotated[
        Literal["deeplab", "segformer"],
        About(NETWORK, "Decoder: that of DeepLabV3+, or SegFormer's for encoders with maps at several strides."),
    ] = "deeplab"
    weights: Annotated[
        str | None,
        About(
            NETWORK,
            "Encoder weights: a file, `imagenet`, `random`, or `auto` for `imagenet` where it can be had.",
            smoke=None,
        ),
    ] = None
    start_from: Annotated[
        Path | None,
        About(
            NETWORK,
            "Warm start: directory of an earlier run, or a .keras file, whose whole network to begin with.",
            in_comparison="free",
        ),
    ] = None
    second_backbone: Annotated[
        str | None, About(NETWORK, "Encoder of the second network, for methods that train two, e.g. cotraining.")
    ] = None
    second_weights: Annotated[
        str | None, About(NETWORK, "Its weights: a file, `imagenet`, or `random`.", smoke=None)
    ] = None
    output_stride: Annotated[Literal[8, 16, 32], About(NETWORK, "Pixels per feature pixel.")] = 16
    aspp_filters: Annotated[
        int, Ge(1), About(NETWORK, "Channels of the ASPP output; 256 in the articles, fewer are faster.")
    ] = 256
    decoder_filters: Annotated[
        int, Ge(1), About(NETWORK, "Channels of the decoder's convolutions; 256 in the articles, fewer are faster.")
    ] = 256
    pool_norm: Annotated[
        bool,
        About(NETWORK, "Batch-normalize ASPP's pooled image, as the articles do; small batches train better without."),
    ] = True
    val_limit: Annotated[
        int | None,
        Ge(1),
        About(
            SCORING, "Validate on so many images during training, evenly spaced; on all of them by default.", smoke=2
        ),
    ] = None
    pseudo_label_images: Annotated[
        int,
        Ge(0),
        _free(
            SCORING,
            "Unlabeled images whose known masks measure the pseudo-labels; for the report alone.",
            on_resume="free",
            smoke=2,
        ),
    ] = 8
    log: Annotated[
        str | None,
        _free(
            RUN,
            "Log each epoch elsewhere too: wandb, mlflow, or both with a comma.",
            on_resume="free",
        ),
    ] = None
    keep: Annotated[
        Literal["last", "best"],
        About(
            SCORING,
            "The network to score, evaluate and predict with: the last, as in the articles, or the best on validation.",
            in_comparison="same",
        ),
    ] = "last"
    eval_mode: Annotated[
        Literal[MODES] | None,
        About(SCORING, "How the network sees images for a score; the data set's usual mode by default."),
    ] = None
    eval_crop: Annotated[int | None, Ge(1), About(SCORING, "Side of windows or center crop in pixels.")] = None
    eval_border: Annotated[
        Literal[BORDERS] | None, About(SCORING, "Clip windows at the border, or shift them inside.")
    ] = None
    eval_flip: Annotated[bool, About(SCORING, "Add the mirrored image.")] = False
    eval_scales: Annotated[str | None, About(SCORING, "Add resized images, e.g. 0.75,1,1.25.")] = None
    skip_bad: Annotated[bool, _free(SPLIT, "Skip unusable images and masks; the record names them.")] = False
    pipeline: Annotated[Literal[PIPELINES], _engine("Input: tf.data with keras-cv, or worker processes.")] = "auto"
    network: Annotated[
        Literal["auto", "keras-cv", "keras"],
        _engine("DeepLabV3+ as a subclass of keras-cv's, or of plain Keras layers: the same graph."),
    ] = "auto"
    distribute: Annotated[
        Literal[STRATEGIES],
        _engine("Several devices or processes: mirrored, multi-worker (tensorflow), ddp (torch), data-parallel (jax)."),
    ] = "auto"
    replicas: Annotated[int | None, Ge(1), _engine("Replicas of this process; all accelerators by default.")] = None
    sync_batch_norm: Annotated[bool, About(MACHINE, "Take batch statistics over all replicas.")] = True
    precision: Annotated[Literal[PRECISIONS], About(MACHINE, "Precision of convolutions, not of losses.")] = "float32"
    jit: Annotated[Literal[tuple(JIT)], _engine("Compile the step; auto: whatever is faster.")] = "auto"
    deterministic: Annotated[bool, _engine("Same bits in every run on one machine; may be slower.")] = False
    seed: Annotated[int, Ge(0), Le(2**32 - 1), _free(RUN, "Decides labeled images, weights, batches and dropout.")] = 0
    resume: Annotated[bool, _free(RUN, "Continue the run in --out.", on_resume="free")] = False
    smoke: Annotated[bool, About(RUN, "Shrink to a run of seconds that only shows that it works.")] = False
    stage: Annotated[int, _free(RUN, "Stage of a self-training run, from 1.", flag="never")] = 0
    stages: Annotated[Path | None, _free(RUN, "Earlier stages.", flag="never", on_resume="free")] = None

    def as_dict(self) -> dict[str, Any]:
        """Return all options by name, paths absolute, fit for JSON."""
        return {name: _plain(value) for name, value in dataclasses.asdict(self).items()}

    @property
    def jit_compile(self) -> bool | str:
        """`jit` as `compile` takes it."""
        return JIT[self.jit]

    @property
    def folder(self) -> Path:
        """Run directory.

        Raises:
            UserError: none was given.
        """
        if self.out is None:
            raise UserError("an output folder", "none", "Give --out, e.g. --out runs/first.")
        return self.out

    @property
    def side(self) -> int:
        """Side of the crops.

        Raises:
            ValueError: it is not chosen yet; `fitting.fitted` does.
        """
        if self.crop is None:
            raise ValueError("Expected a crop. Received: none")
        return self.crop

    @property
    def needs_unlabeled(self) -> bool:
        """Whether the run, or a later stage of it, reads unlabeled images."""
        return self.method != "supervised" or self.stage > 0

    def method_options(self) -> dict[str, Any]:
        """Return the options of the method given by `set`.

        Raises:
            UserError: one is not `NAME=VALUE`.
        """
        return parse_assignments(self.set)

    def chosen_box_source(self) -> str:
        """Return the source of CutMix boxes: as published for the `reference` preset, the cheaper one elsewhere."""
        return self.box_source or ("second_view" if self.preset == "reference" else "in_batch")

    def chosen_protocol(self, usual: Protocol) -> Protocol:
        """Return the evaluation protocol: the data set's usual one, changed by the `eval_...` options.

        Raises:
            UserError: the options contradict each other.
        """
        return usual.changed(
            self.eval_mode, self.eval_crop, self.eval_border, self.eval_flip, self.eval_scales, self.side
        )

    def burn_in_epochs(self, epochs: int) -> int:
        """Return how many of the epochs train on labeled images alone; at least one is left for all images."""
        if not self.burn_in or self.method in ("supervised", "selftraining"):
            return 0
        return min(max(1, round(self.burn_in * epochs)), epochs - 1)


def _plain(value):
    if isinstance(value, Path):
        return str(value.resolve())
    return list(value) if isinstance(value, tuple) else value


CATALOG = catalog_of(Options)

"""Options of a run's method, a part of the one catalog; see `options`."""

# Choices are tuples of the rooms that own them, which mypy cannot read inside `Literal`.
# mypy: disable-error-code="valid-type"

import functools
from pathlib import Path
from typing import Annotated, Literal

import pydantic
from annotated_types import Ge, Le

from rankmatch_keras.data.views.policies import POLICIES
from rankmatch_keras.training.catalog import About

METHOD = "Method"

_free = functools.partial(About, METHOD, in_comparison="free")
_named = functools.partial(About, METHOD, in_comparison="named")
_of_method = functools.partial(About, METHOD, in_comparison="named", of_method=True)


@pydantic.dataclasses.dataclass(frozen=True, config=pydantic.ConfigDict(extra="forbid", allow_inf_nan=False))
class MethodOptions:
    """Everything a person can choose about the method; where `None`, the method's own default."""

    method: Annotated[str, _free("Training method; docs/methods.md lists them all.")] = "rankmatch"
    recipe: Annotated[
        Literal["practical", "published"],
        _free("Defaults of all other options: for runs of minutes to hours, or the articles'."),
    ] = "published"
    preset: Annotated[
        Literal["paper", "reference", "practical"],
        _named("RankMatch of the article, of its published program, or for short runs."),
    ] = "paper"
    threshold: Annotated[
        float | None, Ge(0.0), Le(1.0), _of_method("Confidence threshold, 0 for none; default: the method's.")
    ] = None
    selection: Annotated[
        Literal["threshold", "adaptive", "soft", "confidence"] | None,
        _of_method("Pseudo-labels above the threshold, above one per class that adapts, or all by their confidence."),
    ] = None
    soft_labels: Annotated[
        bool | None, _of_method("Learn the probabilities of pseudo-labels, not the most probable class alone.")
    ] = None
    label_view: Annotated[
        Literal["weak", "image"] | None,
        _of_method("Pseudo-labels of the weak view, as published, or of the image around it at its own size."),
    ] = None
    alignment: Annotated[
        float | None, Ge(0.0), Le(1.0), _of_method("Alignment of pseudo-labels with the labels' classes, 0 to 1.")
    ] = None
    num_agents: Annotated[int | None, Ge(4), _of_method("Agents of the rank loss; default: the preset's.")] = None
    rank_weight: Annotated[float | None, Ge(0.0), _of_method("Weight of the rank loss; default: the preset's.")] = None
    ema_decay: Annotated[
        float | None, Ge(0.0), Le(1.0), _of_method("Decay of the EMA teacher, which labels in the student's place.")
    ] = None
    average: Annotated[
        float | None, Ge(0.0), Le(1.0), _of_method("Decay of the EMA of the weights that is scored and saved.")
    ] = None
    normalize: Annotated[
        Literal["joint", "separate"] | None,
        _of_method("Batch statistics of labeled and unlabeled images: joint, as published, or separate."),
    ] = None
    statistics: Annotated[
        Literal["labeled", "labeled+weak", "all"] | None,
        _of_method("The images whose batch statistics the running ones follow."),
    ] = None
    labeled_loss: Annotated[
        Literal["ce", "dice", "ce+dice", "focal"] | None, _of_method("Loss of the labeled pixels; default: ce.")
    ] = None
    unlabeled_loss: Annotated[
        Literal["ce", "dice", "ce+dice", "focal"] | None, _of_method("Loss of the pseudo-labeled pixels; default: ce.")
    ] = None
    class_weights: Annotated[
        str | None,
        _named("Weights of the classes in both: `auto` from how often the labels show them, or K numbers."),
    ] = None
    unlabeled_weight: Annotated[
        float | None, Ge(0.0), _of_method("Factor of the unlabeled terms, 1 in the articles.")
    ] = None
    unlabeled_ramp: Annotated[
        float | None, Ge(0.0), Le(1.0), _of_method("Fraction of the run over which this factor grows from 0.")
    ] = None
    strong: Annotated[
        Literal[tuple(POLICIES)] | None,
        _named("Strong views of 8-bit color images, none: as weak ones; default: the method's."),
    ] = None
    hue: Annotated[
        float | None, Ge(0.0), Le(0.5), _named("Largest shift of hue in them, a fraction of the color circle.")
    ] = None
    strong_labeled: Annotated[
        bool, _named("Make every second labeled view a strong one too; the articles make none.")
    ] = False
    boxes: Annotated[
        Literal["cutmix", "cutout", "none"] | None,
        _of_method("Boxes in strong views: cutmix pastes other images, cutout hides pixels; default: cutmix."),
    ] = None
    hierarchy: Annotated[
        Path | None,
        _named("YAML file of `group: [classes]` lines, the classes' tree for logicdiag; default: the data set's."),
    ] = None
    set: Annotated[
        tuple[str, ...],
        About(
            METHOD,
            in_comparison="free",
            help="Any other option of the method as NAME=VALUE, e.g. --set top_k=6; repeatable.",
        ),
    ] = ()
    box_source: Annotated[
        Literal["in_batch", "second_view"] | None,
        _named("Source of CutMix boxes; second_view costs one more pass. Default: as the preset."),
    ] = None

"""Options from recipe defaults, configuration files and flags, and the `run.yaml` that repeats a run."""

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydantic
import yaml

from rankmatch_keras.errors import UserError, did_you_mean
from rankmatch_keras.files import replacing
from rankmatch_keras.training.catalog import KEEP, Option, names_where, parse_assignments, same_text
from rankmatch_keras.training.options import CATALOG, Options
from rankmatch_keras.training.training_options import DURATIONS
from rankmatch_keras.training.yaml_files import read_mapping

# What `--recipe` sets; docs/recipe.md says what was tried. All of it can be changed one by one.
RECIPES: dict[str, dict[str, Any]] = {
    # For runs of minutes to hours: the unlabeled images pay from the first hundred steps on.
    "practical": {
        "preset": "practical",
        "normalize": "separate",  # labeled images apart: shared batch statistics give them away
        "statistics": "labeled+weak",  # those of a few labeled images fit no others
        "burn_in": 0.2,  # the first pseudo-labels would be noise
        "fall_back": True,
        "ema_decay": 0.97,
        "average": 0.97,
        "soft_labels": True,
        "strong_labeled": True,  # else pseudo-labels alone teach how strong views look
        "selection": "confidence",
        "unlabeled_weight": 3.0,
        "box_source": "in_batch",
        "keep": "best",
        "weights": "auto",
        "pool_norm": False,  # with few images a batch, normalization would leave only the sign
        "aspp_filters": 128,
        "decoder_filters": 64,
        "crop": None,
        "batch": 4,
        "optimizer": "adamw",
        "learning_rate": 3e-4,
        "l2": 0.01,
    },
    # The articles' settings, which need a GPU and tens of thousands of steps: the defaults of `Options`.
    "published": {},
}
OWN_DATA: dict[str, Any] = {"recipe": "practical"}  # defaults of `rankmatch train` without a recipe's file
FLAGS = tuple(name for name, option in CATALOG.items() if option.about.flag != "never")
# Options with a flag that are the method's too: `--set` is another way to give them.
IN_BOTH = (*names_where(CATALOG, of_method=True), "preset", "seed", "hierarchy")
TRACKERS = ("wandb", "mlflow")  # which `--log` knows; their packages are extras of the same names
# A run of its own chooses these.
NOT_REPEATED = ("out", "resume", "smoke", *names_where(CATALOG, flag="never"))


def read_options(defaults: Mapping[str, Any], given: Mapping[str, Any], file: Path | None = None) -> Options:
    """Combine a recipe's defaults, a configuration file and what a person gives explicitly; later ones win.

    Everything about the options is checked here, before anything else is read: names, types, ranges, and whether the
    method has the options that are given.

    Args:
        defaults: defaults in place of those of `Options`.
        given: explicit flags, or keyword arguments, by name.
        file: YAML file of options, e.g. the `run.yaml` of an earlier run.

    Raises:
        UserError: an unknown name, a wrong value, an option given in two ways that disagree, or one that the method
            does not have.
    """
    defaults = _standard_form(defaults, "the recipe")
    from_file = {} if file is None else _standard_form(read_file(file), str(file))
    given = _standard_form(given, "the options")
    if from_file.get("augment") not in (None, given.get("augment")):
        raise UserError(
            "--augment on the command line, since its code would run here",
            f"{from_file['augment']} in {file} alone",
            "Give it again if you trust that file, or remove it.",
        )
    values = {**with_recipe(defaults, {**from_file, **given}.get("recipe")), **from_file}
    if {**values, **given}.get("smoke"):
        values |= {name: option.about.smoke for name, option in CATALOG.items() if option.about.smoke is not KEEP}
    values |= given
    values["set"] = _merged(from_file.get("set", defaults.get("set", ())), given.get("set", ()))
    try:
        options = Options(**values)
    except pydantic.ValidationError as error:
        raise _user_error(error) from None
    if options.min_scale > options.max_scale:
        found = f"{options.min_scale:g} and {options.max_scale:g}"
        raise UserError("--min-scale up to --max-scale", found, "Correct one of them.")
    if (options.normalize or "joint", options.statistics) == ("joint", "labeled"):
        raise UserError(
            "--statistics all or labeled+weak with --normalize joint",
            "labeled, though labeled images share their passes with others",
            "Give --statistics all.",
        )
    require_fitting_method(options, {*from_file, *given})
    _require_fitting_decoder(options, {*given})
    _require_trackers(options.log)
    return options


def with_recipe(defaults: Mapping[str, Any], name: str | None = None) -> dict[str, Any]:
    """Return defaults over those of a recipe: the named one, or their own; an unknown one has none."""
    name = name or defaults.get("recipe") or "published"
    return {**RECIPES.get(name, {}), **defaults, "recipe": name}


def read_file(path: Path) -> dict[str, Any]:
    """Read a configuration file.

    Raises:
        UserError: it cannot be read, is larger than 1 MiB, or is not a YAML mapping.
    """
    return read_mapping(path, "a configuration file", "`option: value` lines", "Write e.g. `crop: 321`.")


def write_file(path: Path, options: Options) -> None:
    """Write the configuration file that repeats a run, as a whole or not at all."""
    from rankmatch_keras import methods

    known = methods.options_of(methods.method_named(options.method))
    foreign = {*names_where(CATALOG, of_method=True)} - {*known}  # a recipe's defaults for another method
    values = {
        name: None if name in foreign else value
        for name, value in options.as_dict().items()
        if name not in NOT_REPEATED
    }
    if values["steps"] is not None:
        values["time_budget"] = None  # which it became
    for name in ("classes", "weights", "second_weights"):
        file = values[name]
        if file is not None and Path(file).is_file():
            values[name] = str(Path(file).resolve())
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    with replacing(path) as temporary:
        temporary.write_text(f"# Repeat this run: rankmatch train --config {path.name} --out NEW\n{text}", "utf-8")


def require_fitting_method(options: Options, given: set[str]) -> None:
    """Check that the method exists and has the options that are given for it, and the hierarchy that it needs.

    Args:
        options: the options of the run.
        given: names of those that a person gave; a recipe's defaults may be for another method.

    Raises:
        UserError: it does not.
    """
    from rankmatch_keras import methods
    from rankmatch_keras.training.hierarchies import check_hierarchy

    kind = methods.method_named(options.method)
    methods.check_options(options.method, options.method_options())
    known = methods.options_of(kind)
    for name in names_where(CATALOG, of_method=True):
        if name in given and getattr(options, name) is not None and name not in known:
            flag = CATALOG[name].flag
            raise UserError(f"flags for --method {options.method}", f"{flag}, which it does not have", f"Leave {flag}.")
    if options.second_backbone is None and methods.needs_second(kind):
        raise UserError(
            f"a second network for --method {options.method}",
            "no --second-backbone",
            "Give one of another architecture, e.g. --second-backbone resnet50.",
        )
    if options.second_backbone is not None and not methods.takes_second(kind):
        raise UserError(
            f"flags for --method {options.method}", "--second-backbone, but it trains one network", "Leave it out."
        )
    if options.second_backbone is None and options.second_weights is not None:
        raise UserError("--second-backbone with --second-weights", "the weights alone", "Give both.")
    check_hierarchy(options)


def _require_fitting_decoder(options: Options, given: set[str]) -> None:
    """Check that nothing of DeepLabV3+'s own is asked of another decoder; a file may keep it for when it is back."""
    if options.decoder == "deeplab":
        return
    for name in ("aspp_filters", "pool_norm"):
        if name in given:
            raise UserError(
                f"flags for --decoder {options.decoder}",
                f"{CATALOG[name].flag}, which only that of DeepLabV3+ has",
                "Leave it out.",
            )
    if options.network == "keras-cv":
        raise UserError(f"--network keras or auto with --decoder {options.decoder}", "keras-cv", "Leave it out.")


def tracker_names(text: str | None) -> list[str]:
    """Return the names that `--log` has, with commas in between."""
    return list(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))


def _require_trackers(text: str | None) -> None:
    for name in tracker_names(text):
        if name not in TRACKERS:
            raise UserError(
                f"{' or '.join(TRACKERS)} as --log",
                repr(name),
                did_you_mean(name, TRACKERS, "Leave it out: every run writes history.csv."),
            )
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"the installed package of --log {name}", "none", f"Run `pip install 'rankmatch-keras[{name}]'`."
            )


def _standard_form(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the values of one source by name, each option in one form and in one place."""
    for name in values:
        if name not in CATALOG or CATALOG[name].about.flag == "never":
            raise UserError(
                f"options of a run in {where}",
                f"{name!r}",
                did_you_mean(str(name), FLAGS, otherwise="`rankmatch train --help` lists them."),
            )
    values = {name: _plain(CATALOG[name], value) for name, value in values.items()}
    parse_assignments(values.get("set", ()))
    if any(values.get(name) is not None for name in DURATIONS):
        values |= {name: None for name in DURATIONS if name not in values}  # it takes the place of an earlier one
    return _unfold(values, where)


def _plain(option: Option, value: Any) -> Any:
    """Return a value as flags have it; files and Python may say the same in richer forms."""
    if option.name == "set":
        return _texts(value)
    if isinstance(value, bool) and option.kind in (int, float):
        raise UserError(f"{_expected(option)} as {option.flag}", str(value).lower(), "Correct it.")
    if option.name in ("weights", "second_weights") and value == "random":
        return None
    if option.name == "backbone" and isinstance(value, str) and (Path(value) / "config.json").is_file():
        return str(Path(value).resolve())
    if option.name == "augment" and isinstance(value, str):
        file, sign, function = value.rpartition(":")
        return f"{Path(file).absolute()}{sign}{function}" if file else value
    if option.kind is not str or isinstance(value, str):
        return value
    if isinstance(value, bool) and "on" in option.choices:
        return "on" if value else "off"  # which YAML reads as booleans
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _texts(value: Any) -> tuple[str, ...]:
    """Return what a file or Python gives as `set`: a mapping, one text or several, as `NAME=VALUE` texts."""
    if value is None or isinstance(value, str):
        return () if value is None else (value,)
    try:
        if isinstance(value, Mapping):
            return tuple(f"{name}={json.dumps(each)}" for name, each in value.items())
        if isinstance(value, list | tuple) and all(isinstance(text, str) for text in value):
            return tuple(value)
    except (TypeError, ValueError, RecursionError):
        pass
    raise UserError("options of the method by name as --set", repr(value)[:100], "Write e.g. `set: {top_k: 6}`.")


def _unfold(values: dict[str, Any], where: str) -> dict[str, Any]:
    """Move what `--set` says of options with a flag of their own to these, so that the record has one truth."""
    if "set" not in values:
        return values
    kept = []
    for text in values["set"]:
        ((name, value),) = parse_assignments([text]).items()
        option = CATALOG.get(name)
        if option is not None and values.get(name) is not None and same_text(values[name]) != same_text(value):
            raise UserError(
                f"one value of {name} in {where}",
                f"{option.flag} {values[name]} and --set {text}",
                "Leave one of them.",
            )
        if name in IN_BOTH:
            values[name] = value
        else:
            kept.append(text)
    return {**values, "set": tuple(kept)}


def _merged(first, second) -> tuple[str, ...]:
    """Return the `NAME=VALUE` texts of two sources; the second wins where both name an option."""
    texts = {text.partition("=")[0].strip(): text for text in (*first, *second)}
    return tuple(texts.values())


def _user_error(error: pydantic.ValidationError) -> UserError:
    first = error.errors()[0]
    option = CATALOG[str(first["loc"][0])]
    remedy = did_you_mean(first["input"], map(str, option.choices), "Correct it.")
    return UserError(f"{_expected(option)} as {option.flag}", repr(first["input"])[:100], remedy)


def _expected(option: Option) -> str:
    if option.choices:
        return f"one of {', '.join(map(str, option.choices))}"
    words = {bool: "true or false", int: "a whole number", float: "a number", Path: "a path", tuple: "NAME=VALUE texts"}
    bounds = (("at least", option.least), ("at most", option.most))
    limits = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
    return f"{words.get(option.kind, 'text')} of {limits}" if limits else words.get(option.kind, "text")

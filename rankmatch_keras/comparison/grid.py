"""The grid of runs of a comparison: one per method, number of labels and seed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rankmatch_keras.comparison.records import ALL, BASELINE, Labels
from rankmatch_keras.errors import UserError, did_you_mean
from rankmatch_keras.training.catalog import names_where
from rankmatch_keras.training.options import CATALOG

# Flags that the comparison itself gives to every run.
OWN_FLAGS = ("--method", "--seed", "--out", "--resume")
# Options of a run that each method may have its own value of: a sum of losses and its learning rate belong together.
PER_METHOD = names_where(CATALOG, in_comparison="per method")
_METHOD = re.compile(r"(\w+)(?:\[(.*)\])?")


@dataclass(frozen=True)
class MethodChoice:
    """A method as the user wrote it, with options if it is an ablation.

    Attributes:
        label: as written, e.g. `rankmatch[top_k=6]`.
        name: the method's name.
        options: `NAME=VALUE` each, of the method or one of `PER_METHOD`.
    """

    label: str
    name: str
    options: tuple[str, ...] = ()

    @property
    def option_names(self) -> list[str]:
        """Names of its options."""
        return [name for name, _ in self._pairs]

    @property
    def needs_unlabeled(self) -> bool:
        """Whether it cannot train where every image is labeled."""
        return self.name != BASELINE

    @property
    def flags(self) -> list[str]:
        """Flags of a recipe that select it."""
        return ["--method", self.name, *(word for pair in self._pairs for word in _flag(*pair))]

    @property
    def _pairs(self):
        return [(name.strip(), value.strip()) for name, _, value in (option.partition("=") for option in self.options)]


@dataclass(frozen=True)
class PlannedRun:
    """One run of the comparison.

    Attributes:
        method: its method.
        labels: number of labeled images, or `ALL`; None: the recipe's default.
        seed: its seed.
        folder: its run directory.
    """

    method: MethodChoice
    labels: Labels
    seed: int
    folder: Path

    @property
    def flags(self) -> list[str]:
        """Flags of a recipe that select it."""
        labels = [] if self.labels is None else ["--labels", str(self.labels)]
        return [*self.method.flags, *labels, "--seed", str(self.seed), "--out", str(self.folder)]

    def fill(self, word: str) -> str:
        """Fill `{labels}` and `{seed}` in a shared flag with this run's own."""
        return word.replace("{labels}", str(self.labels)).replace("{seed}", str(self.seed))

    def __str__(self):
        labels = "" if self.labels is None else f", {self.labels} labels"
        return f"{self.method.label}{labels}, seed {self.seed}"


def make_grid(
    methods: Sequence[MethodChoice], labels: Sequence[Labels], seeds: Sequence[int], folder: Path
) -> list[PlannedRun]:
    """List all runs seed by seed, so that an interrupted comparison has whole seeds.

    `ALL` is left out for methods that need unlabeled images.

    Args:
        methods: the methods to compare.
        labels: numbers of labeled images, or `ALL`.
        seeds: seeds of each.
        folder: parent of the run directories `<method>-l<labels>-s<seed>`.

    Raises:
        UserError: if two runs would share a folder, or a method has no run at all.
    """
    without = [method.label for method in methods if method.needs_unlabeled]
    if without and list(labels) == [ALL]:
        raise UserError(
            f"a number of labels for {', '.join(without)}, which needs unlabeled images",
            f"--labels {ALL}, where every image is labeled",
            f"Give e.g. --labels 20,{ALL}, or --methods {BASELINE} alone.",
        )
    grid: dict[Path, PlannedRun] = {}
    for seed in seeds:
        for count in labels:
            for method in methods:
                if count == ALL and method.needs_unlabeled:
                    continue
                middle = "" if count is None else f"-l{count}"
                place = folder / f"{_safe(method.label)}{middle}-s{seed}"
                if place in grid:
                    raise UserError(
                        "methods whose folders have different names",
                        f"{grid[place].method.label} and {method.label}, both {place.name}",
                        "Remove one of them.",
                    )
                grid[place] = PlannedRun(method, count, seed, place)
    return list(grid.values())


def read_methods(text: str) -> list[MethodChoice]:
    """Parse methods: `"unimatch,rankmatch[top_k=6,num_agents=32]"` gives two.

    Raises:
        UserError: if the text is malformed, or names a method twice.
    """
    choices = []
    for label in _split(text):
        match = _METHOD.fullmatch(label)
        if match is None:
            raise UserError("methods as NAME or NAME[OPTION=VALUE,...]", f"{label!r}", "Correct --methods.")
        options = tuple(_split(match[2])) if match[2] else ()
        for option in options:
            if not re.fullmatch(r"\w+\s*=.+", option):
                raise UserError("options of a method as OPTION=VALUE", f"{option!r} in {label}", "Correct --methods.")
        choices.append(MethodChoice(label, match[1], options))
    if len(set(choices)) < len(choices):
        raise UserError("each method once", text, "Correct --methods.")
    return choices


def read_seeds(text: str) -> list[int]:
    """Parse seeds: `"3"` gives 0, 1, 2; `"0,2,5"` gives these.

    Raises:
        UserError: if the text is malformed.
    """
    if "," not in text:
        count = _numbers(text, "--seeds", "a number of seeds like 3, or a list like 0,2,5")[0]
        if count < 1:
            raise UserError("at least one seed", f"--seeds {text}", "Give e.g. --seeds 3.")
        return list(range(count))
    return _numbers(text, "--seeds", "a number of seeds like 3, or a list like 0,2,5")


def read_labels(text: str | None) -> list[Labels]:
    """Parse numbers of labels: `"10,20,all"` gives 10, 20, `ALL`; None leaves them to the recipe.

    Raises:
        UserError: if the text is malformed, or names a number twice.
    """
    if text is None:
        return [None]
    wanted, example = f"numbers of labeled images, or `{ALL}`", f"Give e.g. --labels 5,20,{ALL}."
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words:
        raise UserError(wanted, f"none in --labels {text!r}", example)
    labels: list[Labels] = []
    for word in words:
        count = ALL if word == ALL else int(word) if word.isdecimal() else 0
        if not count:
            raise UserError(wanted, f"{word!r} in --labels {text}", did_you_mean(word, [ALL], example))
        if count in labels:
            raise UserError("each number of labels once", f"{count} twice in --labels {text}", "Give it once.")
        labels.append(count)
    return labels


def require_free(flags: Sequence[str]) -> None:
    """Check that no shared flag is one that the comparison sets itself.

    Raises:
        UserError: if one is.
    """
    for word in flags:
        flag = word.partition("=")[0]
        if flag in OWN_FLAGS:
            instead = {"--method": "--methods", "--seed": "--seeds"}.get(flag)
            remedy = f"Give {instead}." if instead else "Omit it: cut-off runs are resumed in any case."
            raise UserError("flags that all runs share", flag, remedy)


def _flag(name, value):
    return (CATALOG[name].flag, value) if name in PER_METHOD else ("--set", f"{name}={value}")


def _numbers(text, flag, wanted):
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdigit() for word in words) or len(set(words)) < len(words):
        raise UserError(wanted, f"{flag} {text}", "Correct it.")
    return [int(word) for word in words]


def _split(text):
    """Split at commas outside brackets."""
    parts, depth = [""], 0
    for letter in text:
        depth += {"[": 1, "]": -1}.get(letter, 0)
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _safe(label):
    return re.sub(r"[^\w.=-]+", "_", label).strip("_")

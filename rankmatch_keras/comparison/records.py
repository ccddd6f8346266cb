"""Records of runs: configuration, scores, history and cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation.scores import Scores
from rankmatch_keras.training.catalog import names_where, same_text
from rankmatch_keras.training.options import CATALOG
from rankmatch_keras.training.records import read_config, read_cost, read_scores
from rankmatch_keras.training.run_folder import STAGES, Run

BASELINE = "supervised"  # the method that the others are measured against
ALL: Literal["all"] = "all"  # number of labeled images: every image that has a mask
Labels = int | Literal["all"] | None
# Options that are part of a run's label where runs of one method differ in them.
NAMED = names_where(CATALOG, in_comparison="named", of_method=False)
OF_METHOD = names_where(CATALOG, of_method=True)
PER_METHOD = names_where(CATALOG, in_comparison="per method")


@dataclass(frozen=True)
class Record:
    """A finished, interrupted or planned run.

    Attributes:
        folder: its run directory.
        label: its method, as tables name it.
        labels: number of labeled images, or `ALL`; None if unknown.
        seed: its seed.
        config: its `config.json`; empty if there is none.
        scores: its scores after the last epoch; None unless it is finished.
        history: one row per epoch, numbers by column.
        cost: its `cost.json` with the cost of earlier stages added; empty for older runs without one.
        error: why there are no scores.
    """

    folder: Path
    label: str
    labels: Labels
    seed: int
    config: Mapping[str, Any] = field(default_factory=dict)
    scores: Scores | None = None
    history: tuple[Mapping[str, float], ...] = ()
    cost: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None

    @property
    def key(self) -> tuple[str, Labels, int]:
        """Method, number of labels and seed, unique in a comparison."""
        return self.label, self.labels, self.seed

    @property
    def backend(self) -> str:
        """Backends that it was started and resumed on."""
        resumed = (part.get("backend") for part in self.config.get("resumed", ()))
        names = dict.fromkeys([self.config.get("backend"), *resumed])
        return ", ".join(name for name in names if name)

    @property
    def num_labeled(self) -> int | None:
        """Number of images whose masks it learns from; None without a record."""
        return len(self.config.get("split", {}).get("labeled", ())) if self.config else None

    @property
    def steps_per_epoch(self) -> int | None:
        """Optimizer steps between evaluations; None for a run measured in epochs."""
        options = self.config.get("options", {})
        if options.get("epochs") is not None or "interval" not in options:
            return None
        return min(options["interval"], options.get("steps") or options["interval"])


def read_record(folder: Path, label: str, labels: Labels, seed: int, error: str | None = None) -> Record:
    """Read the files of a run, finished or not.

    Args:
        folder: the run directory.
        label: its method, as tables name it.
        labels: number of labeled images that was asked for, or `ALL`; None: as its record says.
        seed: its seed, used if it has no record.
        error: why it failed, if known.

    Raises:
        UserError: if a file of the run cannot be used.
    """
    run = Run(folder)
    config: Mapping[str, Any] = read_config(folder) if run.config.is_file() else {}
    scores = read_scores(run.scores)
    if config and scores is None and error is None:
        error = "not finished: start it again with --resume"
    if config and labels is None:
        labels = _recorded_labels(config)
    return Record(
        folder,
        label,
        labels,
        config.get("options", {}).get("seed", seed),
        config,
        # The last column holds the scores after the last epoch.
        None if not scores or error else list(scores.values())[-1],
        run.read_history(),
        _cost(folder),
        error or (None if config else "no run"),
    )


def recorded(folder: Path, label: str, labels: Labels, seed: int, failure: str | None = None) -> Record:
    """Return the record of a run as `read_record`; one that cannot be read has failed too, and stops no others."""
    try:
        return read_record(folder, label, labels, seed, failure)
    except UserError as error:
        return Record(folder, label, labels, seed, error=failure or str(error))


def read_runs(folders: Sequence[Path]) -> list[Record]:
    """Read existing runs, and name them by method and by the options in which they differ.

    Args:
        folders: the run directories.

    Raises:
        UserError: if a folder holds no run, or two runs have the same method, labels and seed.
    """
    names = labels_of([read_config(folder) for folder in folders])
    records = [read_record(folder, name, None, 0) for folder, name in zip(folders, names, strict=True)]
    first: dict[tuple, Record] = {}
    for record in records:
        other = first.setdefault(record.key, record)
        if other is not record:
            raise UserError(
                "one run of each method, number of labels and seed",
                f"two of {record.label}, {record.labels} labels, seed {record.seed}: {other.folder}, {record.folder}",
                "Remove one of them.",
            )
    return records


def labels_of(configs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name runs as `method[options]`, with the backend if runs of that name differ in it.

    The name includes options of the method that differ between the runs, optimizer options that differ from the
    baseline's (or the first run's, without a baseline), and the method of the run that a warm start comes from.

    Args:
        configs: the configurations of the runs.
    """
    options = [config.get("options", {}) for config in configs]
    parts = [[*o.get("set", ()), *_own_method_options(o, options), *_own_optimizer(o, options)] for o in options]
    for part, config in zip(parts, configs, strict=True):
        if config.get("start"):
            part.append(f"start_from={config['start'].get('method', 'unknown')}")
    for group in _groups([(o.get("method"), *part) for o, part in zip(options, parts, strict=True)]):
        for name in NAMED:
            if len({same_text(options[i].get(name)) for i in group}) > 1:
                for i in group:
                    if options[i].get(name) is not None:
                        parts[i].append(f"{name}={options[i][name]}")
    names = [
        f"{o.get('method', 'unknown')}" + (f"[{','.join(part)}]" if part else "")
        for o, part in zip(options, parts, strict=True)
    ]
    backends = [config.get("backend") for config in configs]
    mixed = {name for name in names if len({b for n, b in zip(names, backends, strict=True) if n == name}) > 1}
    return [f"{name} ({b})" if name in mixed else name for name, b in zip(names, backends, strict=True)]


def _own_method_options(options, all_options):
    """Return the method's options that a run gives and that are not the same in all runs."""
    given = [name for name in OF_METHOD if options.get(name) is not None]
    return [f"{name}={options[name]}" for name in given if any(o.get(name) != options[name] for o in all_options)]


def _own_optimizer(options, all_options):
    """Return how a run's optimizer differs from the baseline's; what an older record lacks is not compared."""
    baseline = next((o for o in all_options if o.get("method") == BASELINE), all_options[0])
    shared = [name for name in PER_METHOD if name in options and name in baseline]
    return [f"{name}={options[name]}" for name in shared if options[name] != baseline[name]]


def _recorded_labels(config):
    """Return `ALL` where the options ask for no number and no list; older records lack them and have a number."""
    options = config.get("options", {})
    if options.get("labels", 0) is None and options.get("labeled_list") is None:
        return ALL
    return len(config.get("split", {}).get("labeled", ()))


def _cost(folder):
    """Read the cost of a run, including its earlier stages."""
    own = read_cost(Run(folder).cost)
    if own is None:
        return {}
    costs = [own, *(read_cost(path) or {} for path in sorted((folder / STAGES).glob("*/cost.json")))]

    def total(name, combine):
        values = [cost.get(name) for cost in costs]
        return None if None in values else combine(values)

    sums = {name: total(name, sum) for name in ("train_seconds", "seconds")}
    return {**own, **sums, "peak_memory_gb": total("peak_memory_gb", max)}


def _groups(keys):
    """Return the positions of equal keys, grouped."""
    groups: dict[Any, list[int]] = {}
    for i, key in enumerate(keys):
        groups.setdefault(key, []).append(i)
    return groups.values()

"""`rankmatch compare`: several methods, numbers of labels and seeds in one table."""

import runpy
from pathlib import Path

import click

from rankmatch_keras.cli.report import NAME
from rankmatch_keras.cli.train import require_recipe
from rankmatch_keras.errors import UserError
from rankmatch_keras.files import remove_temporaries, replacing
from rankmatch_keras.texts import counted, say


@click.command(context_settings={"ignore_unknown_options": True}, short_help="Put several methods into one table.")
@click.argument("words", nargs=-1, type=click.UNPROCESSED, metavar="[RECIPE] [FLAGS OF THE RECIPE] | RUN...")
@click.option(
    "--methods",
    help="Methods to compare: NAME or NAME[OPTION=VALUE,...], separated by commas; learning_rate is an option too.",
)
@click.option(
    "--labels",
    metavar="N,...|all",
    help="Numbers of labeled images, e.g. 5,20,all; the recipe's own by default. all: every image with a mask, for "
    "supervised only; the tables then say which part of the gap to it a method closes.",
)
@click.option(
    "--seeds", default="3", show_default=True, metavar="N|A,B,...", help="Number of seeds, or the seeds themselves."
)
@click.option("--jobs", type=click.IntRange(min=1), help="Runs at a time; one by default, or one per device.")
@click.option(
    "--devices", metavar="A,B,...", help="Accelerators, as CUDA_VISIBLE_DEVICES names them; each run sees one."
)
@click.option("--report/--no-report", default=True, show_default=True, help="Write report.html of the comparison too.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for runs, tables and charts.")
def compare(words, methods, labels, seeds, jobs, devices, report, out):
    """Train several methods with several seeds, and put their scores into tables and charts.

    Every method, number of labels and seed is one run in OUT/runs, a process of its own with otherwise equal flags.
    Finished runs are kept and interrupted ones resumed: after an interrupt, start the same command again; methods,
    labels and seeds can be added. {labels} and {seed} in a flag stand for the run's own, e.g. --start-from
    'runs/a/runs/supervised-l{labels}-s{seed}'. A run that fails is named with its error, and the others go on. The
    method `supervised` is the baseline of the differences. Given run directories, the tables are made of these; runs
    that differ in more than the method are refused.

    In OUT: report.html, table.md, table.tex, table.csv, pairs.csv (paired tests), runs.csv, curves and classes as PNG
    and SVG.

    \b
    rankmatch compare recipes/lucchi.py --data lucchi --methods supervised,unimatch,rankmatch --labels 5,10,20 \\
        --seeds 3 --out runs/table9
    rankmatch compare recipes/lucchi.py --data lucchi --methods supervised,rankmatch --labels 5,20,all --out runs/gap
    rankmatch compare recipes/camvid.py --data camvid --methods 'rankmatch,rankmatch[top_k=6,rank_weight=0.02]' \\
        --steps 1000 --out runs/top_k
    rankmatch compare recipes/camvid.py --data camvid --methods 'supervised,unimatch[learning_rate=0.02]' \\
        --out runs/rate
    rankmatch compare --images photos --masks masks --unlabeled more --methods supervised,rankmatch \\
        --steps 1000 --crop 193 --out runs/own
    rankmatch compare recipes/pascal_voc.py --data VOC2012 --methods fixmatch,unimatch --devices 0,1,2,3 --out runs/voc
    rankmatch compare runs/a runs/b runs/c --out runs/abc
    """
    # All imports now: the package may change before the last run ends.
    from rankmatch_keras.comparison import charts, csv_files, latex, markdown  # noqa: F401
    from rankmatch_keras.comparison.folder import TABLE
    from rankmatch_keras.comparison.measures import Comparison

    if methods is None:
        records = _existing(words, labels, out)
    else:
        records = _made(words, methods, labels, seeds, jobs, devices, out)
    comparison = Comparison(records)
    _write(out, comparison)
    if report:
        _write_report(out, comparison)
    if comparison.failed:
        say(f"{len(comparison.failed)} of {counted(len(records), 'run')} have no score; {TABLE} says why.", error=True)
        raise SystemExit(1)


def _existing(words, labels, out):
    """Return the records of run directories."""
    from rankmatch_keras.comparison.records import read_runs

    if not words or any(word.startswith("-") or Path(word).suffix == ".py" for word in words):
        raise UserError("--methods with a recipe or data, or folders of runs", " ".join(words) or "none", "Give them.")
    if labels is not None:
        raise UserError("--labels with --methods", "--labels alone", "Leave it out: the runs' records say it.")
    _require_free(out)
    records = read_runs([Path(word) for word in words])
    _take(out)
    return records


def _made(words, methods, labels, seeds, jobs, devices, out):
    """Return the records of the requested runs, trained where they are missing."""
    from rankmatch_keras.comparison.execution import execute
    from rankmatch_keras.comparison.grid import make_grid, read_labels, read_methods, read_seeds, require_free
    from rankmatch_keras.comparison.records import ALL, recorded

    if not words:
        raise UserError("a recipe, or flags that name the data", "none", "Give e.g. recipes/lucchi.py --data DIR.")
    if not words[0].startswith("-"):
        require_recipe(words[0])
    require_free(words)
    chosen = [device.strip() for device in (devices or "").split(",") if device.strip()]
    choices = read_methods(methods)
    counts = read_labels(labels)
    plan = make_grid(choices, counts, read_seeds(seeds), out / "runs")
    _require_valid(plan, words)
    _take(out)
    _remember(out, {"words": list(words), "methods": methods, "labels": labels, "seeds": seeds})
    skipped = [choice.label for choice in choices if choice.needs_unlabeled] if ALL in counts else []
    if skipped:
        say(f"All labels: no runs of {', '.join(skipped)}, for want of unlabeled images.")
    own_recipe = _training_command(words)[0] is None  # which may not know the flag
    try:
        shared = words if own_recipe else [*words, "--no-report"]
        failures = execute(plan, shared, out / "logs", chosen, jobs, say)
    except KeyboardInterrupt:
        say("Interrupted; runs keep their last whole epoch: the same command continues them.", error=True)
        raise SystemExit(130) from None
    return [recorded(run.folder, run.method.label, run.labels, run.seed, failures.get(run.folder)) for run in plan]


def _require_valid(plan, words):
    """Check the options of every run now, rather than hours later when the last one starts."""
    from rankmatch_keras import methods
    from rankmatch_keras.comparison.grid import PER_METHOD
    from rankmatch_keras.comparison.records import ALL

    for choice in dict.fromkeys(run.method for run in plan):
        methods.check_options(choice.name, choice.option_names, further=(*PER_METHOD, "preset"))
    command, flags = _training_command(words)
    if command is None:
        return
    for run in plan:
        options = command.read([*map(run.fill, flags), *run.flags])
        options.check_duration()
        _require_shared(options)
        if run.labels == ALL:
            _require_possible_with_all(options)


def _training_command(words):
    """Return the command that reads the shared flags, and these; None for a recipe of another kind."""
    from rankmatch_keras.cli.recipes import TrainingCommand, training_command
    from rankmatch_keras.training.configuration import OWN_DATA

    if words[0].startswith("-"):
        return training_command(None, own_data=True, **OWN_DATA), words
    found = runpy.run_path(words[0], run_name="recipe")
    commands = [getattr(value, "command", None) for value in found.values()]
    return next((command for command in commands if isinstance(command, TrainingCommand)), None), words[1:]


def _require_shared(options):
    """Check that nothing is left to the single run that all runs of a table must agree in."""
    open_ones = {"--steps 1000": options.steps or options.epochs, "--crop 193": options.crop}
    missing = [example for example, value in open_ones.items() if value is None]
    if missing:
        flags = " and ".join(example.split()[0] for example in missing)
        raise UserError(
            f"{flags}, equal for all runs", "none: each run would choose its own", f"Give e.g. {' '.join(missing)}."
        )


def _require_possible_with_all(options):
    """Check that a run with all labels sees all of them, and takes as many steps as the others."""
    if options.labeled_list is not None:
        raise UserError("--labels all without --labeled-list", f"{options.labeled_list}", "Leave one of them out.")
    if options.epochs is not None:
        raise UserError(
            "a duration in steps with --labels all",
            f"{options.epochs} epochs, passes over unlabeled images that such a run does not have",
            "Give --steps.",
        )


def _require_free(out):
    """Check that the folder is new, empty or that of a comparison."""
    from rankmatch_keras.comparison.folder import is_comparison
    from rankmatch_keras.training.run_folder import is_free

    if not is_free(out) and not is_comparison(out):
        raise UserError("a new or empty folder as --out, or that of a comparison", f"{out}", "Choose another --out.")


def _take(out):
    """Keep other comparisons out of the folder until this one ends."""
    from rankmatch_keras.training.run_folder import lock

    _require_free(out)
    lock(out)
    remove_temporaries(out)  # the runs below have locks of their own


def _remember(out, plan):
    """Record how the comparison is started; refuse other shared flags than those of the runs that are there."""
    from rankmatch_keras.comparison.folder import PLAN, read_plan, write_plan

    before = read_plan(out)
    if before is not None and before["words"] != plan["words"]:
        raise UserError(
            "the recipe and flags that this comparison was started with",
            f"`{' '.join(plan['words'])}` instead of `{' '.join(before['words'])}` in {out / PLAN}",
            "Give the same ones, or choose another --out.",
        )
    write_plan(out, plan)


def _write(out, comparison):
    from rankmatch_keras.comparison.charts import save_class_chart, save_learning_curves
    from rankmatch_keras.comparison.csv_files import write_tables
    from rankmatch_keras.comparison.folder import TABLE
    from rankmatch_keras.comparison.latex import to_latex
    from rankmatch_keras.comparison.markdown import to_markdown
    from rankmatch_keras.evaluation.plots import draw_or_say

    text = to_markdown(comparison)
    for name, content in ((TABLE, text), ("table.tex", to_latex(comparison))):
        with replacing(out / name) as temporary:
            temporary.write_text(content, encoding="utf-8")
    write_tables(out, comparison)
    charts = []
    for name, draw in (("curves.png", save_learning_curves), ("classes.png", save_class_chart)):
        draw_or_say(name, lambda draw=draw: charts.extend(draw(out, comparison)))
    say(f"\n{text}")
    drawn = f", {', '.join(path.name for path in charts)}" if charts else ""
    say(f"Written to {out}: {TABLE}, table.tex, table.csv, pairs.csv, runs.csv{drawn}")


def _write_report(out, comparison):
    """Write the report; it is worth no failure of a comparison whose tables are written."""
    from rankmatch_keras.comparison.folder import command_of
    from rankmatch_keras.evaluation.plots import draw_or_say

    def write(path):
        from rankmatch_keras.report import write_comparison_report  # with Keras, which the waiting did not need

        command = command_of(out, comparison.records)
        write_comparison_report(comparison, path, out.resolve().name, command)

    if draw_or_say(NAME, write, out / NAME):
        say(f"The report is {out / NAME}")

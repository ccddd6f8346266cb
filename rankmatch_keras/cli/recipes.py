"""Recipes: short scripts whose defaults make a training command."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from rankmatch_keras.cli.flags import GroupedCommand, given_values, run_flags
from rankmatch_keras.cli.report import NAME
from rankmatch_keras.cli.running import run
from rankmatch_keras.environment import require_environment
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import say
from rankmatch_keras.training.options import CATALOG, Options

LAUNCHED = {"RANK", "WORLD_SIZE", "TF_CONFIG", "JAX_PROCESS_ID", "JAX_COORDINATOR_ADDRESS"}


class TrainingCommand(GroupedCommand):
    """Training command of a recipe, which can also read its flags without training.

    Args:
        defaults: the recipe's defaults.
        **settings: of the command.
    """

    def __init__(self, defaults: Mapping[str, Any], **settings):
        super().__init__("train", **settings)
        self.defaults = defaults

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Parse a command line; of an unknown flag that abbreviates others, such as `--lr`, those are suggested."""
        try:
            return super().parse_args(context, args)
        except click.NoSuchOption as error:
            letters = error.option_name.lstrip("-")
            flags = [flag for parameter in self.params for flag in parameter.opts]
            meant = [flag for flag in flags if "".join(word[0] for word in flag.lstrip("-").split("-")) == letters]
            if not meant:
                raise
            found = f"No such option '{error.option_name}'. Did you mean {' or '.join(meant)}?"
            raise click.NoSuchOption(error.option_name, found, ctx=context) from None

    def options(self, context: click.Context) -> Options:
        """Return the options that a parsed command line asks for.

        Raises:
            UserError: an option cannot work.
        """
        from rankmatch_keras.training.configuration import read_options

        names = [name for name in context.params if name in CATALOG]
        given = given_values(context, names)
        return read_options(self.defaults, given, context.params["config"] or _file_of_run({**self.defaults, **given}))

    def read(self, arguments: Sequence[str]) -> Options:
        """Read a command line as training would.

        Args:
            arguments: the flags.

        Raises:
            UserError: an option cannot work.
            click.ClickException: a flag is unknown or malformed.
        """
        try:
            with self.make_context("rankmatch train", list(arguments)) as context:
                return self.options(context)
        except click.UsageError as error:
            raise click.ClickException(error.format_message()) from error


def recipe(
    text: str | None, train: Callable[[Options], Any] | None = None, own_data: bool = False, **defaults
) -> Callable[..., None]:
    """Make a script's main function: a training command with a flag for every option.

    Args:
        text: docstring of the script, the help of the command.
        train: what to do with the options; `rankmatch_keras.train` by default.
        own_data: whether flags name the data; a recipe names it in its defaults.
        **defaults: the recipe's defaults, by the names of `training.Options`.

    Returns:
        Function of the command line (that of the program by default) and of the program's name.

    Example:
        >>> main = recipe("Street scenes.", dataset="CamVid", labels=23, crop=193)
    """
    command = training_command(text, train, own_data, **defaults)

    def main(arguments: list[str] | None = None, name: str | None = None) -> None:
        run(command, arguments, name)

    main.command = command  # type: ignore[attr-defined]  # for those who want to read flags without training
    return main


def training_command(
    text: str | None, train: Callable[[Options], Any] | None = None, own_data: bool = False, **defaults
) -> TrainingCommand:
    """Make the command of `recipe`."""

    @click.pass_context
    def callback(context, /, **_):
        require_environment()
        _require_output(context.params)  # before Keras is imported, which takes seconds
        from rankmatch_keras.training.train import train as train_model

        trained = (train or train_model)(context.command.options(context))
        if context.params["report"]:
            _write_report(trained)

    unknown = {*defaults} - {*CATALOG}
    if unknown:
        raise TypeError(f"A recipe's defaults are options of a run. Received: {sorted(unknown)}")
    return TrainingCommand(
        defaults,
        params=run_flags(defaults, own_data),
        callback=callback,
        help="\b\n" + (text or "").replace("\n\n", "\n\n\b\n"),
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )


def _file_of_run(named):
    """Return the `run.yaml` of the run to resume where nothing else names its data, or `None`."""
    from rankmatch_keras.training.run_folder import Run

    if not (named.get("resume") and named.get("out")) or named.get("dataset") or named.get("images"):
        return None
    file = Run(Path(named["out"])).options
    return file if file.is_file() else None


def _require_output(values):
    """Check that a run has a folder to write to, by its flag or its configuration file.

    Raises:
        UserError: there is none, or it is in use.
    """
    from rankmatch_keras.training.configuration import read_file
    from rankmatch_keras.training.run_folder import Run

    file = {} if values["config"] is None else read_file(values["config"])
    out, resume = values["out"] or file.get("out"), values["resume"] or file.get("resume")
    if out is None:
        raise UserError("an output folder", "none", "Give --out, e.g. --out runs/first.")
    # Processes that a launcher started may find what another one has written. Whether the file's is a path comes later.
    if isinstance(out, str | os.PathLike) and not LAUNCHED & {*os.environ}:
        Run(Path(out)).require_new(bool(resume))


def _write_report(trained):
    """Write the report of the run that a recipe returns, if it does; it is worth no failure of a finished run."""
    from rankmatch_keras.backend.distribution import running
    from rankmatch_keras.evaluation.plots import draw_or_say
    from rankmatch_keras.training.train import Trained

    def draw(out):
        from rankmatch_keras.report import Scored, write_report

        dataset, model = trained.dataset, running().local(trained.model)
        part = "test" if dataset.test else "val"
        network = trained.run.chosen.name
        write_report(Scored(trained.run, model, network, dataset, part, trained.evaluator, trained.scores), out)

    def write():
        out = trained.run.folder / NAME
        if draw_or_say(NAME, draw, out):
            say(f"The report is {out}")

    if isinstance(trained, Trained):
        running().on_main(write)

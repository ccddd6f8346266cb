"""Recipes: short scripts whose defaults make a training command."""

from collections.abc import Callable
from typing import Any

import click

from rankmatch_keras.cli.flags import GroupedCommand, given_values, run_flags
from rankmatch_keras.cli.running import run
from rankmatch_keras.environment import require_environment
from rankmatch_keras.training.options import CATALOG, Options


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

    return main


def training_command(
    text: str | None, train: Callable[[Options], Any] | None = None, own_data: bool = False, **defaults
) -> click.Command:
    """Make the command of `recipe`."""

    @click.pass_context
    def callback(context, config, **values):
        require_environment()
        from rankmatch_keras.training.configuration import read_options
        from rankmatch_keras.training.train import train as train_model

        options = read_options(defaults, given_values(context, values), config)
        (train or train_model)(options)

    unknown = {*defaults} - {*CATALOG}
    if unknown:
        raise TypeError(f"A recipe's defaults are options of a run. Received: {sorted(unknown)}")
    return GroupedCommand(
        "train",
        params=run_flags(defaults, own_data),
        callback=callback,
        help="\b\n" + (text or "").replace("\n\n", "\n\n\b\n"),
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    )

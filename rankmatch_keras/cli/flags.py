"""Command-line flags made from the option catalog."""

import functools
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from rankmatch_keras.errors import did_you_mean
from rankmatch_keras.training.catalog import Option, names_where
from rankmatch_keras.training.configuration import RECIPES, with_recipe
from rankmatch_keras.training.data_options import DATA
from rankmatch_keras.training.options import CATALOG, GROUPS, RUN

PATH = click.Path(path_type=Path)


class GroupedCommand(click.Command):
    """Command whose help lists the flags of the catalog under their headings."""

    def format_options(self, context, formatter):
        """Write one section of flags per heading."""
        sections = defaultdict(list)
        for parameter in self.get_params(context):
            record = parameter.get_help_record(context)
            if record is not None:
                option = CATALOG.get(parameter.name)
                sections[option.about.group if option else RUN].append(record)
        for group, records in sections.items():
            with formatter.section(group):
                formatter.write_dl(records)


class NamedChoice(click.Choice):
    """One of several names; a mistyped one is answered with the nearest."""

    def get_invalid_choice_message(self, value, ctx):
        """Say what the choices are."""
        message = super().get_invalid_choice_message(value, ctx)
        return f"{message} {did_you_mean(value, map(str, self.choices), '')}".rstrip()


class CountOrAll(click.IntRange):
    """A number, or `all`: None, which stands for as many as there are."""

    name = "number or all"

    def convert(self, value, param, ctx):
        """Convert a word."""
        return None if value == "all" else super().convert(value, param, ctx)


def run_flags(defaults: Mapping[str, Any], own_data: bool) -> list[click.Parameter]:
    """Make the flags of a training command.

    Args:
        defaults: the recipe's defaults, which the help shows.
        own_data: whether flags say which data to train on; otherwise the recipe does.
    """
    hidden = {"never"} if own_data else {"never", "own data"}
    options = [option for option in CATALOG.values() if option.about.flag not in hidden]
    config = click.Option(
        ["--config"], type=PATH, help="YAML file of options, such as the run.yaml of a run; flags override it."
    )
    report = click.Option(
        ["--report/--no-report"], default=True, show_default=True, help="Write the run as a page too, report.html."
    )
    values = with_recipe(defaults)
    flags = [_flag(option, values.get(option.name, option.default)) for option in options]
    flags.sort(key=lambda flag: GROUPS.index(CATALOG[flag.name].about.group))
    return [*flags, config, report]


def data_flags(command):
    """Add the flags that name the data to a command function, which gets them as keyword arguments."""
    return with_flags(names_where(CATALOG, group=DATA))(command)


def with_flags(names: Iterable[str]):
    """Return a decorator that adds the flags of some options to a command function."""
    return functools.partial(_add_flags, list(names))


def _add_flags(names, command):
    for name in reversed(names):
        option = CATALOG[name]
        kind: dict[str, Any] = {"is_flag": True} if option.kind is bool else {"type": _click_type(option)}
        command = click.option(option.flag, name, default=option.default, help=option.about.help, **kind)(command)
    return command


def given_values(context: click.Context, names: Iterable[str]) -> dict[str, Any]:
    """Return the values that the person gave on the command line."""
    source = click.core.ParameterSource.COMMANDLINE
    return {name: context.params[name] for name in names if context.get_parameter_source(name) is source}


def _flag(option: Option, default: Any) -> click.Option:
    help_text = option.about.help
    if option.kind is bool:
        on_somewhere = default or any(recipe.get(option.name) for recipe in RECIPES.values())
        negatable = f"/--no-{option.flag[2:]}" if on_somewhere else ""
        return click.Option(
            [option.flag + negatable], is_flag=True, default=default, show_default=bool(default), help=help_text
        )
    if option.kind is tuple:
        return click.Option([option.flag], multiple=True, default=default, metavar="NAME=VALUE", help=help_text)
    shown = default is not None
    return click.Option([option.flag], type=_click_type(option), default=default, show_default=shown, help=help_text)


def _click_type(option: Option) -> Any:
    if option.choices:
        return NamedChoice(option.choices)
    if option.kind is Path:
        return PATH
    if option.name == "labels":
        return CountOrAll(min=1)
    if option.least is None and option.most is None:
        return option.kind
    kinds: dict[type, Any] = {int: click.IntRange, float: click.FloatRange}
    return kinds[option.kind](option.least, option.most)

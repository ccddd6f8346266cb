"""`rankmatch train`: run a recipe, or the built-in one for any data."""

import runpy
import sys
from pathlib import Path

import click

from rankmatch_keras.errors import UserError


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    epilog="`rankmatch train RECIPE FLAGS` is the same as `python RECIPE FLAGS`.",
)
@click.argument("recipe", required=False)
@click.argument("flags", nargs=-1, type=click.UNPROCESSED)
def train(recipe, flags):
    """Train on your own images, or by a recipe.

    \b
    rankmatch train --images photos --masks masks --unlabeled more_photos --out runs/first
    rankmatch train --dataset CamVid --data camvid --labels 23 --out runs/camvid
    rankmatch train --images --help                             lists the flags
    rankmatch train recipes/lucchi.py --data lucchi --labels 10 --out runs/l10
    rankmatch train recipes/lucchi.py --data lucchi --labels 10 --out runs/l10 --resume
    rankmatch train recipes/lucchi.py --help                    lists those of the recipe
    """
    if recipe is None or (recipe in ("-h", "--help") and not flags):
        click.echo(click.get_current_context().get_help())
    elif recipe.startswith("-"):
        sys.argv = ["rankmatch train", recipe, *flags]
        runpy.run_module("rankmatch_keras.any_data", run_name="__main__")
    else:
        require_recipe(recipe)
        sys.argv = [recipe, *flags]
        runpy.run_path(recipe, run_name="__main__")


def require_recipe(path: str) -> None:
    """Checks that there is a recipe.

    Raises:
        UserError: there is none.
    """
    if not Path(path).is_file() or Path(path).suffix != ".py":
        raise UserError(
            "a recipe, a Python file, or flags that name the data",
            f"{path}",
            "Give one of recipes/*.py, or --images DIR --masks DIR.",
        )

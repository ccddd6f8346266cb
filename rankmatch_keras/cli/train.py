"""`rankmatch train`: training on any data, or by a recipe."""

import runpy
import sys
from pathlib import Path

import click

from rankmatch_keras.cli.recipes import training_command
from rankmatch_keras.errors import UserError
from rankmatch_keras.training.configuration import OWN_DATA

HELP = """Train on your own images, on a known data set, or by a recipe.

Examples:
  rankmatch train --images photos --masks masks --unlabeled more_photos --out runs/first
  rankmatch train --images photos --masks masks --unlabeled more_photos \\
      --val-images photos2 --val-masks masks2 --time-budget 2h --crop 321 --out runs/second
  rankmatch train --images photos --masks masks --method supervised --out runs/labels-alone
  rankmatch train --dataset Cityscapes --data cityscapes --labels 186 --out runs/city
  rankmatch train --config runs/first/run.yaml --seed 1 --out runs/again
  rankmatch train recipes/lucchi.py --data lucchi --labels 10 --out runs/l10
  rankmatch train --out runs/l10 --resume
  rankmatch train recipes/lucchi.py --help

Masks may hold class ids, two gray values such as 0 and 255, or colors; images any number of channels of 8 or 16 bits
or floats: docs/data.md shows every way in. Without validation images a fifth of the labeled ones is held out.
Crop, duration and pretrained weights follow from the images and the machine; a run says what it chose. After a fifth of
the run on labels alone the unlabeled images join in. Where they lower the validation score, the run goes back to labels
alone, and it keeps its best network. --recipe published has the articles' settings instead (docs/recipe.md).
"""


@click.command(
    context_settings={"ignore_unknown_options": True, "help_option_names": []},
    add_help_option=False,
    short_help="Train a model.",
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
def train(words):
    """Train on your own images, on a known data set, or by a recipe."""
    words = list(words) or ["--help"]
    if words[0].startswith("-"):
        command = training_command(HELP, own_data=True, **OWN_DATA)
        command.main(words, "rankmatch train", standalone_mode=False)
        return
    require_recipe(words[0])
    sys.argv = words
    runpy.run_path(words[0], run_name="__main__")


def require_recipe(path: str) -> None:
    """Check that there is a recipe.

    Raises:
        UserError: there is none.
    """
    if not Path(path).is_file() or Path(path).suffix != ".py":
        raise UserError(
            "a recipe, a Python file, or flags that name the data",
            f"{path}",
            "Give one of recipes/*.py, or --images DIR --masks DIR.",
        )

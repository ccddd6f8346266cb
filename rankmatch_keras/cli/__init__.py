"""Command line: the commands of `rankmatch`, and recipes."""

import sys

import click

from rankmatch_keras import __version__
from rankmatch_keras.cli.check import check
from rankmatch_keras.cli.compare import compare
from rankmatch_keras.cli.doctor import doctor
from rankmatch_keras.cli.evaluate import evaluate
from rankmatch_keras.cli.export import export
from rankmatch_keras.cli.figures import figures
from rankmatch_keras.cli.predict import predict
from rankmatch_keras.cli.recipes import recipe as recipe
from rankmatch_keras.cli.report import report
from rankmatch_keras.cli.running import run
from rankmatch_keras.cli.split import split
from rankmatch_keras.cli.suggest import suggest
from rankmatch_keras.cli.train import train
from rankmatch_keras.environment import require_environment


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="rankmatch-keras")
def cli():
    """RankMatch: semantic segmentation from few labeled and many unlabeled images.

    The environment variable KERAS_BACKEND (tensorflow, torch or jax) chooses the backend.
    """


for _command in (train, evaluate, predict, suggest, export, report, compare, figures, split, check, doctor):
    cli.add_command(_command)


def main():
    """Run the command line; a mistake of the user ends with one line and exit code 2."""
    if not {"-h", "--help", "--version"} & set(sys.argv[1:]) and sys.argv[1:2] != ["doctor"]:  # which says it itself
        require_environment()
    run(cli, name="rankmatch")

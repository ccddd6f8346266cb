"""The command line: `rankmatch train | evaluate | predict | compare | figures | split | check`."""

import sys

import click

from rankmatch_keras import __version__
from rankmatch_keras.commands.check import check
from rankmatch_keras.commands.compare import compare
from rankmatch_keras.commands.evaluate import evaluate
from rankmatch_keras.commands.figures import figures
from rankmatch_keras.commands.predict import predict
from rankmatch_keras.commands.split import split
from rankmatch_keras.commands.train import train
from rankmatch_keras.environment import require_environment


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, package_name="rankmatch-keras")
def cli():
    """RankMatch: semantic segmentation from few labelled and many unlabelled images.

    The backend is chosen by the environment variable KERAS_BACKEND (tensorflow, torch or jax).
    """


for _command in (train, evaluate, predict, compare, figures, split, check):
    cli.add_command(_command)


def main():
    """Runs the command line; a mistake of the user ends with one line and exit code 2."""
    arguments = sys.argv[1:]
    if not {"-h", "--help", "--version"} & set(arguments):
        require_environment()
    from rankmatch_keras.command import run

    run(cli, arguments)

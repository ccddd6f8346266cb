"""A counter on the terminal."""

import sys
from collections.abc import Callable

import click


def progress_bar(verb: str) -> Callable[[int, int], None]:
    """Makes a function of `(done, total)` that counts on the terminal; silent where the output goes to a file."""

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{done} of {total} {verb}", err=True, nl=done == total)

    return show

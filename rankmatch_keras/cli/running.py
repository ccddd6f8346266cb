"""Error boundary of the command line: a person's mistake ends with one line and exit code 2, never with a trace."""

import signal

import click

from rankmatch_keras.errors import NonFiniteLoss, UserError, WorkerLost
from rankmatch_keras.texts import say


def run(command: click.Command, arguments: list[str] | None = None, name: str | None = None) -> None:
    """Run a command and turn the errors that a person can mend into one line each.

    Args:
        command: the command.
        arguments: the command line; that of the program by default.
        name: name of the program in usage lines.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        command.main(arguments, name, standalone_mode=False)
    except click.ClickException as error:
        error.show()
        raise SystemExit(2) from None
    except UserError as error:
        say(f"Error: {error}", error=True)
        raise SystemExit(2) from None
    except (NonFiniteLoss, WorkerLost) as error:
        say(f"Error: {error}", error=True)
        raise SystemExit(1) from None
    except Terminated:
        say("Stopped from outside; a training run keeps its last whole epoch: continue with --resume.", error=True)
        raise SystemExit(143) from None
    except (click.Abort, KeyboardInterrupt):
        say("Interrupted; a training run keeps its last whole epoch: continue with --resume.", error=True)
        raise SystemExit(130) from None


class Terminated(BaseException):
    """Request to end, e.g. from a launcher of several processes of which one has failed."""


def _terminate(signum, frame):
    raise Terminated

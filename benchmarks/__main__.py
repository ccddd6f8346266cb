"""All benchmarks by name; each has its own --help.

\b
    python benchmarks step --backend all
    python benchmarks growth --of agents,classes
"""

import importlib

import click

COMMANDS = {
    "step": ("step_time", "Seconds and memory of a training step, on all backends."),
    "profile": ("profile_step", "Where a step's time goes on PyTorch."),
    "growth": ("growth", "Seconds and memory as one size grows."),
    "input": ("input_pipeline", "Speed of the input pipelines beside Pillow."),
    "check": ("check", "Speed of `rankmatch check`."),
    "rank-gradients": ("rank_gradients", "Gradient norms of RankMatch's terms."),
}


class Benchmarks(click.Group):
    """Commands that are imported when they are called: some choose the backend first."""

    def list_commands(self, ctx):
        """Return the names in the order of the table above."""
        return list(COMMANDS)

    def get_command(self, ctx, cmd_name):
        """Import a command."""
        return importlib.import_module(COMMANDS[cmd_name][0]).main if cmd_name in COMMANDS else None

    def format_commands(self, ctx, formatter):
        """List the commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


if __name__ == "__main__":
    Benchmarks("benchmarks", help=__doc__)()

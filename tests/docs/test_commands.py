"""Every `rankmatch` command and every flag of the documentation is one that the program knows; nothing runs."""

import re
import runpy
import shlex

import click
import pytest
from documents import FENCE, blocks, pages

from rankmatch_keras.cli import cli
from rankmatch_keras.cli.recipes import training_command
from rankmatch_keras.comparison.grid import read_labels, read_methods, read_seeds
from rankmatch_keras.errors import UserError
from rankmatch_keras.training.configuration import OWN_DATA

pytestmark = pytest.mark.once
PROGRAM = re.compile(r"(?:^|\s)(?:rankmatch|-m rankmatch_keras)\s+(?=[a-z])([^\n|;&]+)")
# Flags of other programs: torchrun, LabelMe, pip, the benchmarks, the scripts in data/ and recipes/, tests/stress.
FOREIGN = {
    *("--standalone", "--nproc-per-node", "--max-restarts", "--no-deps", "--table", "--images", "--seed", "--only"),
    *("--processes", "--no-shares", "--no-plain", "--backend", "--help", "--half", "--jit", "--precision", "--output"),
    "--directory",
}


def commands(text):
    """Yield the words after `rankmatch` of each command in the blocks and between backticks."""
    shell = "\n".join(code for code, _ in blocks(text, "", "bash")).replace("\\\n", " ")
    spans = re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    for line in [*shell.splitlines(), *(span.replace("\\|", "|") for span in spans)]:
        for words in PROGRAM.findall(line.replace("2>&1", "")):
            yield shlex.split(words, comments=True)


def parser(words):
    """Return the training command that reads the words: a recipe's, or that of flags alone."""
    if words and words[0].endswith(".py"):
        return runpy.run_path(words[0])["main"].command, words[1:]
    return training_command("", own_data=True, **OWN_DATA), words


def read(words):
    """Read a command as the program would; three dots stand for flags that are left out.

    Raises:
        UserError, click.ClickException: the program would refuse it.
    """
    name, *given = words
    complete, given = "..." not in given, [word for word in given if word not in ("...", "--help")]
    command = cli.commands[name]
    try:
        context = command.make_context(name, [*given])
        if name == "compare":
            options = context.params
            read_methods(options["methods"] or ""), read_labels(options["labels"]), read_seeds(options["seeds"])
            given = options["words"] if options["methods"] else []
        if name in ("train", "compare") and given:
            command, flags = parser([*given])
            context = command.make_context(name, flags)
            if complete and not context.params["config"]:
                command.options(context)
    except click.MissingParameter:
        if complete and given:
            raise


def test_the_program_knows_every_command(checkout, monkeypatch):
    monkeypatch.chdir(checkout)
    wrong, found = [], 0
    for page, text in pages(checkout).items():
        for words in commands(text):
            found += 1
            try:
                read(words)
            except (UserError, click.ClickException, KeyError) as error:
                wrong.append(f"{page.relative_to(checkout)}: {' '.join(words)}: {error}")
    assert not wrong, "\n".join(wrong)
    assert found > 100


def test_the_program_knows_every_flag(checkout):
    training = [parser(words)[0] for words in ([], [str(checkout / "recipes" / "camvid.py")])]
    own = [parameter for command in [*cli.commands.values(), *training] for parameter in command.params]
    known = {flag for parameter in own for flag in (*parameter.opts, *parameter.secondary_opts)} | FOREIGN
    unknown = []
    for page, text in pages(checkout).items():
        for span in re.findall(r"`([^`\n]+)`", FENCE.sub("", text)):
            flags = re.findall(r"(?<![\w-])--[a-z][\w-]*", span)
            unknown += [f"{page.name}: {flag}" for flag in flags if flag not in known]
    assert not unknown


def test_a_wrong_flag_is_found():
    for line in ("rankmatch train --images a --masks b --crops 65", "rankmatch predict runs/a --images b --save mask"):
        with pytest.raises((UserError, click.ClickException)):
            [read(words) for words in commands(f"```\n{line}\n```")]

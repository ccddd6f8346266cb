"""`rankmatch split`: lists of the images to label, for `rankmatch train`."""

import re
from fractions import Fraction
from math import ceil
from pathlib import Path

import click

from rankmatch_keras.cli.flags import data_flags, given_values
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import counted, printable, say

_AMOUNT = re.compile(r"([0-9]{1,9})(?:/([0-9]{1,9}))?|([0-9]?\.[0-9]{1,12})")


@click.command(short_help="Choose the images to label.")
@data_flags
@click.option("--like", metavar="RUN", type=click.Path(path_type=Path), help="Or a run whose data to take.")
@click.option("--labels", type=click.IntRange(min=1), help="Number of labeled images.")
@click.option("--fraction", metavar="FRACTION", help="Or the fraction of the training images, e.g. 1/16 or 0.0625.")
@click.option("--val", metavar="N|FRACTION", help="Number or fraction of the training images to keep for validation.")
@click.option("--every", type=click.IntRange(min=1), default=1, metavar="K", help="Label only every K-th image.")
@click.option("--groups", metavar="REGEX", help="Keep images with equal matches together, e.g. '^[^_]+'.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the random order.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the lists.")
def split(like, labels, fraction, val, every, groups, seed, out, **flags):
    """Choose the images to label: every class covered, sets nested, images spaced, groups kept whole.

    Writes labeled.txt and unlabeled.txt, `image mask` per line relative to --data (or to the folder that holds all
    files), and val.txt with --val. The first labeled images cover every class with few images, the others are random;
    for the same --seed a smaller set is part of a larger one. --every K takes every K-th image in natural order, in
    each group, so that slices or frames are not neighbors. --groups keeps whole volumes or videos together: its
    regular expression is matched with the name of the image (its path without ending), and its first group, if any,
    is compared.

    \b
    rankmatch split --dataset CamVid --data camvid --fraction 1/16 --out splits/camvid-16
    rankmatch split --images slices --masks masks --labels 10 --every 5 --out splits/l10
    rankmatch split --images frames --masks masks --labels 40 --groups '^[^_]+' --val 0.2 --out splits/l40
    rankmatch split --like runs/first --labels 20 --out splits/l20
    rankmatch train --dataset CamVid --data camvid --labeled-list splits/camvid-16/labeled.txt \\
        --unlabeled-list splits/camvid-16/unlabeled.txt --out runs/l16
    """
    if (labels is None) == (fraction is None):
        found = "neither" if labels is None else "both"
        raise UserError("--labels N or --fraction FRACTION", found, "Give one of them.")
    names = ("labeled", "unlabeled", "val")
    files = {name: out / f"{name}.txt" for name in names}
    _require_new(out, files.values())
    from rankmatch_keras.data.sets.lists import common_folder
    from rankmatch_keras.data.sets.pixel_statistics import class_pixels
    from rankmatch_keras.data.splits import require_unique, split_id
    from rankmatch_keras.data.splits.selection import group_names, select_images

    dataset = _data(like, flags)
    if like is not None and dataset.val:
        held_out = counted(len(dataset.val), "validation image")
        say(f"Left out of all lists: {held_out} of {like}, as networks that trained on them cannot be scored on them.")
    require_unique([*dataset.train, *dataset.unlabeled], "among the training images")
    samples = {sample.name: sample for sample in dataset.train if sample.mask is not None}
    if not samples:
        raise UserError("images with masks to choose from", "none", "Give --masks.")
    root = flags["data"].resolve() if flags["data"] else common_folder([*dataset.train, *dataset.unlabeled])
    num_val = _amount(val, len(samples), "--val") if val else 0
    count = labels or _amount(fraction, len(samples) - num_val, "--fraction")
    group_of = group_names(samples, groups) if groups else None
    pixels = class_pixels(list(samples.values()), dataset.num_classes)  # (images, K)
    presence = {name: frozenset(row.nonzero()[0].tolist()) for name, row in zip(samples, pixels, strict=True)}
    selection = select_images(presence, count, seed, groups=group_of, every=every, val=num_val)

    others = _apart(dataset.unlabeled, selection.val, group_of, groups)
    chosen = {
        "labeled": [samples[name] for name in selection.labeled],
        "unlabeled": [*(samples[name] for name in selection.unlabeled), *others],
        "val": [samples[name] for name in selection.val],
    }
    _write_lists({files[name]: chosen[name] for name in names}, root)

    labeled = set(selection.labeled)
    say(_table(dataset.class_names, pixels, [name in labeled for name in samples]))
    say()
    for note in _notes(selection, presence, dataset.class_names, count, num_val, len(dataset.unlabeled) - len(others)):
        say(note)
    counts = ", ".join(
        f"{len(chosen[name])} {word}"
        for name, word in zip(names, ("labeled", "unlabeled", "for validation"), strict=True)
    )
    say(f"{counts}; split {split_id(chosen['labeled'])}; lists in {out}, paths relative to {root}")


def _data(like, flags):
    """Open the data that the flags name, or a run's, from `--data` where they have moved."""
    from rankmatch_keras import data
    from rankmatch_keras.training.dataset import loader_of
    from rankmatch_keras.training.records import read_config
    from rankmatch_keras.training.reopening import open_data_of

    if like is None:
        loader, arguments = loader_of(flags)
        return data.open_data(loader, **arguments)
    others = given_values(click.get_current_context(), flags.keys() - {"data"})
    if others:
        flag = f"--{min(others).replace('_', '-')}"
        raise UserError("--like RUN, or flags that name data", f"both, {flag} among them", f"Leave {flag} out.")
    return open_data_of(like, read_config(like), flags["data"])


def _require_new(out: Path, files) -> None:
    if out.exists() and not out.is_dir():
        raise UserError("a folder for the lists", f"a file '{out}'", "Choose another --out.")
    for file in files:
        if file.exists():
            raise UserError("an output folder without lists", f"'{file}'", "Choose another --out, or remove it.")


def _amount(text: str, total: int, flag: str) -> int:
    """Return a number of images, or a fraction of `total` rounded up as in the public partitions (662 = 10582 / 16)."""
    match = _AMOUNT.fullmatch(text.strip())
    part = None
    if match and match[3]:
        part = Fraction(match[3])
    elif match and match[2] and int(match[2]):
        part = Fraction(int(match[1]), int(match[2]))
    elif match and not match[2] and flag == "--val":
        return int(match[1])
    if part is None or not 0 < part < 1:
        form = "a number, or a fraction" if flag == "--val" else "a fraction"
        raise UserError(f"{form} like 1/16 or 0.0625 as {flag}", f"{text!r}", "Correct it.")
    return ceil(part * total)


def _apart(unlabeled, val_names, group_of, pattern) -> list:
    """Return the images without masks, but for those of groups kept for validation."""
    if not group_of or not val_names:
        return list(unlabeled)
    kept = {group_of[name] for name in val_names}
    expression = re.compile(pattern)
    matches = {sample.name: expression.search(sample.name) for sample in unlabeled}
    group = {name: match[min(1, expression.groups)] for name, match in matches.items() if match}
    return [sample for sample in unlabeled if group.get(sample.name) not in kept]


def _write_lists(lists, root) -> None:
    """Write the lists that are not empty; none before all lines are known to be valid."""
    from rankmatch_keras.data.sets.lists import list_line
    from rankmatch_keras.files import replacing

    texts = {file: "".join(f"{list_line(sample, root)}\n" for sample in samples) for file, samples in lists.items()}
    try:
        for file, text in texts.items():
            if text:
                with replacing(file) as temporary:
                    temporary.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UserError("a folder to write to", f"{error}", "Choose another --out.") from error


def _table(class_names, pixels, is_labeled) -> str:
    """Return a table of class frequencies in pixels and images, of the labeled images and of all with masks."""
    parts = [pixels, pixels[is_labeled]]
    shares = [100 * part.sum(axis=0) / max(1, part.sum()) for part in parts]
    images = [(part > 0).sum(axis=0) for part in parts]
    class_names = [printable(name) for name in class_names]
    width = max(len("class"), *map(len, class_names))
    lines = [
        f"{'':{width}}  {'labeled':^18}  {'all with masks':^18}",
        f"{'class':{width}}  {'pixels %':>9} {'images':>8}  {'pixels %':>9} {'images':>8}",
    ]
    for k, name in enumerate(class_names):
        columns = [f"{shares[p][k]:9.2f} {images[p][k]:8d}" for p in (1, 0)]
        lines.append(f"{name:{width}}  {columns[0]}  {columns[1]}")
    return "\n".join(lines)


def _notes(selection, presence, class_names, count, num_val, num_left_out):
    """Yield what did not come out as asked for."""
    everywhere = set().union(*presence.values())
    covered = set().union(*(presence[name] for name in selection.labeled))
    absent = [name for k, name in enumerate(class_names) if k not in everywhere]
    missed = [name for k, name in enumerate(class_names) if k in everywhere - covered]
    if absent:
        yield f"In no mask at all: {', '.join(absent)}."
    if missed:
        covering = f"{counted(selection.num_covering, 'labeled image')} would cover all that can be covered"
        yield f"In no labeled image: {', '.join(missed)} ({covering})."
    if len(selection.labeled) != count:
        yield f"Whole groups give {counted(len(selection.labeled), 'labeled image')} instead of {count}."
    if len(selection.val) != num_val:
        yield f"Whole groups give {counted(len(selection.val), 'validation image')} instead of {num_val}."
    if num_left_out:
        yield f"Left out: {counted(num_left_out, 'image')} without masks, of groups kept for validation."
    if not selection.unlabeled:
        yield "No image with mask is left unlabeled."

"""`rankmatch check`: a report on the data before any training."""

import dataclasses
import itertools
import re
from pathlib import Path

import click

from rankmatch_keras.cli.flags import data_flags
from rankmatch_keras.errors import UserError
from rankmatch_keras.files import require_new_folder
from rankmatch_keras.texts import say

PATH = click.Path(path_type=Path)


@click.command(short_help="Report what a data set holds and what is wrong with it.")
@data_flags
@click.option("--labeled-list", type=PATH, help="Text file of `image mask` lines below --data: the labeled images.")
@click.option("--unlabeled-list", type=PATH, help="Text file of the unlabeled images, with --labeled-list.")
@click.option("--out", type=PATH, help="New folder for the pictures and report.txt; check-NAME here by default.")
@click.option("--json", "json_file", type=PATH, help="Also write the whole report, with all names, to this file.")
@click.option("--allow", multiple=True, metavar="KIND", help="Count this kind of finding as a note; repeatable.")
def check(labeled_list, unlabeled_list, out, json_file, allow, **flags):
    """Look at all files of a data set: what is in it, and what is wrong with it.

    Every image and mask is decoded; pairs, sizes, values and class frequencies are reported, and images that occur
    in training and validation. Exit code 0: nothing found; 1: findings; 2: nothing can be trained with this.

    \b
    rankmatch check --dataset CamVid --data path/to/camvid
    rankmatch check --images photos --masks masks --classes ground,cell --unlabeled more --json report.json
    """
    from rankmatch_keras import check as checks
    from rankmatch_keras.evaluation import progress_bar, write_json

    checks.require_kinds(allow)
    folder = None if out is None else require_new_folder(out)
    dataset, left_out = _opened(flags, labeled_list, unlabeled_list)
    folder = folder or require_new_folder(_unused_folder(dataset.name))
    report = checks.check(dataset, progress=progress_bar("looked at"))
    for kind, names in left_out.items():
        report = report.with_names(kind, names)
    report = report.allowing(allow)
    say(checks.format_check(report))
    try:
        if json_file:
            write_json(json_file, checks.check_to_dict(report))
        written = checks.save_report(folder, report, dataset.palette)
    except OSError as error:
        raise UserError("a place to write the report", f"{error}", "Choose another --out or --json.") from error
    say()
    for what, file in written.items():
        say(f"{what} are in {file}")
    if not report.trainable:
        raise UserError(
            "at least one labeled image without errors",
            f"none of {len(dataset.train)}",
            "Fix what is listed above.",
        )
    if report.faults:
        raise SystemExit(1)


def _opened(flags, labeled_list, unlabeled_list):
    """Open the data, with the images of lists where they are given; return it with what is left out."""
    from rankmatch_keras import data
    from rankmatch_keras.data.masks.mask_sets import unused_masks
    from rankmatch_keras.data.readers.folders import files_not_read
    from rankmatch_keras.training.dataset import found_out, loader_of

    if labeled_list is None and unlabeled_list is not None:
        raise UserError("--labeled-list with --unlabeled-list", "only the latter", "Give both.")
    loader, arguments = loader_of(flags)
    left_out: dict[str, list[str]] = {"mask-unused": [], "files-not-read": []}
    if loader == "ImageFolder":
        arguments["strict"] = False  # the check reports single files itself
    dataset = data.open_data(loader, **arguments)
    if loader == "ImageFolder":
        for images, masks in (("images", "masks"), ("unlabeled", None), ("val_images", "val_masks")):
            if flags[images] is not None:
                left_out["files-not-read"] += map(str, files_not_read(flags[images]))
            if flags[images] is not None and masks is not None:
                left_out["mask-unused"] += unused_masks(flags[images], flags[masks], flags["mask_suffix"])
        for line in found_out(dataset):
            say(line)
    if labeled_list is not None:
        if flags["data"] is None:
            raise UserError("the folder that the lists are relative to", "no --data", "Give it as --data DIR.")
        split = data.split_from_lists(labeled_list, unlabeled_list, flags["data"], like=dataset)
        dataset = dataclasses.replace(dataset, train=split.labeled, unlabeled=split.unlabeled)
    return dataset, left_out


def _unused_folder(name):
    """Return a folder that does not exist yet, named after the data."""
    stem = "check-" + (re.sub(r"[^\w.-]+", "_", name) or "data")
    numbers = itertools.count(2)
    folder = Path(stem)
    while folder.exists():
        folder = Path(f"{stem}-{next(numbers)}")
    return folder

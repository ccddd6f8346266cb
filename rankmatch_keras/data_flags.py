"""The flags that say which data a command works on, shared by `train`, `check` and `split`."""

from pathlib import Path
from typing import Any

import click

from rankmatch_keras.errors import UserError

FOLDER = click.Path(path_type=Path)

FLAGS = {
    "dataset": (str, "A known data set: PascalVOC, Cityscapes, Lucchi, CamVid, ADE20K, COCOStuff or SampleScenes."),
    "data": (FOLDER, "Its folder; also the folder that the paths of lists are relative to."),
    "images": (FOLDER, "Folder of labelled images, or a TIFF stack."),
    "masks": (FOLDER, "Folder of their masks, a TIFF stack, or a COCO-style JSON file."),
    "unlabeled": (FOLDER, "Folder of images without masks, or a TIFF stack."),
    "val_images": (FOLDER, "Folder of validation images."),
    "val_masks": (FOLDER, "Folder of their masks."),
    "classes": (str, "Class names in the order of their ids, separated by commas, or how many classes there are."),
    "legend": (FOLDER, "Text file of `name,red,green,blue` lines: what the colours of the masks mean."),
}


def data_flags(command):
    """Decorator: adds the flags to a click command function, which gets them as keyword arguments."""
    for name, (kind, text) in reversed(FLAGS.items()):
        command = click.option(f"--{name.replace('_', '-')}", name, type=kind, help=text)(command)
    return command


def loader_of(flags: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The loader and its arguments that the flags ask for, fit for JSON.

    Args:
        flags: the values of `FLAGS` by name; others are ignored.

    Returns:
        Name of a loader of `rankmatch_keras.data` and its keyword arguments, paths absolute.

    Raises:
        UserError: neither or both of a known data set and folders are given.
    """
    given: dict[str, Any] = {name: flags[name] for name in FLAGS if flags.get(name) is not None}
    named, folders = {"dataset"} & set(given), {"images", "masks"} & set(given)
    if bool(named) == bool(folders):
        raise UserError(
            "--dataset NAME --data DIR, or --images DIR --masks DIR",
            "both" if named else "neither",
            "Say which data to work on.",
        )
    if named:
        if "data" not in given:
            raise UserError("the folder of the data set", "no --data", "Give it as --data DIR.")
        extra = sorted(set(given) - {"dataset", "data"})
        if extra:
            raise UserError(f"--data alone with --dataset {given['dataset']}", f"--{extra[0]}", "Leave it out.")
        return given["dataset"], {"root": str(given["data"].resolve())}
    if len(folders) == 1:
        missing = "masks" if "images" in folders else "images"
        raise UserError("--images and --masks together", f"only --{folders.pop()}", f"Give --{missing} too.")
    arguments = {
        name: str(value.resolve()) if isinstance(value, Path) else value
        for name, value in given.items()
        if name != "data"
    }
    if "classes" in arguments:
        arguments["classes"] = read_classes(arguments["classes"])
    return "ImageFolder", arguments


def opened(flags: dict[str, Any]):
    """Open the data that the flags ask for.

    Returns:
        `rankmatch_keras.data.SegmentationData`.

    Raises:
        UserError: see `loader_of` and the loader.
    """
    from rankmatch_keras.data.sets.loaders import open_data

    loader, arguments = loader_of(flags)
    return open_data(loader, **arguments)


def read_classes(text: str) -> int | list[str]:
    """`"3"` -> 3; `"ground, cell"` -> `["ground", "cell"]`."""
    return int(text) if text.strip().isdigit() else [name.strip() for name in text.split(",")]

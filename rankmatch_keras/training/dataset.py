"""Data set of a run: the loader that options ask for, and opening it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rankmatch_keras import data
from rankmatch_keras.data.masks.class_names import read_names
from rankmatch_keras.data.readers.folders import natural_order, not_read
from rankmatch_keras.data.readers.slices import volume_of
from rankmatch_keras.data.sets.slices import are_slices
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import counted, say
from rankmatch_keras.training.catalog import names_where
from rankmatch_keras.training.data_options import DATA
from rankmatch_keras.training.options import CATALOG, Options

NAME_FILES = (".txt", ".csv")
FEW = 20  # validation images
DATA_OPTIONS = names_where(CATALOG, group=DATA)  # what any command needs to know to open data


def open_dataset(options: Options) -> data.SegmentationData:
    """Open the data set that the options name, with what they hold out or list for validation.

    Raises:
        UserError: neither or both of a known data set and folders are given, or the data cannot be opened.
    """
    loader, arguments = loader_of(vars(options))
    held_out = loader == "ImageFolder" and options.val_images is None and options.val_list is None
    if held_out and not options.hold_out:
        raise UserError(
            "validation images", "--hold-out 0 without --val-images", "Give --val-images, --val-list or --hold-out 0.2."
        )
    if held_out:
        arguments |= {"hold_out": options.hold_out, "seed": options.seed, "hold_out_block": True}
    if loader == "ImageFolder":
        arguments["strict"] = False  # the check before training lists everything that is wrong, not only the first
    dataset = data.open_data(loader, **arguments)
    for place in (options.images, options.unlabeled, options.val_images):
        if loader == "ImageFolder" and place is not None and (line := not_read(place)):
            say(line)
    for line in found_out(dataset):
        say(line)
    if line := sparse_labels(dataset):
        say(line)
    if held_out:
        say(f"No --val-images: {_held_out(dataset)} held out for validation.")
    if len(dataset.val) < FEW:
        few = counted(len(dataset.val), "validation image")
        say(f"Only {few}: scores on them, and the choice of the best, are rough.")
    if options.val_list is not None:
        dataset = data.with_val_list(dataset, options.val_list, options.data)
    return dataset


def found_out(dataset: data.SegmentationData) -> tuple[str, ...]:
    """Say in lines how the masks were found and understood, where that is not obvious."""
    return (*dataset.notes, *_matched_names(dataset))


def _matched_names(dataset: data.SegmentationData) -> tuple[str, ...]:
    """Say how masks are matched to images whose names they do not have."""
    for sample in dataset.train:
        if isinstance(sample.mask, data.MaskFile) and isinstance(sample.image, data.ImageFile):
            image, mask = sample.image.path, sample.mask.path
            if image.stem != mask.stem and sample.mask.page is None:
                return (f"Masks are matched by name: {mask.name} is the mask of {image.name}.",)
    return ()


def sparse_labels(dataset: data.SegmentationData) -> str | None:
    """Say in a line how many slices of a volume are labeled; `None` where all are, or there is no volume."""
    labeled = [*dataset.train, *dataset.val]
    volumes = {volume_of(sample.image) for sample in labeled if isinstance(sample.image, data.ImageFile)}
    bare = [
        one for one in dataset.unlabeled if isinstance(one.image, data.ImageFile) and volume_of(one.image) in volumes
    ]
    if not bare:
        return None
    return f"{counted(len(labeled), 'labeled slice')}, and {len(bare)} beside them that count as unlabeled."


def _held_out(dataset):
    if not are_slices(dataset.val):
        return f"{len(dataset.val)} of the labeled images {'is' if len(dataset.val) == 1 else 'are'}"
    names = natural_order(sample.name for sample in dataset.val)
    block = f"{names[0]} to {names[-1]}, {len(names)} labeled slices side by side," if len(names) > 1 else names[0]
    return f"{block} {'are' if len(names) > 1 else 'is'}"


def loader_of(values: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the loader and its arguments that options ask for, fit for JSON.

    Args:
        values: values of `DATA_OPTIONS` by name; others are ignored.

    Returns:
        Name of a loader of `rankmatch_keras.data` and its keyword arguments, paths absolute.

    Raises:
        UserError: neither or both of a known data set and folders are given.
    """
    given: dict[str, Any] = {name: values[name] for name in DATA_OPTIONS if values.get(name) is not None}
    named, folders = {"dataset"} & set(given), {"images", "masks"} & set(given)
    if bool(named) == bool(folders):
        raise UserError(
            "--dataset NAME --data DIR, or --images DIR --masks DIR",
            "both" if named else "neither",
            "Say which data to work on.",
        )
    if named:
        extra = sorted(set(given) - {"dataset", "data"})
        if extra:
            raise UserError(f"--data alone with --dataset {given['dataset']}", f"--{extra[0]}", "Leave it out.")
        if "data" not in given or not Path(given["data"]).is_dir():
            raise UserError("the folder of the data set", f"--data {given.get('data')}", "Give an existing folder.")
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


def read_classes(text: str) -> int | list[str]:
    """Read the option `classes`: `"3"` -> 3; other texts as `read_class_names`."""
    return int(text) if text.strip().isdigit() else read_class_names(text)


def read_class_names(text: str) -> list[str]:
    """Read class names: `"ground, cell"` -> `["ground", "cell"]`; `"names.txt"` -> those that the file lists.

    Raises:
        UserError: see `class_names.read_names`.
    """
    if Path(text).suffix.lower() in NAME_FILES:
        return list(read_names(text))
    return [name.strip() for name in text.split(",")]

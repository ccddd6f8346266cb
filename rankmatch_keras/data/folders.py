"""Lists images in folders and finds the mask that belongs to each, whatever the file endings."""

from collections.abc import Iterable
from pathlib import Path

from rankmatch_keras.data.samples import Sample
from rankmatch_keras.errors import UserError

IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff")


def images_by_stem(folder: str | Path, what: str = "images") -> dict[str, Path]:
    """Return the images of a folder by file name without ending, sorted.

    Args:
        folder: the folder; sub-folders and hidden files are not looked at.
        what: what the folder should hold, for the message.

    Raises:
        UserError: the folder is missing or without images, or two files differ only in their ending.
    """
    folder = Path(folder)
    endings = ", ".join(IMAGE_ENDINGS)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise UserError(f"a folder of {what}", f"{found} at '{folder}'", "Check the path.")
    files = sorted(f for f in folder.iterdir() if f.suffix.lower() in IMAGE_ENDINGS and f.name[0] != ".")
    if not files:
        raise UserError(
            f"a folder of {what} ({endings})",
            f"none of them in '{folder}'",
            "Give the folder that holds the files themselves; sub-folders are not searched.",
        )
    by_stem: dict[str, Path] = {}
    for file in files:
        if file.stem in by_stem:
            raise UserError(
                "one file per name",
                f"'{by_stem[file.stem].name}' and '{file.name}' in '{folder}'",
                "Rename or remove one: files are matched by name without ending.",
            )
        by_stem[file.stem] = file
    return by_stem


def unlabeled_samples(folder: str | Path) -> tuple[Sample, ...]:
    """Return one sample without mask per image of a folder."""
    return tuple(Sample(stem, file) for stem, file in images_by_stem(folder, "unlabelled images").items())


def labeled_samples(images: str | Path, masks: str | Path) -> tuple[Sample, ...]:
    """Return one sample per image, each with the mask of the same stem.

    Raises:
        UserError: a folder is missing or empty, or an image has no mask (the message names it).
    """
    image_files = images_by_stem(images)
    mask_files = images_by_stem(masks, "masks")
    missing = [file for stem, file in image_files.items() if stem not in mask_files]
    if missing:
        stem = missing[0].stem
        raise UserError(
            "a mask for every labelled image",
            f"no mask '{stem}.*' in '{masks}' for '{missing[0]}' ({len(missing)} such images)",
            "Add the mask under the image's name, or move images without masks to the unlabelled folder.",
        )
    return tuple(Sample(stem, file, mask_files[stem]) for stem, file in image_files.items())


def require_files(paths: Iterable[Path], source: str | Path) -> None:
    """Raise UserError when any of the paths that `source` names does not exist; count them, show five."""
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        shown = ", ".join(f"'{name}'" for name in missing[:5])
        more = ", ..." if len(missing) > 5 else ""
        raise UserError(
            f"files that exist for every name in '{source}'",
            f"{len(missing)} missing: {shown}{more}",
            "Check the data root, or download what is missing.",
        )

"""Splits into labeled and unlabeled samples, chosen by a seed or read from lists."""

import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

from rankmatch_keras.data.masks.encodings import IDS, MaskEncoding
from rankmatch_keras.data.masks.mask_files import MaskFile
from rankmatch_keras.data.readers.folders import require_files
from rankmatch_keras.data.readers.sources import ImageFile
from rankmatch_keras.data.sets.lists import common_folder, picture_below, picture_name, read_list
from rankmatch_keras.data.sets.samples import Sample, SegmentationData, seeded_order
from rankmatch_keras.errors import UserError
from rankmatch_keras.texts import counted


@dataclass(frozen=True)
class Split:
    """Labeled and unlabeled samples.

    Attributes:
        labeled: the labeled samples.
        unlabeled: all others, without their masks, so that nothing can look at them.
        id: the first 12 hex digits of the SHA-256 of the sorted labeled names; equal ids mean equal labeled samples.
        skipped: names of samples that were left out because they are unusable.
    """

    labeled: tuple[Sample, ...]
    unlabeled: tuple[Sample, ...]
    id: str
    skipped: tuple[str, ...] = ()


def choose_labeled(samples: Sequence[Sample], count: int, seed: int) -> Split:
    """Choose which samples are labeled.

    The samples with masks are ordered by SHA-256 of seed and name: a random order that is the same on every machine and
    library version. The first `count` are labeled, so a smaller choice with the same seed is part of a larger one.

    Args:
        samples: all training samples; those without masks are unlabeled in any case.
        count: number of labeled samples, at least 1.
        seed: selects the order.

    Returns:
        The split; `unlabeled` holds the rest without masks.

    Raises:
        UserError: there are fewer samples with masks than `count`, `count` is not positive, or a name occurs twice.
    """
    require_unique(samples, "among the samples")
    with_masks = [s for s in samples if s.mask is not None]
    if not 1 <= count <= len(with_masks):
        raise UserError(
            f"1 to {counted(len(with_masks), 'labeled image')}",
            f"{count} (of {counted(len(with_masks), 'image')} with masks)",
            "Ask for a number in this range.",
        )
    by_name = {s.name: s for s in with_masks}
    labeled = tuple(by_name[name] for name in seeded_order(by_name, seed)[:count])
    chosen = {s.name for s in labeled}
    unlabeled = tuple(replace(s, mask=None) for s in samples if s.name not in chosen)
    return Split(labeled, unlabeled, split_id(labeled))


def samples_from_list(
    path: str | Path, root: str | Path | None, like: SegmentationData | None = None
) -> tuple[Sample, ...]:
    """Read a list and find its files below a data root.

    Args:
        path: a list as `read_list` takes it.
        root: the folder that the paths are relative to; None: the innermost folder of the training files of `like`, as
            `rankmatch split` writes them.
        like: the data set that the list belongs to. An image that is one of its samples becomes that very sample, with
            its name, its channels and its mask, if it has one; the mask in the list is then ignored, so that a list
            with other mask files (`labelTrainIds` for `labelIds`) works. Any other image is read from its file with
            the channels and the mask encoding of the data set.

    Returns:
        One sample per line, named by the image path without its ending unless it is a sample of `like`. Without
        `like`, images are read as color and masks as class ids.

    Raises:
        UserError: a path leads out of the root, files are missing (their number and the first five), or an image is
            listed twice.
    """
    return _find(read_list(path), path, _root(root, like), like)


def split_from_lists(
    labeled: str | Path, unlabeled: str | Path | None, root: str | Path | None, like: SegmentationData | None = None
) -> Split:
    """Read a public split: a list of labeled and a list of unlabeled images.

    Args:
        labeled: list of `image mask` lines, as `read_list` takes it.
        unlabeled: list of the other images; their masks, if named, need not exist. None for none.
        root: see `samples_from_list`.
        like: the data set that the lists belong to, see `samples_from_list`. `Split.id` is then that of the same choice
            made by `choose_labeled`, whatever the root.

    Returns:
        The split.

    Raises:
        UserError: as `samples_from_list`; or a labeled image has no mask, or an image belongs to the validation or test
            part of `like`.
    """
    with_masks = samples_from_list(labeled, root, like)
    for sample in with_masks:
        if sample.mask is None:
            raise UserError("`image mask` per line", f"no mask for '{sample.name}' in '{labeled}'", "Name its mask.")
    others: tuple[Sample, ...] = ()
    if unlabeled is not None:
        pairs = [(image, None) for image, _ in read_list(unlabeled)]
        others = tuple(replace(sample, mask=None) for sample in _find(pairs, unlabeled, _root(root, like), like))
    if like is not None:
        _require_training([*with_masks, *others], like)
    return Split(with_masks, others, split_id(with_masks))


def with_val_list(dataset: SegmentationData, path: str | Path, root: str | Path | None) -> SegmentationData:
    """Take the validation images from a list, and remove them from the training images.

    Args:
        dataset: the data set that the list belongs to.
        path: list of `image mask` lines, as `rankmatch split --val` writes it.
        root: the folder that its paths are relative to; None: the common folder of the training files.

    Raises:
        UserError: as `samples_from_list`; or an image has no mask.
    """
    val = samples_from_list(path, root, like=dataset)
    for sample in val:
        if sample.mask is None:
            raise UserError("`image mask` per line", f"no mask for '{sample.name}' in '{path}'", "Name its mask.")
    names = {sample.name for sample in val}
    train, unlabeled = (tuple(s for s in part if s.name not in names) for part in (dataset.train, dataset.unlabeled))
    return replace(dataset, train=train, unlabeled=unlabeled, val=val)


def _find(
    pairs: Sequence[tuple[str, str | None]], path: str | Path, root: Path, like: SegmentationData | None
) -> tuple[Sample, ...]:
    everything = () if like is None else (*like.train, *like.unlabeled, *like.val, *like.test)
    known, (channels, encoding) = _by_file(everything), _conventions(everything)
    samples, files = [], []
    for image, mask in pairs:
        picture = picture_below(root, image, path)
        sample = known.get(file_key(*picture))
        if sample is None:
            sample = Sample(picture_name(root, picture), ImageFile(*picture, channels))
            files.append(picture.path)
        if sample.mask is None and mask is not None:
            mask_picture = picture_below(root, mask, path)
            sample = replace(sample, mask=MaskFile(*mask_picture, encoding))
            files.append(mask_picture.path)
        samples.append(sample)
    require_files(files, path)
    require_unique(samples, f"in '{path}'")
    return tuple(samples)


def _root(root: str | Path | None, like: SegmentationData | None) -> Path:
    if root is not None:
        return Path(root)
    if like is None:
        raise UserError("the folder that the paths of a list are relative to", "none", "Give it as root.")
    return common_folder([*like.train, *like.unlabeled])


def _by_file(samples: Iterable[Sample]) -> dict[tuple, Sample]:
    return {file_key(s.image.path, s.image.page): s for s in samples if isinstance(s.image, ImageFile)}


def file_key(path: Path, page: int | None) -> tuple:
    """Return what is equal for one picture however its folder is reached; two links to one file are two pictures.

    Args:
        path: its file.
        page: its page in a TIFF stack, else None.
    """
    return _real_folder(path.parent), path.name, page


@lru_cache(maxsize=4096)
def _real_folder(folder: Path) -> str:
    return os.path.realpath(folder)


def _conventions(samples: Iterable[Sample]) -> tuple[int | None, MaskEncoding]:
    """Return channels of the images and encoding of the masks of a data set's first files; color and ids by default."""
    images = [s.image.channels for s in samples if isinstance(s.image, ImageFile)]
    encodings = [s.mask.encoding for s in samples if isinstance(s.mask, MaskFile)]
    return (images[0] if images else 3), (encodings[0] if encodings else IDS)


def _require_training(samples: Iterable[Sample], dataset: SegmentationData) -> None:
    kept = _by_file([*dataset.val, *dataset.test])
    for sample in samples:
        if isinstance(sample.image, ImageFile) and file_key(sample.image.path, sample.image.page) in kept:
            raise UserError(
                "lists of training images",
                f"'{sample.image}', which {dataset.name} keeps for validation or test",
                "Remove it from the list.",
            )


def split_id(labeled: Sequence[Sample]) -> str:
    """Return the first 12 hex digits of the SHA-256 over the sorted names, for `Split.id`."""
    return hashlib.sha256("\n".join(sorted(s.name for s in labeled)).encode()).hexdigest()[:12]


def require_unique(samples: Iterable[Sample], where: str) -> None:
    """Raise UserError when two samples have one name."""
    seen: set[str] = set()
    for sample in samples:
        if sample.name in seen:
            raise UserError("each image once", f"'{sample.name}' twice {where}", "Remove one.")
        seen.add(sample.name)

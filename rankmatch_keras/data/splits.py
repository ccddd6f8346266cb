"""Which samples are labelled: lists as text files, or a seeded choice."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rankmatch_keras.data.folders import require_files
from rankmatch_keras.data.samples import Sample
from rankmatch_keras.errors import UserError


@dataclass(frozen=True)
class Split:
    """Which samples are labelled and which are not.

    Attributes:
        labeled: the labelled samples.
        unlabeled: all others, without their masks, so that nothing can look at them.
        id: the first 12 hex digits of the SHA-256 over the sorted labelled names; equal ids mean equal
            labelled samples.
    """

    labeled: tuple[Sample, ...]
    unlabeled: tuple[Sample, ...]
    id: str


def read_list(path: str | Path) -> list[tuple[str, str | None]]:
    """Read a list in UniMatch's format: `image-path mask-path`, or only an image, per line.

    Args:
        path: the text file (UTF-8). Blank lines are skipped; a line with a tab is divided there, so that
            names may hold spaces, any other line at white space.

    Returns:
        `(image path, mask path or None)` per line, as written in the file.

    Raises:
        UserError: there is no such file, it is empty, or a line holds more than two paths.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError("a text file with a list of images", f"{error}", "Check the path.") from error
    pairs: list[tuple[str, str | None]] = []
    for number, line in enumerate(lines, start=1):
        fields = [field.strip() for field in line.split("\t")] if "\t" in line.strip() else line.split()
        if not any(fields):
            continue
        if len(fields) > 2 or not all(fields):
            raise UserError(
                "`image-path mask-path` or `image-path` per line",
                f"{line.strip()!r} in line {number} of '{path}'",
                "Put a tab between the two where names hold spaces.",
            )
        pairs.append((fields[0], fields[1] if len(fields) == 2 else None))
    if not pairs:
        raise UserError("at least one image", f"only blank lines in '{path}'", "Check the list.")
    return pairs


def samples_from_list(path: str | Path, root: str | Path) -> tuple[Sample, ...]:
    """Read a list and find its files below a data root.

    Args:
        path: a list as `read_list` takes it.
        root: the folder that the paths are relative to.

    Returns:
        One sample per line, named by the image path without its ending.

    Raises:
        UserError: a path leaves the root, a file is missing (counted, the first five shown), an image is
            listed twice.
    """
    return _find(read_list(path), path, Path(root))


def _find(pairs: Sequence[tuple[str, str | None]], path: str | Path, root: Path) -> tuple[Sample, ...]:
    samples = tuple(
        Sample(Path(image).with_suffix("").as_posix(), _below(root, image, path), _mask(root, mask, path))
        for image, mask in pairs
    )
    require_files((file for s in samples for file in (s.image, s.mask) if file), path)
    _require_unique(samples, f"in '{path}'")
    return samples


def _mask(root: Path, name: str | None, source: str | Path) -> Path | None:
    return None if name is None else _below(root, name, source)


def _below(root: Path, name: str, source: str | Path) -> Path:
    # Compared as text, not resolved: links inside the root may well point to another disk.
    base = os.path.abspath(root)
    if ".." in Path(name).parts or not Path(os.path.abspath(root / name)).is_relative_to(base):
        raise UserError(
            f"paths below the data root '{root}'",
            f"'{name}' in '{source}'",
            "Write paths relative to the root, without '..'.",
        )
    return root / name


def choose_labeled(samples: Sequence[Sample], count: int, seed: int) -> Split:
    """Choose which samples are labelled.

    The samples with masks are ordered by SHA-256 of seed and name: a random order that is the same on every
    machine and library version. The labelled ones are the first `count`, so a smaller choice with the same
    seed is part of a larger one.

    Args:
        samples: all training samples; those without masks are unlabelled in any case.
        count: number of labelled samples, at least 1.
        seed: which order.

    Returns:
        The split; `unlabeled` holds the rest without masks.

    Raises:
        UserError: there are fewer samples with masks than `count`, `count` is not positive, or a name
            occurs twice.
    """
    _require_unique(samples, "among the samples")
    with_masks = [s for s in samples if s.mask is not None]
    if not 1 <= count <= len(with_masks):
        raise UserError(
            f"1 to {len(with_masks)} labelled images",
            f"{count} (there are {len(with_masks)} images with masks)",
            "Ask for a number in this range.",
        )
    order = sorted(with_masks, key=lambda s: hashlib.sha256(f"{seed}/{s.name}".encode()).digest())
    labeled = tuple(order[:count])
    chosen = {s.name for s in labeled}
    unlabeled = tuple(replace(s, mask=None) for s in samples if s.name not in chosen)
    return Split(labeled, unlabeled, split_id(labeled))


def split_from_lists(labeled: str | Path, unlabeled: str | Path | None, root: str | Path) -> Split:
    """Read a public split: a list of labelled and a list of unlabelled images.

    Args:
        labeled: list of `image mask` lines, as `read_list` takes it.
        unlabeled: list of the other images; their masks, if named, need not exist. None for none.
        root: the folder that the paths are relative to.

    Returns:
        The split.

    Raises:
        UserError: see `samples_from_list`; also if a labelled line names no mask.
    """
    with_masks = samples_from_list(labeled, root)
    for sample in with_masks:
        if sample.mask is None:
            raise UserError("`image mask` per line", f"no mask for '{sample.name}' in '{labeled}'", "Name its mask.")
    others: tuple[Sample, ...] = ()
    if unlabeled is not None:
        pairs = [(image, None) for image, _ in read_list(unlabeled)]
        others = _find(pairs, unlabeled, Path(root))
    return Split(with_masks, others, split_id(with_masks))


def split_id(labeled: Sequence[Sample]) -> str:
    """Return the first 12 hex digits of the SHA-256 over the sorted names, for `Split.id`."""
    return hashlib.sha256("\n".join(sorted(s.name for s in labeled)).encode()).hexdigest()[:12]


def _require_unique(samples: Sequence[Sample], where: str) -> None:
    seen: set[str] = set()
    for sample in samples:
        if sample.name in seen:
            raise UserError("each image once", f"'{sample.name}' twice {where}", "Remove one.")
        seen.add(sample.name)

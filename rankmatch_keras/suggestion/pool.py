"""The pool: the labeled images of a run, and the images that may be labeled next."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path

from rankmatch_keras import check, data
from rankmatch_keras.data.readers.folders import not_read
from rankmatch_keras.data.readers.sources import ImageFile
from rankmatch_keras.data.sets.image_folder import images_to_segment
from rankmatch_keras.data.sets.lists import common_folder, list_line
from rankmatch_keras.data.splits.split import file_key
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import progress_bar
from rankmatch_keras.texts import counted, say
from rankmatch_keras.training.records import CONFIG, read_config
from rankmatch_keras.training.reopening import open_data_of


@dataclasses.dataclass(frozen=True)
class Pool:
    """What is labeled, and what may be.

    Attributes:
        dataset: the data of the run.
        labeled: its labeled samples.
        candidates: samples of the images to choose from.
        root: the folder that lists of its images are relative to; None: the common folder of its training files.
    """

    dataset: data.SegmentationData
    labeled: tuple[data.Sample, ...]
    candidates: tuple[data.Sample, ...]
    root: Path | None

    def lists(self, chosen: Iterable[data.Sample]) -> dict[str, str]:
        """Return lists for a run on more labels by file name; none unless the data have a mask of each chosen image.

        Args:
            chosen: some of the candidates.
        """
        known = {_key(sample): sample for sample in self.dataset.train if sample.mask is not None}
        keys = [_key(sample) for sample in chosen]
        if not all(key in known for key in keys):
            return {}
        root = self.root or common_folder([*self.dataset.train, *self.dataset.unlabeled])
        labeled = [*self.labeled, *(known[key] for key in keys)]
        names = {sample.name for sample in labeled}
        others = [sample for sample in (*self.dataset.train, *self.dataset.unlabeled) if sample.name not in names]
        parts = {"labeled.txt": labeled, "unlabeled.txt": others}
        return {name: "".join(f"{list_line(each, root)}\n" for each in some) for name, some in parts.items()}


def open_pool(run: Path, images: Path, count: int, root: Path | None = None, skip_bad: bool = False) -> Pool:
    """Open the labeled images of a run and the images to choose from, and look at every file.

    Images that the run labels, validates or tests on are no candidates.

    Args:
        run: the run directory.
        images: folder of images, or a TIFF stack.
        count: how many shall be chosen.
        root: folder of the data set, where it has moved.
        skip_bad: whether to leave out images that cannot be used.

    Raises:
        UserError: there is no such run, its data or the images cannot be opened or used, or they are fewer than asked.
    """
    record = read_config(run)
    dataset = open_data_of(run, record, root)
    labeled = _labeled(dataset, record.get("split", {}).get("labeled", ()), run)
    channels = getattr(labeled[0].image, "channels", 3)
    taken = {_key(sample) for sample in (*labeled, *dataset.val, *dataset.test)}
    found = images_to_segment(images, channels)
    if line := not_read(images):
        say(line)
    candidates = tuple(sample for sample in found if _key(sample) not in taken)
    if len(candidates) < len(found):
        say(f"{counted(len(found) - len(candidates), 'image')} of the run's labels, validation or test left out")
    _require(count, candidates, images)
    labeled, candidates = _usable(dataset, labeled, candidates, skip_bad)
    _require(count, candidates, images)
    base = root or record["options"].get("data")
    return Pool(dataset, labeled, candidates, Path(base) if base else None)


def _labeled(dataset, names, run):
    known = {sample.name: sample for sample in dataset.train if sample.mask is not None}
    missing = [name for name in names if name not in known]
    if missing or not names:
        found = f"none of the name {missing[0]!r} in {dataset.name}" if missing else f"none in {run / CONFIG}"
        raise UserError("the labeled images of the run", found, "Give a run whose data are where they were.")
    return tuple(known[name] for name in names)


def _usable(dataset, labeled, candidates, skip_bad):
    used = dataclasses.replace(dataset, train=labeled, unlabeled=candidates, val=(), test=())
    report = check.check(used, thorough=False, progress=progress_bar("checked"))
    check.require_usable(report, skip_bad=skip_bad)
    kept = tuple(check.without_bad(samples, report) for samples in (labeled, candidates))
    bad = len(labeled) + len(candidates) - sum(map(len, kept))
    if bad:
        say(f"Left out {counted(bad, 'image')} that cannot be used")
    return kept


def _require(count, candidates, images):
    if len(candidates) < count:
        raise UserError(
            f"at least {counted(count, 'image')} to choose from",
            f"{len(candidates)} in '{images}'",
            "Ask for fewer with --count, or give more images.",
        )


def _key(sample):
    source = sample.image
    return file_key(source.path, source.page) if isinstance(source, ImageFile) else source

"""Segmentation of a folder of images, image by image: what is done stays, and `resume` goes on after it."""

import hashlib
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydantic

from rankmatch_keras import evaluation
from rankmatch_keras.data.readers.folders import ending_of
from rankmatch_keras.data.readers.images import image_info
from rankmatch_keras.data.readers.json_files import read_json
from rankmatch_keras.data.readers.scenes import open_scene
from rankmatch_keras.data.readers.videos import Frame
from rankmatch_keras.data.sets.protocol import Protocol
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import progress_bar, weights_hash, write_json
from rankmatch_keras.evaluation.evaluator import rate
from rankmatch_keras.evaluation.overlays import STYLES
from rankmatch_keras.files import TEMPORARY, remove_temporaries
from rankmatch_keras.prediction.georeference import read_georeference
from rankmatch_keras.prediction.joined import require_one_size, save_stack, save_video, volumes
from rankmatch_keras.prediction.maps import predict_maps
from rankmatch_keras.prediction.measures import CLASS_COLUMNS, OBJECT_COLUMNS, write_table
from rankmatch_keras.prediction.outlines import coco_file
from rankmatch_keras.prediction.outputs import KINDS, USUAL, save, write_compact
from rankmatch_keras.prediction.ranges import require_known_range
from rankmatch_keras.prediction.scenes import segment_scene
from rankmatch_keras.prediction.world_files import copy_world_file
from rankmatch_keras.texts import counted, say
from rankmatch_keras.training.run_folder import LOCK, lock

RECORD = "predict.json"
_RECORD = pydantic.TypeAdapter(dict[str, Any])
DONE = ".done"  # folder of a small file per finished image
WHOLE_PIXELS = 1536 * 1536  # larger images are predicted in sliding windows, so that memory stays bounded
WINDOW = 801


@dataclass(frozen=True)
class Settings:
    """How images are segmented, and what is written.

    Attributes:
        save: names of `outputs.KINDS`.
        overlay: style of the overlays.
        mode: "auto" (sliding windows for large images), "whole" or "sliding_window".
        crop: side of the windows.
        border: of the windows.
        flip: whether to add the mirrored image.
        scales: multiples of the image's size at which it is shown.
    """

    save: tuple[str, ...] = USUAL
    overlay: str = STYLES[0]
    mode: str = "auto"
    crop: int = WINDOW
    border: str = "shift"
    flip: bool = False
    scales: tuple[float, ...] = (1.0,)

    @property
    def windows(self):
        """The protocol for large images."""
        return Protocol("sliding_window", self.crop, self.border, self.flip, self.scales)

    def protocol(self, image):
        """Return the protocol for an image."""
        large = image.shape[0] * image.shape[1] > WHOLE_PIXELS
        if self.mode == "sliding_window" or (self.mode == "auto" and large):
            return self.windows
        return Protocol(flip=self.flip, scales=self.scales)


def kinds_of(text):
    """Read a list such as "masks,table".

    Raises:
        UserError: a name is unknown.
    """
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in KINDS]
    if unknown:
        raise UserError(f"kinds of files among {', '.join(KINDS)}", repr(unknown[0]), "Correct --save.")
    return tuple(kind for kind in KINDS if kind in names)


def require_free(out, resume=False):
    """Check that an output folder is new or empty, or holds what `resume` goes on with.

    Raises:
        UserError: it is not.
    """
    if out.exists() and not out.is_dir():
        raise UserError("a new or empty output folder", f"a file at {out}", "Choose another --out.")
    if (out / DONE).exists() and not resume:
        raise UserError(
            "a new or empty output folder",
            f"an earlier segmentation in {out}",
            "Continue it with --resume, or choose another --out.",
        )
    if out.exists() and not (out / RECORD).exists() and any(not _is_left_over(path) for path in out.iterdir()):
        raise UserError("a new or empty output folder", f"{out} with files", "Choose another --out.")


def segment_folder(predictor, samples, out, class_names, settings, window_batch=1, resume=False, skip_bad=False):
    """Segment images and write their files.

    Args:
        predictor: the model.
        samples: the images, `data.Sample`.
        out: the output folder.
        class_names: names of the model's classes.
        settings: `Settings`.
        window_batch: windows per batch.
        resume: whether to leave out the images that are done.
        skip_bad: whether to leave out images that cannot be read.

    Raises:
        UserError: the folder holds something else; an image cannot be used; or all are bad.
    """
    require_free(out, resume)
    if "stack" in settings.save and not skip_bad:
        require_one_size(samples)
    _begin(out, {"weights": weights_hash(predictor), "classes": list(class_names), **asdict(settings)})
    waiting = [sample for sample in samples if not _done(out, sample).exists()]
    start, show, bad = time.monotonic(), progress_bar("segmented"), []
    for number, sample in enumerate(waiting, start=1 + len(samples) - len(waiting)):
        try:
            _segment(predictor, sample, out, class_names, settings, window_batch)
        except UserError as error:
            if not skip_bad:
                raise _stopped(error, number - 1, out) from error
            bad.append(error)
        show(number, len(samples))
    finished = [sample for sample in samples if _done(out, sample).exists()]
    _join(out, finished, class_names, settings)
    _join_volumes(out, samples, finished, settings)
    new, seconds = len(waiting) - len(bad), time.monotonic() - start
    before = f" ({len(samples) - len(waiting)} done before)" if len(waiting) < len(samples) else ""
    speed = f", {rate(new, seconds)}" if new else ""
    say(f"{counted(len(finished), 'image')}{before}{speed}: {_listed(settings.save)} in {out}")
    for reason in bad:
        say(f"Left out: {reason}", error=True)
    if not finished:
        raise UserError("an image that can be segmented", f"{counted(len(bad), 'image')}, all left out", "See above.")


def _segment(predictor, sample, out, class_names, settings, window_batch):
    # A function, so that a large image is gone before the next one is decoded.
    path, page = getattr(sample.image, "path", None), getattr(sample.image, "page", None)
    scene = open_scene(sample.image)
    place = None if path is None else read_georeference(path, page)
    file = {"file": f"{sample.name}{'' if path is None else ending_of(path)}"}
    if scene is not None:
        known = segment_scene(predictor, scene, out, sample.name, class_names, settings, window_batch, place)
        write_compact(_done(out, sample), {**file, **known})
        return
    image = sample.read_image()
    require_known_range(predictor, image, sample.image)
    measured = {"polygons", "table"} & {*settings.save}
    maps = predict_maps(
        predictor,
        image,
        settings.protocol(image),
        window_batch,
        probabilities="probabilities" in settings.save,
        uncertainty="uncertainty" in settings.save,
        confidence=bool(measured),
        missing=None if place is None else place.without_data(image),
    )
    kinds = settings.save
    if _is_joined(sample, settings):
        evaluation.save_mask_png(_done(out, sample).with_suffix(".png"), maps.classes)
        kinds = tuple(kind for kind in kinds if kind != "stack" and not (kind == "overlays" and _is_frame(sample)))
    known = save(out, sample.name, sample.shown(image), maps, class_names, kinds, settings.overlay, place)
    if "masks" in kinds and place is None and page is None and path is not None:
        copy_world_file(path, out / "masks" / f"{sample.name}.png")
    write_compact(_done(out, sample), {**file, **known})


def _stopped(error, done, out):
    """Say how to go on after an image that cannot be used."""
    remedy = f"{error.remedy} Or leave such images out with --skip-bad"
    remedy += f"; {counted(done, 'image')} done before it: go on with --resume." if done else "."
    return UserError(error.expected, error.found, remedy)


def _begin(out, record):
    """Write down how the folder is made.

    Raises:
        UserError: it was begun in another way, or another process is at work in it.
    """
    lock(out)
    path = out / RECORD
    if path.exists() and (out / DONE).exists():
        before = read_json(path, _RECORD, "the record of a segmentation", "Choose another --out.")
        record = json.loads(json.dumps(record))
        changed = [name for name in record if before.get(name) != record[name]]
        if changed:
            raise UserError(
                "the model and flags that the segmentation was started with",
                f"another {', '.join(changed)} in {path}",
                "Resume without changes, or choose another --out.",
            )
        remove_temporaries(out, below=True)
    else:
        write_json(path, record)


def _join(out, samples, class_names, settings):
    """Write the files of all images together, and say how much each class covers."""
    remedy = "Delete it, and go on with --resume."
    known = [read_json(_done(out, sample), _RECORD, "the record of an image", remedy) for sample in samples]
    if "table" in settings.save:
        for name, columns in (("classes", CLASS_COLUMNS), ("objects", OBJECT_COLUMNS)):
            rows = (
                {"image": s.name, **row} for s, one in zip(samples, known, strict=True) for row in one.get(name, ())
            )
            write_table(out / ("table.csv" if name == "classes" else "objects.csv"), columns, rows)
    if "polygons" in settings.save:
        images = [(one["file"], one["size"], one.get("annotations", ())) for one in known]
        write_compact(out / "polygons.json", coco_file(images, class_names))
    pixels = np.sum([one["pixels"] for one in known], axis=0) if known else np.zeros(len(class_names))
    if pixels.sum():
        order = np.argsort(-pixels, kind="stable")
        large = [k for k in order[:8] if pixels[k] >= 0.0005 * pixels.sum()]
        shares = [f"{class_names[k]} {100 * pixels[k] / pixels.sum():.1f} %" for k in large]
        others = int(np.count_nonzero(pixels)) - len(shares)
        more = f" and {counted(others, 'more class')}" if others else ""
        say(f"Pixels: {', '.join(shares)}{more}")


def _join_volumes(out, samples, finished, settings):
    """Write the stacks of slices and the videos of frames."""
    masks = {sample.name: _done(out, sample).with_suffix(".png") for sample in finished}
    for name, members in volumes([sample for sample in samples if _is_joined(sample, settings)]).items():
        known = [masks[member.name] for member in members if member.name in masks]
        if not known:
            continue
        size = image_info(known[0])[:2]
        if "stack" in settings.save:
            save_stack(out / "stack" / name, members, masks, size)
        if "overlays" in settings.save and _is_frame(members[0]):
            say(f"Writing overlays/{name}.mp4")
            save_video(out / "overlays" / f"{name}.mp4", members, masks, size, settings.overlay)


def _is_frame(sample):
    return isinstance(sample.image, Frame)


def _is_joined(sample, settings):
    """Return whether an image is part of a file that is written at the end, from the masks of all."""
    return "stack" in settings.save or (_is_frame(sample) and "overlays" in settings.save)


def _done(out, sample):
    # Hashed: names may be as long as the system allows, and have folders.
    return Path(out, DONE, f"{hashlib.sha256(sample.name.encode('utf-8', 'surrogatepass')).hexdigest()[:20]}.json")


def _listed(kinds):
    return kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])} and {kinds[-1]}"


def _is_left_over(path):
    return path.name in (DONE, LOCK) or path.name.startswith(TEMPORARY)

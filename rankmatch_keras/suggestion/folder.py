"""The folder of a suggestion: what to label next, and why, with annotations to correct."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image

from rankmatch_keras import data
from rankmatch_keras.data.sets.pixel_statistics import class_pixels
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import progress_bar, save_mask_png
from rankmatch_keras.evaluation.plots import draw_or_say
from rankmatch_keras.files import replacing
from rankmatch_keras.models.predictor import feature_model
from rankmatch_keras.prediction.folder import Settings
from rankmatch_keras.prediction.maps import predict_maps
from rankmatch_keras.prediction.measures import write_table
from rankmatch_keras.prediction.ranges import require_known_range
from rankmatch_keras.suggestion.annotations import Annotated, write_annotations
from rankmatch_keras.suggestion.choice import Pick, choose, class_weights, reason
from rankmatch_keras.suggestion.pool import Pool
from rankmatch_keras.suggestion.scores import Scores, pooled_features, score
from rankmatch_keras.suggestion.sheet import Sheets
from rankmatch_keras.texts import printable

COLUMNS = ("image", "rank", "entropy", "margin", "disagreement", "distance", "classes", "reason")
SHOWN = 0.005  # of an image's pixels: smaller classes are not listed


@dataclass(frozen=True)
class Suggested:
    """An image to label.

    Attributes:
        sample: the image.
        pick: how it was chosen.
        scores: what the model says of it.
        reason: why, in words.
    """

    sample: data.Sample
    pick: Pick
    scores: Scores
    reason: str


def suggest(predictor: Any, pool: Pool, count: int, by: str = "both") -> list[Suggested]:
    """Choose the images of a pool to label next.

    Args:
        predictor: the model of the run, see `models.feature_model`.
        pool: the images.
        count: how many.
        by: see `choice.choose`.

    Raises:
        UserError: the model has other classes than the data, or an image has other units than the training images.
    """
    names = pool.dataset.class_names
    if predictor.output_shape[-1] != len(names):
        raise UserError(
            f"a model of the {len(names)} classes of {pool.dataset.name}",
            f"one of {predictor.output_shape[-1]}",
            "Give the run as it was written.",
        )
    encode, _ = feature_model(predictor)
    pixels = class_pixels(pool.labeled, len(names)).sum(axis=0)
    weights, show, total = class_weights(pixels), progress_bar("scored"), len(pool.labeled) + len(pool.candidates)
    labeled, features, scores = [], [], []
    for sample in pool.labeled:
        labeled.append(pooled_features(encode, sample.read_image()))
        show(len(labeled), total)
    for sample in pool.candidates:
        image = sample.read_image()
        require_known_range(predictor, image, sample.image)
        features.append(pooled_features(encode, image))
        scores.append(score(predictor, image, weights))
        show(len(labeled) + len(features), total)
    uncertainty = np.array([one.uncertainty for one in scores])
    picks = choose(np.stack(features), np.stack(labeled), uncertainty, count, by)
    return [
        Suggested(pool.candidates[pick.number], pick, scores[pick.number], reason(pick, scores, pixels, names))
        for pick in picks
    ]


def write_suggestion(out: Path, predictor: Any, pool: Pool, suggested: Sequence[Suggested]) -> None:
    """Write the folder of a suggestion, all or nothing.

    Args:
        out: the folder, new or empty.
        predictor: the model of the run.
        pool: the images that were chosen from.
        suggested: the chosen images.
    """
    names, palette = pool.dataset.class_names, pool.dataset.palette
    sheets, annotated, show = Sheets(names, palette), [], progress_bar("annotated")
    with replacing(out) as folder:
        for rank, one in enumerate(suggested, start=1):
            image = one.sample.read_image()
            protocol = Settings(flip=True).protocol(image)
            classes = predict_maps(predictor, image, protocol, window_batch=1).classes
            annotated.append(Annotated(copy_image(one.sample, folder / "images"), classes))
            save_mask_png(folder / "masks" / f"{one.sample.name}.png", classes, palette)
            sheets.add(image, classes, f"{rank}. {one.sample.name}", one.reason)
            show(rank, len(suggested))
        write_annotations(folder, annotated, names, palette)
        lines = "".join(f"{printable(name)}\n" for name in names)
        (folder / "classes.txt").write_text(lines, encoding="utf-8", newline="\n")
        rows = [_row(rank, one, names) for rank, one in enumerate(suggested, start=1)]
        write_table(folder / "suggestions.csv", COLUMNS, rows)
        for name, text in pool.lists([one.sample for one in suggested]).items():
            (folder / name).write_text(text, encoding="utf-8", newline="\n")
        draw_or_say("contact sheet", sheets.save, folder)


def copy_image(sample: data.Sample, folder: Path) -> str:
    """Copy an image into a folder under its name; a page of a stack becomes a file of its own.

    Returns:
        Its path below the folder.
    """
    source: Any = sample.image
    if source.page is None:
        return _written(sample.name + source.path.suffix, folder, lambda path: shutil.copyfile(source.path, path))
    pixels = data.ImageFile(source.path, source.page, None).read()
    if pixels.dtype == np.uint8 and pixels.shape[-1] in (1, 3):
        picture = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        return _written(f"{sample.name}.png", folder, lambda path: picture.save(path, format="PNG"))
    return _written(f"{sample.name}.tif", folder, lambda path: tifffile.imwrite(path, np.moveaxis(pixels, -1, 0)))


def _written(name: str, folder: Path, write: Callable[[Path], Any]) -> str:
    with replacing(folder / name) as temporary:
        write(temporary)
    return name


def _row(rank, one, class_names):
    scores, order = one.scores, np.argsort(-one.scores.shares, kind="stable")
    seen = [f"{class_names[k]} {100 * scores.shares[k]:.0f} %" for k in order if scores.shares[k] >= SHOWN]
    numbers = {name: getattr(scores, name) for name in ("entropy", "margin", "disagreement")}
    texts = {"classes": ", ".join(seen), "reason": one.reason}
    return {"image": one.sample.name, "rank": rank, **numbers, "distance": one.pick.distance, **texts}

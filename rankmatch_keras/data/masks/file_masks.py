"""Masks as image files: their encoding, judged from all of them, and the mask of each picture."""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from rankmatch_keras.data.masks.class_names import (
    BINARY,
    Classes,
    Names,
    hexadecimal,
    names_beside,
    numbered,
    read_names,
    requested,
    require_requested,
)
from rankmatch_keras.data.masks.cvat import LABELMAP
from rankmatch_keras.data.masks.detection import binarized, encoding_of, require_agreement
from rankmatch_keras.data.masks.encodings import IDS, MaskEncoding, Threshold, TwoValues
from rankmatch_keras.data.masks.legends import Color, Legend, colors_of, legend_of, read_legend
from rankmatch_keras.data.masks.mask_files import MaskFile
from rankmatch_keras.data.masks.palettes import PaletteColors, by_palette, common_palette
from rankmatch_keras.data.masks.surveys import Survey
from rankmatch_keras.data.readers.archives import is_file, is_folder
from rankmatch_keras.data.readers.folders import Picture, masks_by_name, require_masks
from rankmatch_keras.data.readers.sources import MaskSource
from rankmatch_keras.errors import UserError

LEGENDS = ("legend.csv", "legend.txt", "label_colors.txt", LABELMAP)
LegendSource = Mapping[str, Sequence[int]] | str | Path | None
T = TypeVar("T")


@dataclass(frozen=True)
class FileMasks:
    """Masks as image files.

    Attributes:
        class_names: name of class 0, 1, ...
        encoding: what the values in the files mean.
        palette: one color per class if the masks are colors.
        surveys: of the masks that this was judged by, by their names; empty where a legend says it.
        suffix: what the names of masks have beyond their images', see `mask_names.masks_of`.
        notes: what was found beside them, as sentences.
    """

    class_names: tuple[str, ...]
    encoding: MaskEncoding
    palette: tuple[tuple[int, int, int], ...] | None = None
    surveys: Mapping[str, Survey] = field(default_factory=dict, repr=False, compare=False)
    suffix: str | None = None
    notes: tuple[str, ...] = ()
    kind: ClassVar[str] = "image files"

    def find(
        self, place: Path, images: Path, pictures: Mapping[str, Picture], strict: bool = True
    ) -> dict[str, MaskSource]:
        """Find the mask of each picture by its name; unless `strict`, of those that have one.

        Raises:
            Contradiction: values mean something else in masks that this was not judged by, such as those of validation.
        """
        found = mask_files(place, images, pictures, strict, self.suffix)
        files = {name: MaskFile(*mask) for name, mask in found.items()}
        encoding = self.encoding
        unseen = [mask for mask in files.values() if self.surveys and str(mask) not in self.surveys]
        if unseen:
            encoding = self._encoding_of([one for one in survey_all(unseen, strict) if isinstance(one, Survey)])
        return {name: replace(mask, encoding=encoding) for name, mask in files.items()}

    def _encoding_of(self, others: Sequence[Survey]) -> MaskEncoding:
        """Return the encoding of further masks: that of the first ones, by color where only palettes differ."""
        known = list(self.surveys.values())
        if isinstance(self.encoding, Threshold):
            return self.encoding
        if not isinstance(self.encoding, PaletteColors):
            decided = common_palette([*known, *others])
            if decided is None:
                require_agreement(others, None, known)
                return self.encoding
            ids, like = decided
            return _palette_colors(ids, like, self.encoding)
        return self.encoding


def detect_files(
    place: Path,
    masks: Mapping[str, Picture],
    classes: Classes,
    legend: LegendSource = None,
    threshold: float | None = None,
    strict: bool = True,
) -> FileMasks:
    """Detect what the values of mask files mean; see `mask_sets.detect_masks`."""
    names, count = requested(classes)
    if threshold is not None and legend is not None:
        raise UserError("a legend or masks to binarize", "both", "Leave one of them out.")
    if legend is not None:
        return _by_legend(legend, names, count)
    if classes is None and (listed := names_beside(place)):
        found = detect_files(place, masks, read_names(listed), legend, threshold, strict)
        return replace(found, notes=(f"The classes are named by {listed}.", *found.notes))
    looked_at = survey_all([MaskFile(*mask) for mask in masks.values()], strict)
    surveys = [one for one in looked_at if isinstance(one, Survey)]
    if not surveys:
        raise next(one for one in looked_at if isinstance(one, UserError))
    by_name = {survey.name: survey for survey in surveys}
    if threshold is not None:
        class_names = require_requested(names, count, names if names and count == 2 else BINARY, "to binarize")
        return FileMasks(class_names, binarized(surveys, threshold), None, by_name)
    beside = _legend_beside(place, surveys)
    if beside is not None:
        return replace(_by_legend(beside, names, count), notes=(f"The colors of the masks are those of {beside}.",))
    decided = common_palette(surveys)
    if decided is not None:
        surveys = [by_palette(survey, decided[0]) for survey in surveys]
    encoding, number = _judged(surveys, count, strict)
    if isinstance(encoding, Legend):
        return _by_colors(place, encoding, number, names, by_name)
    found_names = names or (BINARY if isinstance(encoding, TwoValues) else numbered(number))
    if decided is not None:
        encoding = _palette_colors(*decided, encoding)
    return FileMasks(found_names, encoding, None, by_name)


def survey_all(masks: Sequence[MaskFile], strict: bool = True) -> list[Survey | UserError]:
    """Survey masks in several threads.

    Raises:
        UserError: one cannot be read or has more than 256 values; unless `strict`, the error is in its place.
    """

    def look(mask: MaskFile) -> Survey | UserError:
        try:
            return mask.survey()
        except UserError as error:
            if strict:
                raise
            return error

    with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as executor:
        return list(executor.map(look, masks))


def _judged(surveys: Sequence[Survey], count: int | None, strict: bool) -> tuple[MaskEncoding, int]:
    require_agreement(surveys, count)
    try:
        return encoding_of(surveys, count)
    except UserError:
        if strict or count is None:
            raise
        return IDS, count


def _palette_colors(ids: Mapping[Color, int], like: str, encoding: MaskEncoding) -> PaletteColors:
    """Combine what colors stand for with the encoding of these ids."""
    values = np.array([list(ids.values())], np.int32)
    return PaletteColors(tuple(zip(ids, encoding.decode(values, like)[0].tolist(), strict=True)), like)


def _by_colors(place: Path, encoding: Legend, number: int, names: Names, surveys: Mapping[str, Survey]) -> FileMasks:
    """Name classes that are colors."""
    colors = tuple(colors_of(entry)[0] for entry in encoding.colors)
    if all(red == green == blue for red, green, blue in colors):
        # Black and white, or class ids, saved as colors: they are ordered like gray values.
        found = numbered(number) if encoding.ignore else BINARY if number == 2 else hexadecimal(colors)
        return FileMasks(names or found, encoding, None, surveys)
    if names:
        raise UserError(
            "a legend that says which color is which class",
            f"class names and {number} colors in '{place}'",
            "Give a legend, --legend FILE.csv of lines name,red,green,blue.",
        )
    return FileMasks(hexadecimal(colors), encoding, colors, surveys)


def _by_legend(legend: LegendSource, names: Names, count: int | None) -> FileMasks:
    named: dict[str, Any]
    if isinstance(legend, (str, Path)):
        named, where = dict(read_legend(legend)), f"in the legend '{legend}'"
    elif isinstance(legend, Mapping) and legend and all(isinstance(name, str) for name in legend):
        named, where = dict(legend), "in the legend"
    else:
        raise UserError("a legend: a file, or a color for each class name", f"{legend!r}", "Correct the legend.")
    encoding, found = legend_of(named)
    if names and set(names) == set(found):
        # The class names decide which class is 0, 1, ...; ignored ones follow.
        encoding, found = legend_of({name: named[name] for name in (*names, *named)})
    requested(found)
    return FileMasks(
        require_requested(names, count, found, where),
        encoding,
        tuple(colors_of(entry)[0] for entry in encoding.colors),
    )


def _legend_beside(place: Path, surveys: Sequence[Survey]) -> Path | None:
    """Return the legend in or beside the folder if it concerns the masks: they hold colors, or palettes with them."""
    are_colors = any(survey.is_color for survey in surveys)
    painted = {survey.palette[value] for survey in surveys if survey.palette for value in survey.pixels} - {(0, 0, 0)}
    for folder in (place, place.parent) if is_folder(place) else (place.parent,):
        found = [folder / name for name in LEGENDS if is_file(folder / name)]
        if found and (are_colors or any(_names_one(legend, painted) for legend in found)):
            if len(found) > 1:
                raise UserError(
                    "one legend", f"'{found[0]}' and '{found[1]}'", "Give one as the legend, or remove one."
                )
            return found[0]
    return None


def _names_one(legend: Path, colors: set[Color]) -> bool:
    """Return whether a file is a legend that names one of the colors."""
    try:
        return bool(colors) and any(not colors.isdisjoint(colors_of(entry)) for entry in read_legend(legend).values())
    except UserError:
        return False  # a text of that name that says nothing about colors


def mask_files(
    place: Path, images: Path, pictures: Mapping[str, Picture], strict: bool, suffix: str | None = None
) -> dict[str, Picture]:
    """Find the mask file of each picture by its name; unless `strict`, of those that have one."""
    return of_pictures(pictures, masks_by_name(place, images, pictures, suffix), place, strict)


def of_pictures(pictures: Mapping[str, Picture], masks: Mapping[str, T], place: Path, strict: bool) -> dict[str, T]:
    """Return the masks of the pictures by name: of every one, or, unless `strict`, of at least one."""
    found = {name: masks[name] for name in pictures if name in masks}
    if strict or not found:
        require_masks(pictures, masks, place)
    return found

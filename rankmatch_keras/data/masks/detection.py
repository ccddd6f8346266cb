"""Detection of what the values of masks mean: each mask is judged by itself, and all must agree."""

import math
from collections.abc import Iterable, Sequence

import numpy as np

from rankmatch_keras import IGNORE_INDEX
from rankmatch_keras.data.masks.encodings import IDS, MaskEncoding, Threshold, TwoValues
from rankmatch_keras.data.masks.legends import MAX_COLORS, Legend, unpack_color
from rankmatch_keras.data.masks.surveys import Survey, survey_of, too_many
from rankmatch_keras.errors import Contradiction, UserError
from rankmatch_keras.texts import counted


def detect_encoding(
    raw_masks: Iterable[tuple[str, np.ndarray]], num_classes: int | None = None
) -> tuple[MaskEncoding, int]:
    """Detect the encoding of the masks of a data set, from all of them.

    Exactly two gray values other than 0 and 1 are two classes, of which the smaller one is class 0. So {0, 255} is
    black and white, although it could be class 0 and ignored pixels; if `num_classes` is more than 2, neither can be
    right, and that is an error. Other gray values are class ids, with 255 for pixels to ignore. Colors are classes in
    the order of (red, green, blue), except shades of gray, which are read as gray values.

    Args:
        raw_masks: name and values of each mask, as `read_raw_mask` returns them; iterated once.
        num_classes: K if known; None: the largest class id + 1, or the number of colors.

    Returns:
        The encoding, and the number of classes.

    Raises:
        UserError: there are no masks; all hold a single value; gray values and colors are mixed; some are 0 and 1 and
            others 0 and 255; there are more than 256 colors, or values that cannot be the ids of `num_classes` classes;
            or, without `num_classes`, edges are soft, or values so far apart that they can hardly be class ids.
    """
    surveys = [survey_of(name, raw) for name, raw in raw_masks]
    require_agreement(surveys, num_classes)
    return encoding_of(surveys, num_classes)


def encoding_of(surveys: Sequence[Survey], num_classes: int | None = None) -> tuple[MaskEncoding, int]:
    """Judge the encoding by surveys of all masks; see `detect_encoding`."""
    if num_classes is not None and not 2 <= num_classes <= IGNORE_INDEX:
        raise UserError("2 to 255 classes", f"{num_classes}", "Correct --classes.")
    values = _first_masks(surveys)
    are_colors = surveys[0].is_color
    if len(values) == 1:
        value = unpack_color(next(iter(values))) if are_colors else next(iter(values))
        found = f"only {value} in all {counted(len(surveys), 'mask')}"
        raise UserError("masks of at least two classes", found, "Check the masks.")
    return _encoding_of_colors(values, num_classes) if are_colors else _encoding_of_values(values, num_classes)


def require_agreement(surveys: Sequence[Survey], num_classes: int | None = None, others: Sequence[Survey] = ()) -> None:
    """Refuse masks whose values have no one meaning.

    Args:
        surveys: of masks of one part of the data.
        num_classes: K if known; soft edges are then left to the check of values.
        others: of masks of the other part, which must have the same meaning.

    Raises:
        Contradiction: edges are soft; or 255 is the object in some masks, but pixels to ignore where others are ids.
    """
    if num_classes is None:
        _require_hard_edges(surveys)
    _require_one_white(surveys, others)


def binarized(surveys: Sequence[Survey], part: float = 0.5) -> Threshold:
    """Return the threshold of black-and-white masks, between their two frequent values.

    Args:
        surveys: of all masks.
        part: where it lies on the way from the dark value to the bright one, 0..1.

    Raises:
        Contradiction: a mask holds colors, or its values all lie on one side, but differ.
    """
    total: dict[int, int] = {}
    for survey in surveys:
        if survey.gray is None:
            raise Contradiction(
                "black-and-white masks to binarize",
                f"colors in '{survey.name}'",
                "Give a legend (--legend FILE.csv) in place of --binarize.",
            )
        for value, count in survey.gray.pixels.items():
            total[value] = total.get(value, 0) + count
    values = sorted(total)
    middle = (values[0] + values[-1]) / 2
    low, high = (
        max((value for value in values if (value > middle) == bright), key=total.__getitem__, default=int(middle))
        for bright in (False, True)
    )
    threshold = Threshold(math.floor(low + part * (high - low)))
    for survey in surveys:
        held = survey.gray.values if survey.gray else set()
        if held == {0, 1} and threshold.at > 1:
            raise Contradiction(
                f"masks with {low} for one class and {high} for the other",
                f"0 and 1 in '{survey.name}'",
                f"Save {high} in place of 1.",
            )
    return threshold


def _require_hard_edges(surveys: Sequence[Survey]) -> None:
    """Refuse masks of which most that hold a third value hold blends of two others."""
    many = [survey for survey in surveys if len(survey.pixels) > 2]
    soft = [survey for survey in many if survey.soft_peaks or survey.blended_colors]
    if not soft or 2 * len(soft) < len(many):
        return
    first = soft[0]
    if first.soft_peaks:
        low, high = first.soft_peaks
        raise Contradiction(
            "one value per class",
            f"{len(first.pixels)} gray values in '{first.name}', most of them between or around {low} and {high}: a "
            f"black-and-white mask with soft edges ({counted(len(soft), 'such mask')})",
            f"Read them as two classes, split at {(low + high) // 2}, with --binarize (binarize=True), or say how many "
            "classes these values stand for.",
        )
    one, other = first.blended_colors or ((), ())
    raise Contradiction(
        "one color per class",
        f"{len(first.pixels)} colors in '{first.name}', most of them blends of others such as {one} and {other}: soft "
        f"edges ({counted(len(soft), 'such mask')})",
        "Save the masks without smoothing, or resize them with nearest neighbors.",
    )


def _require_one_white(surveys: Sequence[Survey], others: Sequence[Survey]) -> None:
    """Refuse 0 and 255 in some masks where the others are class ids, unless a mask shows that 255 means ignore."""
    everything = [survey.gray for survey in (*surveys, *others) if survey.gray]
    if any(IGNORE_INDEX in one.values and one.values - {0, IGNORE_INDEX} for one in everything):
        return
    ids = next((one for one in everything if max(one.values, default=0) not in (0, IGNORE_INDEX)), None)
    largest = max((max(one.values - {IGNORE_INDEX}, default=0) for one in everything), default=0)
    for part in (surveys, others):
        gray = [survey.gray for survey in part if survey.gray]
        whites = [one for one in gray if one.values == {0, IGNORE_INDEX}]
        only_white = bool(part) and len(gray) == len(part) and not set().union(*(o.values for o in gray)) - {0, 255}
        if ids and whites and (largest == 1 or only_white):
            raise Contradiction(
                "one meaning of 255 in all masks",
                f"{_shown(ids)} in '{ids.name}', but 0 and {IGNORE_INDEX} in '{whites[0].name}' "
                f"({counted(len(whites), 'such mask')})",
                "Save 1 in place of 255; if 255 stands for ignored pixels, say so with a line ignore,255,255,255 of a "
                "--legend FILE.csv.",
            )


def _shown(survey: Survey) -> str:
    values = [str(value) for value in sorted(survey.values)[:4]]
    return " and ".join(values) if len(values) < 3 else ", ".join(values)


def _first_masks(surveys: Sequence[Survey]) -> dict[int, str]:
    """Return the first mask with each value (or packed color)."""
    if not surveys:
        raise UserError("at least one mask", "none", "Check the folder of the masks.")
    values: dict[int, str] = {}
    kinds: dict[bool, str] = {}
    for survey in surveys:
        kinds.setdefault(survey.is_color, survey.name)
        if len(kinds) > 1:
            raise UserError(
                "masks of one kind",
                f"colors in '{kinds[True]}', gray or palette values in '{kinds[False]}'",
                "Say what the colors mean with a legend (--legend FILE.csv).",
            )
        for value in survey.pixels:
            values.setdefault(value, survey.name)
        if len(values) > MAX_COLORS:
            raise too_many(survey.name, survey.is_color)
    return values


def _encoding_of_values(values: dict[int, str], num_classes: int | None) -> tuple[MaskEncoding, int]:
    ordered = sorted(values)
    if len(ordered) == 2 and ordered != [0, 1]:
        if num_classes in (None, 2):
            return TwoValues(ordered[0], ordered[1]), 2
        if ordered[1] == IGNORE_INDEX:
            raise UserError(
                f"masks of {num_classes} classes",
                f"only {ordered[0]} and {IGNORE_INDEX} in all of them",
                "Give two --classes if they are black and white.",
            )
    ids = [value for value in ordered if value != IGNORE_INDEX]
    wrong = [value for value in ids if not 0 <= value < (num_classes or IGNORE_INDEX)]
    if wrong:
        raise UserError(
            f"class ids 0..{(num_classes or IGNORE_INDEX) - 1} or {IGNORE_INDEX} (ignore)",
            f"{wrong[0]} in '{values[wrong[0]]}'",
            "Correct the masks or --classes, or say what the values mean with a legend (--legend FILE.csv).",
        )
    if num_classes is None:
        _require_plausible(ids, values)
    return IDS, num_classes or ids[-1] + 1


def _require_plausible(ids: list[int], values: dict[int, str]) -> None:
    lossy = [name for name in values.values() if name.lower().endswith((".jpg", ".jpeg", ".jfif", ".jpe"))]
    if (lossy and len(values) > 2) or 4 * len(ids) <= ids[-1]:
        shown = ", ".join(map(str, ids[:6])) + (", ..." if len(ids) > 6 else "")
        raise UserError(
            "class ids 0, 1, 2, ...",
            f"{shown} in '{lossy[0] if lossy else values[ids[-1]]}'" + (" (JPEG changes values)" if lossy else ""),
            "Give --classes if these are class ids, or say what the values mean with a legend (--legend FILE.csv).",
        )


def _encoding_of_colors(values: dict[int, str], num_classes: int | None) -> tuple[MaskEncoding, int]:
    colors = [unpack_color(code) for code in sorted(values)]
    if all(red == green == blue for red, green, blue in colors):
        try:
            encoding, count = _encoding_of_values(
                {unpack_color(code)[0]: name for code, name in values.items()}, num_classes
            )
        except UserError:
            pass  # shades that are no ids may be the colors of classes
        else:
            shades = (encoding.background, encoding.foreground) if isinstance(encoding, TwoValues) else range(count)
            ignore = () if isinstance(encoding, TwoValues) else ((IGNORE_INDEX, IGNORE_INDEX, IGNORE_INDEX),)
            return Legend(tuple((shade, shade, shade) for shade in shades), ignore), count
    if num_classes not in (None, len(colors)):
        raise UserError(
            f"masks of {num_classes} classes",
            f"{len(colors)} colors, as {colors[0]} in '{values[min(values)]}'",
            "Say what they mean with a legend (--legend FILE.csv), or correct --classes.",
        )
    if len(colors) > IGNORE_INDEX:
        raise UserError(
            f"at most {IGNORE_INDEX} classes",
            f"{len(colors)} colors",
            "Say what they mean with a legend (--legend FILE.csv).",
        )
    return Legend(tuple(colors)), len(colors)

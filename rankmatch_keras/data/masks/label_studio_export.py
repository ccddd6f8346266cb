"""Label Studio's export of brush strokes as PNG: a file per stroke, named after a task and not after an image."""

import re
from pathlib import Path

from rankmatch_keras.data.masks.label_studio import read_label_studio
from rankmatch_keras.data.readers.archives import archive_of, is_folder
from rankmatch_keras.data.readers.folders import MASK_ENDINGS, files_below
from rankmatch_keras.data.readers.guards import printable
from rankmatch_keras.errors import UserError

_STROKES = re.compile(r"task-([0-9]{1,18})-annotation-.+-tag-.+")  # task-12-annotation-3-by-1-tag-Car-0.png


def project_of_strokes(place: Path) -> Path:
    """Return the JSON export beside brush strokes as PNG, which holds the same strokes; any other place as it is.

    Args:
        place: a folder, on the disk or in a zip file.

    Raises:
        UserError: the folder holds such strokes without one JSON export, or with that of other tasks.
    """
    files = files_below(place, MASK_ENDINGS, "masks") if is_folder(place) else []
    tasks = [int(match[1]) for file in files if (match := _STROKES.fullmatch(file.stem))]
    if not tasks or len(tasks) < len(files):
        return place
    projects = [] if archive_of(place) else files_below(place, (".json",), "masks")
    if len(projects) != 1:
        beside = f"{len(projects)} JSON files beside them" if projects else "no JSON export beside them"
        raise UserError(
            "masks that say to which image they belong",
            f"brush strokes of Label Studio as PNG, such as '{printable(files[0])}', and {beside}",
            "Export the project as JSON, too, and give that file as --masks.",
        )
    known = read_label_studio(projects[0]).tasks
    if missing := sorted(set(tasks) - known.keys()):
        raise UserError(
            f"the tasks of the PNG files in '{printable(projects[0])}'",
            f"no annotated task {missing[0]}",
            "Export the project as JSON again.",
        )
    return projects[0]

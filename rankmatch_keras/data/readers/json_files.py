"""JSON files by a schema: what does not fit becomes one line with the file and the key."""

import json
import os
from pathlib import Path
from typing import TypeVar

import pydantic

from rankmatch_keras.data.readers.guards import open_regular, printable, reading
from rankmatch_keras.errors import UserError

MAX_BYTES = 256 * 2**20

T = TypeVar("T")


def read_json(
    path: str | Path, schema: pydantic.TypeAdapter[T], what: str, remedy: str = "Check or replace the file."
) -> T:
    """Read a JSON file.

    Args:
        path: the file, in UTF-8.
        schema: the form of its content.
        what: what the file should be, as a short phrase.
        remedy: what a person can do where it is something else.

    Returns:
        The content, as the schema has it.

    Raises:
        UserError: the file cannot be read, is larger than 256 MiB, is no JSON, or does not fit the schema; the message
            names the file and the key.
    """
    with reading(path, what, remedy):
        with open_regular(path) as file:
            if os.fstat(file.fileno()).st_size > MAX_BYTES:
                raise UserError(what, f"more than {MAX_BYTES >> 20} MiB in '{printable(path)}'", remedy)
            content = json.loads(file.read())
    return fitting(content, schema, path, what, remedy)


def fitting(content: object, schema: pydantic.TypeAdapter[T], place: str | Path, what: str, remedy: str) -> T:
    """Return content in the form of a schema; `place` is where it comes from, the rest as in `read_json`.

    Raises:
        UserError: it does not fit.
    """
    try:
        return schema.validate_python(content)
    except (pydantic.ValidationError, RecursionError) as error:
        raise UserError(what, f"'{printable(place)}'{_first_flaw(error)}", remedy) from None


def _first_flaw(error: pydantic.ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return ": nested too deeply"
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    found = "" if first["type"] == "missing" else f", not {ascii(first['input'])[:60]}"
    return (f", key {printable(key)[:100]}" if key else "") + f": {first['msg'][:200]}{found}"

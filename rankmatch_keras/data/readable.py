"""Which of many files can be read, for what must go on without the others."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from rankmatch_keras.errors import UserError

T = TypeVar("T")


def readable(files: Sequence[T], read: Callable[[T], object]) -> list[T]:
    """Return the files that can be read, in their order.

    Args:
        files: the files.
        read: reads one, or raises UserError.

    Raises:
        UserError: none can; the message is that of the first.
    """

    def error_of(file: T) -> UserError | None:
        try:
            read(file)
        except UserError as error:
            return error
        return None

    with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as executor:
        errors = list(executor.map(error_of, files))
    first = next((error for error in errors if error is not None), None)
    if first is not None and None not in errors:
        raise first
    return [file for file, error in zip(files, errors, strict=True) if error is None]

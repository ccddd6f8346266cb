"""Errors of a person's files and functions inside tf.data, which wraps them into errors of TensorFlow."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any

from rankmatch_keras.errors import UserError

_met: list[UserError] = []  # by the threads of tf.data; the first one ends the run


def remembered(read: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a function that tf.data calls, so that `reading_errors` can raise its own error."""

    @functools.wraps(read)
    def reading(*arguments):
        try:
            return read(*arguments)
        except UserError as error:
            _met.append(error)
            raise

    return reading


@contextlib.contextmanager
def reading_errors() -> Iterator[None]:
    """Iterate training batches.

    Raises:
        UserError: an image cannot be read, or a function of one's own fails: the error itself, not TensorFlow's.
    """
    _met.clear()
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        own = next((one for one in _met if str(one) in str(error)), None)
        if own is None:
            raise
        raise own from error
    finally:
        _met.clear()

"""Reading samples in the background while one is predicted."""

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor

THREADS = 2
LOOKAHEAD = 4  # items waiting at most
LOOKAHEAD_BYTES = 1 << 28  # what they may take together, by the size of the latest: none waits beside a huge one


class ReadAhead:
    """Reads items in order, with the next few under way in threads; a context manager.

    Args:
        read: item -> tuple of arrays.
        items: what to read.
    """

    def __init__(self, read, items):
        self._read = read
        self._remaining = iter(items)
        self._waiting: deque[Future] = deque()
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="decoding")

    def __enter__(self):
        """Starts nothing yet."""
        return self

    def __exit__(self, *error):
        """Ends the threads, at once where a prediction failed half-way."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def next(self):
        """The next item's arrays; nothing here keeps them."""
        self._fill(1)
        arrays = self._waiting.popleft().result()
        self._fill(min(LOOKAHEAD, LOOKAHEAD_BYTES // max(1, sum(array.nbytes for array in arrays))))
        return arrays

    def _fill(self, number):
        while len(self._waiting) < number:
            item = next(self._remaining, None)
            if item is None:
                return
            self._waiting.append(self._pool.submit(self._read, item))


def spread(items, limit):
    """At most ``limit`` of the items, spread evenly over the list and in its order (None: all)."""
    if limit is None or limit >= len(items):
        return list(items)
    # The middle of each of `limit` equal stretches: neighbours in a list are often neighbours in a film.
    return [items[(2 * i + 1) * len(items) // (2 * limit)] for i in range(limit)]

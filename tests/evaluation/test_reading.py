import threading
import weakref

import numpy as np
import pytest

from rankmatch_keras.evaluation import reading
from rankmatch_keras.evaluation.reading import ReadAhead, spread

pytestmark = pytest.mark.once


def test_spread():
    assert spread(list(range(10)), 5) == [1, 3, 5, 7, 9]
    assert spread(list(range(10)), 1) == [5]
    assert spread(list(range(3)), 8) == [0, 1, 2]
    assert spread(list(range(3)), None) == [0, 1, 2]


def test_reads_in_order_in_threads_and_ends_them():
    threads = set()

    def read(item):
        threads.add(threading.current_thread())
        return (np.array(item),)

    with ReadAhead(read, range(20)) as ahead:
        assert [int(ahead.next()[0]) for _ in range(20)] == list(range(20))
    assert threading.main_thread() not in threads
    assert not any(thread.is_alive() for thread in threads)


def _begun(kilobytes, monkeypatch):
    """How many of 30 items have been begun when the first ones are done, given their size."""
    monkeypatch.setattr(reading, "LOOKAHEAD_BYTES", 100_000)
    begun = []

    def read(item):
        begun.append(item)
        return np.zeros(500 * kilobytes, np.uint8), np.zeros(500 * kilobytes, np.uint8)

    with ReadAhead(read, range(30)) as ahead:
        for _ in range(5):
            ahead.next()
        waiting = len(ahead._waiting)
    return waiting


@pytest.mark.parametrize(("kilobytes", "waiting"), [(1, 4), (40, 2), (90, 1), (200, 0)])
def test_the_larger_the_images_the_fewer_wait(kilobytes, waiting, monkeypatch):
    assert _begun(kilobytes, monkeypatch) == waiting


def test_arrays_are_let_go(monkeypatch):
    """Before the next huge image is read, the last one must be free."""
    monkeypatch.setattr(reading, "LOOKAHEAD_BYTES", 0)
    alive = []

    def read(item):
        assert [ref for ref in alive if ref() is not None] == []
        array = np.zeros(3)
        alive.append(weakref.ref(array))
        return (array,)

    with ReadAhead(read, range(5)) as ahead:
        for _ in range(5):
            assert ahead.next()[0].size == 3
    assert len(alive) == 5


def test_errors_come_through_and_end_the_threads():
    def read(item):
        raise KeyError(item)

    before = threading.active_count()
    with pytest.raises(KeyError, match="a"), ReadAhead(read, "abc") as ahead:
        ahead.next()
    assert threading.active_count() == before

from pathlib import Path

from rankmatch_keras.data.batches.sample_order import SampleOrder
from rankmatch_keras.data.sets.samples import Sample

SAMPLES = [Sample(str(i), Path(str(i))) for i in range(7)]


def test_every_pass_holds_each_sample_once_in_a_new_order():
    stream = SampleOrder(SAMPLES, (0, 1))
    passes = [[stream[7 * p + i].name for i in range(7)] for p in range(5)]
    assert all(sorted(names) == list("0123456") for names in passes)
    assert len({tuple(names) for names in passes}) == 5


def test_order_depends_on_seed_and_number_only():
    asked_backwards = [SampleOrder(SAMPLES, (3, 1))[n] for n in range(29, -1, -1)]
    assert asked_backwards[::-1] == [SampleOrder(SAMPLES, (3, 1))[n] for n in range(30)]
    assert asked_backwards[::-1] != [SampleOrder(SAMPLES, (3, 2))[n] for n in range(30)]

import pickle
from types import SimpleNamespace

import numpy as np
import pytest

from rankmatch_keras import data
from rankmatch_keras.data import Sample
from rankmatch_keras.data.batches import worker_batches as worker_batches
from rankmatch_keras.errors import UserError

RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (30, 34, 3), dtype=np.uint8) for _ in range(5)]
DATA = data.from_arrays(IMAGES[:2], [np.zeros((30, 34), int)] * 2, unlabeled=IMAGES[2:])
RAW = SimpleNamespace(mean=(0.0,), std=(1.0,), reverse_channels=False)


def batches(labeled=DATA.train, unlabeled=DATA.unlabeled, **options):
    options = {"crop": 24, "batch_size": 2, "normalization": RAW, "parallel_calls": 1} | options
    return data.training_batches(labeled, unlabeled, pipeline="workers", **options)


def assert_same(first, second):
    assert first.keys() == second.keys()
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_any_batch_can_be_asked_for_in_any_order():
    made, expected = batches(), batches(parallel_calls=0)
    for index in (0, 1, 0, 5, 4, 6):
        assert_same(made[index], expected[index])


def test_three_workers_make_what_one_makes():
    for one, three in zip(batches(steps=4), batches(steps=4, parallel_calls=3), strict=True):
        assert_same(one, three)


def test_only_two_batches_are_read_ahead_and_none_beyond_the_last(monkeypatch):
    submitted = []

    class Counting(worker_batches.Pool):
        def submit(self, labeled, number, sample):
            submitted.append((labeled, number))
            return super().submit(labeled, number, sample)

    monkeypatch.setattr(worker_batches, "Pool", Counting)
    made = batches(steps=4, unlabeled_batch_size=1)
    made[0]
    batch_0_to_2 = [
        (True, 0),
        (True, 1),
        (False, 0),
        (True, 2),
        (True, 3),
        (False, 1),
        (True, 4),
        (True, 5),
        (False, 2),
    ]
    assert submitted == batch_0_to_2
    for index in range(1, 4):
        made[index]
    assert submitted == [*batch_0_to_2, (True, 6), (True, 7), (False, 3)]


def test_ends_and_length():
    finite, endless = batches(steps=2), batches()
    assert (len(finite), finite.num_batches, endless.num_batches, bool(endless)) == (2, 2, None, True)
    with pytest.raises(IndexError):
        finite[2]
    with pytest.raises(TypeError, match="steps_per_epoch"):
        len(endless)


def test_work_goes_on_after_closing():
    made = batches()
    first = made[0]
    made.close()
    made.close()
    assert_same(made[0], first)


@pytest.mark.parametrize("parallel_calls", [0, 1])
def test_a_broken_file_is_named(tmp_path, parallel_calls):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n but no more")
    broken = [*DATA.unlabeled, Sample("b", tmp_path / "broken.png")]
    with pytest.raises(UserError, match="broken.png"):
        list(batches(unlabeled=broken, steps=3, parallel_calls=parallel_calls))


def test_jobs_are_small():
    # No worker is sent the whole list, however long it is.
    many = [Sample(f"{n}", f"folder/{n}.png") for n in range(10_000)]
    made = batches(parallel_calls=0)
    made._streams[1] = (False, made.settings.unlabeled, type(made._streams[1][2])(many, (0, 2)))
    assert len(pickle.dumps([job for job in made._jobs(0) if not job[0]])) < 2_000
    assert len(pickle.dumps(made._make)) < 2_000

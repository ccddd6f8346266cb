import pathlib
import threading
import weakref

import keras
import numpy as np
import pytest
from PIL import Image

from rankmatch_keras.data.sets.protocol import Protocol
from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import BoundaryCounts, Evaluator, evaluator, predict_classes, progress_bar, weights_hash
from rankmatch_keras.evaluation.evaluator import ReadAhead, evenly_spaced
from rankmatch_keras.evaluation.metrics import mean_iou_interval

NAMES = ("dark", "bright")


class InMemory:
    """Sample in memory with imaginary paths; its mask has one wrong and one ignored pixel."""

    def __init__(self, number, size=None):
        rng = np.random.default_rng(number)
        height, width = size or (4 + number % 3, 5)
        self.pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        self.ids = (self.pixels[..., 0] >= 128).astype(np.int32)
        self.ids[0, 0], self.ids[0, 1] = 1 - self.ids[0, 0], 255
        self.image, self.mask = f"{number}.jpg", f"{number}.png"
        self.reads = 0

    def read_image(self):
        self.reads += 1
        return self.pixels

    def read_mask(self):
        return self.ids


@pytest.fixture
def samples():
    return [InMemory(number) for number in range(7)]


def test_scores_all_images_in_order(samples, brightness_predictor):
    seen = []
    evaluator = Evaluator(samples, NAMES, provenance={"set": "mine", "seed": 3})
    scores = evaluator.evaluate(brightness_predictor, progress=lambda done, total: seen.append((done, total)))
    pixels = sum(sample.ids.size - 1 for sample in samples)
    assert scores.pixel_accuracy == pytest.approx((pixels - 7) / pixels, rel=1e-12)
    truth = np.concatenate([sample.ids.ravel() for sample in samples])
    predicted = np.concatenate([sample.pixels[..., 0].ravel() >= 128 for sample in samples])
    valid = truth != 255
    for k in range(2):
        hit = ((truth == k) & (predicted == k) & valid).sum()
        true, found = ((truth == k) & valid).sum(), ((predicted == k) & valid).sum()
        assert scores.iou[k] == pytest.approx(hit / (true + found - hit), rel=1e-12)
        assert scores.dice[k] == pytest.approx(2 * hit / (true + found), rel=1e-12)
        assert scores.precision[k] == pytest.approx(hit / found, rel=1e-12)
        assert scores.recall[k] == pytest.approx(hit / true, rel=1e-12)
    assert scores.foreground_iou == scores.iou[1]
    assert seen == [(i, 7) for i in range(1, 8)]
    assert (scores.images, scores.images_available, scores.mode) == (7, 7, "whole")
    assert scores.class_names == NAMES
    assert list(scores.provenance) == ["set", "seed", "weights_hash", "backend", "versions"]
    assert scores.provenance["weights_hash"] == weights_hash(brightness_predictor)


def test_the_interval_is_over_images(samples, brightness_predictor):
    counts = []
    for sample in samples:
        predicted, valid = sample.pixels[..., 0] >= 128, sample.ids != 255
        regions = [((sample.ids == k) & valid, (predicted == k) & valid) for k in range(2)]
        counts.append(
            [[(t & p).sum() for t, p in regions], [t.sum() for t, _ in regions], [p.sum() for _, p in regions]]
        )
    scores = Evaluator(samples, NAMES).evaluate(brightness_predictor)
    assert scores.mean_iou_interval == mean_iou_interval(counts)
    assert scores.mean_iou_interval[0] < scores.mean_iou < scores.mean_iou_interval[1]


def test_boundary_is_measured_unless_switched_off(brightness_predictor):
    samples = [InMemory(number, (40, 30)) for number in range(3)]
    counts = BoundaryCounts(2)
    for sample in samples:
        counts.update(sample.ids, predict_classes(brightness_predictor, sample.pixels))
    scores = Evaluator(samples, NAMES).evaluate(brightness_predictor)
    assert scores.boundary_iou == tuple(counts.iou())
    assert scores.mean_boundary_iou == pytest.approx(counts.iou().mean())
    assert Evaluator(samples, NAMES, boundary=False).evaluate(brightness_predictor).boundary_iou is None


@pytest.mark.parametrize(
    "protocol", [Protocol("center_crop", 6), Protocol("sliding_window", 6, "shift", flip=True)], ids=str
)
def test_protocol(place_dependent, protocol):
    samples = [InMemory(number, (9 + number, 8)) for number in range(3)]
    for sample in samples:
        sample.ids %= 255  # nothing is ignored
    scores = Evaluator(samples, ("a", "b", "c"), protocol, window_batch=1).evaluate(place_dependent)
    assert {shape[0] for shape in place_dependent.shapes} == {1}
    right = total = 0
    for sample in samples:
        classes, ids = predict_classes(place_dependent, sample.pixels, protocol), sample.ids
        if protocol.mode == "center_crop":
            top = (len(ids) - 6) // 2
            ids = ids[top : top + 6, 1:7]
        right, total = right + (classes == ids).sum(), total + ids.size
    assert scores.pixel_accuracy == right / total
    assert (scores.mode, scores.protocol) == (str(protocol), protocol)
    assert "weights_hash" not in scores.provenance, "no Keras model"


def test_the_limit_is_spread_and_recorded(samples, brightness_predictor):
    scores = Evaluator(samples, NAMES, limit=2).evaluate(brightness_predictor)
    assert [sample.reads for sample in samples] == [0, 1, 0, 0, 0, 1, 0]
    assert (scores.images, scores.images_available) == (2, 7)


def test_decodes_in_the_background_but_not_far_ahead(brightness_predictor):
    samples = [InMemory(number) for number in range(30)]
    before, most_ahead = threading.active_count(), []
    Evaluator(samples, NAMES).evaluate(
        brightness_predictor,
        progress=lambda done, total: most_ahead.append(sum(sample.reads for sample in samples) - done),
    )
    assert sum(sample.reads for sample in samples) == 30
    assert max(most_ahead) <= 4
    assert threading.active_count() <= before, "threads must end with the evaluation"


def test_errors_of_the_reader_are_raised(samples, brightness_predictor):
    def missing():
        raise KeyError("3.png")

    samples[3].read_mask = missing
    with pytest.raises(KeyError, match=r"3\.png"):
        Evaluator(samples, NAMES).evaluate(brightness_predictor)


@pytest.mark.parametrize("odd", [9, 300, -1])
def test_a_mask_with_unknown_ids_is_named(samples, brightness_predictor, odd):
    samples[2].ids[1, 1] = odd
    with pytest.raises(UserError, match=rf"2\.png; found {odd}"):
        Evaluator(samples, NAMES).evaluate(brightness_predictor)


def test_a_mask_of_another_size_is_named(samples, brightness_predictor):
    samples[2].ids = np.zeros((2, 2), int)
    with pytest.raises(UserError, match=r"2 x 2 in '2\.png'"):
        Evaluator(samples, NAMES).evaluate(brightness_predictor)


def test_another_ignore_index(samples, brightness_predictor):
    for sample in samples:
        sample.ids[sample.ids == 255] = -1
    scores = Evaluator(samples, NAMES, ignore_index=-1).evaluate(brightness_predictor)
    assert scores.pixel_accuracy == pytest.approx(1 - 7 / sum(sample.ids.size - 1 for sample in samples))


def test_mistakes(samples, brightness_predictor):
    with pytest.raises(UserError, match="3 classes; found one of 2"):
        Evaluator(samples, "abc").evaluate(brightness_predictor)
    with pytest.raises(UserError, match="found none"):
        Evaluator([], NAMES)
    with pytest.raises(UserError, match="found 0"):
        Evaluator(samples, NAMES, limit=0)
    with pytest.raises(UserError, match="found 0"):
        Evaluator(samples, NAMES, window_batch=0)
    samples[0].mask = None
    with pytest.raises(UserError, match=r"none for 0\.jpg"):
        Evaluator(samples, NAMES)


def test_real_files():
    """Score a predictor of "road" everywhere on three street scenes."""
    from rankmatch_keras.data.sets.samples import Sample

    root = pathlib.Path(__file__).resolve().parents[2].parent / "shared" / "data" / "camvid"
    if not root.exists():
        pytest.skip("the CamVid images are not beside this checkout")
    masks = sorted((root / "masks" / "val").iterdir())[:3]
    samples = [Sample(m.stem, root / "images" / "val" / f"{m.stem}.jpg", m) for m in masks]
    image = keras.Input((None, None, 3))
    head = keras.layers.Conv2D(11, 1, kernel_initializer="zeros")
    model = keras.Model(image, keras.layers.Softmax()(head(image)))
    head.bias.assign(np.eye(11, dtype="float32")[3])
    scores = Evaluator(samples, [str(k) for k in range(11)]).evaluate(model)
    truth = np.stack([np.asarray(Image.open(m)) for m in masks])
    road = (truth == 3).sum() / (truth != 255).sum()
    assert scores.pixel_accuracy == pytest.approx(road, rel=1e-12)
    assert scores.iou[3] == pytest.approx(road, rel=1e-12), "the union is the whole picture"
    assert road > 0.1


def test_evenly_spaced():
    assert evenly_spaced(list(range(10)), 5) == [1, 3, 5, 7, 9]
    assert evenly_spaced(list(range(10)), 1) == [5]
    assert evenly_spaced(list(range(3)), 8) == [0, 1, 2]
    assert evenly_spaced(list(range(3)), None) == [0, 1, 2]


def test_read_ahead_keeps_the_order_and_ends_its_threads():
    threads = set()

    def read(item):
        threads.add(threading.current_thread())
        return (np.array(item),)

    with ReadAhead(read, range(20)) as ahead:
        assert [int(ahead.next()[0]) for _ in range(20)] == list(range(20))
    assert threading.main_thread() not in threads
    assert not any(thread.is_alive() for thread in threads)


def _begun(kilobytes, monkeypatch):
    """Return how many of 30 items are started once the first ones are done, given their size."""
    monkeypatch.setattr(evaluator, "LOOKAHEAD_BYTES", 100_000)
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
def test_fewer_large_items_wait(kilobytes, waiting, monkeypatch):
    assert _begun(kilobytes, monkeypatch) == waiting


def test_arrays_are_released(monkeypatch):
    """A huge image must be freed before the next one is read."""
    monkeypatch.setattr(evaluator, "LOOKAHEAD_BYTES", 0)
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


def test_errors_are_raised_and_end_the_threads():
    def read(item):
        raise KeyError(item)

    before = threading.active_count()
    with pytest.raises(KeyError, match="a"), ReadAhead(read, "abc") as ahead:
        ahead.next()
    assert threading.active_count() == before


def test_progress_counts_on_a_terminal_only(capsys, monkeypatch):
    progress_bar("scored")(1, 2)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    clock = iter([100.0, 100.25, 110.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    show = progress_bar("scored")
    monkeypatch.setenv("COLUMNS", "33")
    show(1, 2)
    show(2, 2)
    assert capsys.readouterr().err == "\r1 of 2 scored, 4.0 images/s     \r2 of 2 scored, 5.0 s an image   \n"

"""Self-training: its stages, the pseudo-labels between them, and resuming."""

import csv
import json

import keras
import numpy as np
import pytest
from PIL import Image

from rankmatch_keras import evaluation
from rankmatch_keras.data import Sample
from rankmatch_keras.data.readers.sources import Array
from rankmatch_keras.errors import UserError
from rankmatch_keras.files import replacing
from rankmatch_keras.training import Run, self_training
from rankmatch_keras.training.options import Options

CLASSES = 3


def predictor(weight):
    """Predicts a class from the brightness; the weight says where the classes lie."""
    image = keras.Input((None, None, 3), name="image")
    kernel = np.zeros((1, 1, 3, CLASSES), "float32")
    kernel[0, 0, 0] = np.arange(CLASSES) * weight / 100
    layer = keras.layers.Conv2D(CLASSES, 1, use_bias=False, kernel_initializer=keras.initializers.Constant(kernel))
    return keras.Model(image, keras.layers.Softmax()(layer(image)))


def samples(count=5):
    rng = np.random.default_rng(0)
    images = [(rng.integers(-100, 100, (6, 7, 3)) + 30 * n).astype("float32") for n in range(count)]
    return [Sample(f"part/{n}", Array(image, str(n))) for n, image in enumerate(images)]


class Train:
    """Stand-in for training: every stage is a run with made-up networks, and a note of what it learns from."""

    def __init__(self):
        self.learned = []

    def __call__(self, options):
        run = Run.create(options.folder, options.as_dict(), resume=options.resume)
        masks = None
        if options.method == "selftraining":
            masks = {s.name: s.read_mask() for s in self_training.pseudo_labeled(samples(), options)}
        self.learned.append((options.stage, options.method, options.set, masks))
        for number, weight in enumerate((-1.0, 0.0, 1.0), start=1):
            if options.stage == 1:
                predictor(weight).save(run.snapshot(number))
        predictor(1.0 if options.stage == 1 else -1.0).save(run.best)
        (run.folder / "scores.json").write_text("{}")


def classes_of(sample, weight):
    # The largest of (0, 1, 2) * weight * brightness: class 0 or 2.
    return np.where(weight * sample.read_image()[..., 0] > 0, 2, 0)


def options(tmp_path, **values):
    return Options(method="selftraining", out=tmp_path / "run", set=("label_scales=[1]",), **values)


def test_st_labels_everything_once(tmp_path, capsys):
    train = Train()
    chosen = options(tmp_path)
    chosen = Options(**{**vars(chosen), "set": (*chosen.set, "plus_plus=false", "ohem=[0.7, 100]")})
    self_training.train_in_stages(train, chosen)
    (first, second) = train.learned
    assert first == (1, "supervised", ("ohem=[0.7, 100]",), None)
    assert second[:2] == (2, "selftraining") and len(second[3]) == 5
    for sample in samples():
        np.testing.assert_array_equal(second[3][sample.name], classes_of(sample, 1.0))
    assert {p.name for p in (tmp_path / "run").iterdir()} >= {"config.json", "best.keras", "stages"}
    assert not (tmp_path / "run/stages/reliability.csv").exists()
    assert "Stage 2 of 2: training on all pseudo-labels" in capsys.readouterr().out


def test_st_plus_plus_trusts_the_reliable_first(tmp_path):
    train = Train()
    self_training.train_in_stages(train, options(tmp_path))
    assert [learned[:2] for learned in train.learned] == [(1, "supervised"), (2, "selftraining"), (3, "selftraining")]
    with (tmp_path / "run/stages/reliability.csv").open() as file:
        rows = {row["name"]: float(row["reliability"]) for row in csv.DictReader(file)}
    by_name = {sample.name: sample for sample in samples()}
    for name, sample in by_name.items():
        # The networks of weight -1 and 0 (which says class 0 everywhere) against the last, of weight 1.
        last = classes_of(sample, 1.0)
        expected = [slow_mean_iou(classes_of(sample, weight), last) for weight in (-1.0, 0.0)]
        assert rows[name] == pytest.approx(np.mean(expected), abs=1e-9)
    reliable, everything = train.learned[1][3], train.learned[2][3]
    assert set(reliable) == set(sorted(rows, key=rows.get)[-2:])  # half of five, rounded down
    assert set(everything) == set(rows)
    for name, mask in everything.items():
        # The second network labels the rest.
        weight = 1.0 if name in reliable else -1.0
        np.testing.assert_array_equal(mask, classes_of(by_name[name], weight))


def slow_mean_iou(prediction, last):
    scores = []
    for c in range(CLASSES):
        union = ((prediction == c) | (last == c)).sum()
        if union:
            scores.append(((prediction == c) & (last == c)).sum() / union)
    return np.mean(scores)


def test_it_resumes_where_it_stopped(tmp_path, monkeypatch, capsys):
    written = []

    def stop_at_the_third(path, classes):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        save(path, classes)

    save = evaluation.save_mask_png
    monkeypatch.setattr(evaluation, "save_mask_png", stop_at_the_third)
    chosen = Options(**{**vars(options(tmp_path)), "set": ("plus_plus=false", "label_scales=[1]")})
    with pytest.raises(KeyboardInterrupt):
        self_training.train_in_stages(Train(), chosen)
    labels = tmp_path / "run/stages/labels/part"
    before = {path.name: path.stat().st_mtime_ns for path in labels.iterdir()}
    assert sorted(before) == ["0.png", "1.png"] and len(written) == 2
    monkeypatch.setattr(evaluation, "save_mask_png", save)
    with pytest.raises(UserError, match="--resume"):
        self_training.train_in_stages(Train(), chosen)
    train = Train()
    self_training.train_in_stages(train, Options(**{**vars(chosen), "resume": True}))
    assert [learned[0] for learned in train.learned] == [2] and len(train.learned[0][3]) == 5
    assert {name: (labels / name).stat().st_mtime_ns for name in before} == before
    out = capsys.readouterr().out
    assert "the labeled images: done before" in out and "Labeling 3 of 5 images" in out


def test_wrong_options_are_named_before_anything_is_trained(tmp_path):
    for text, phrase in (("plusplus=false", "plus_plus"), ("reliable_share=2", "reliable_share between")):
        train = Train()
        with pytest.raises(UserError, match=phrase):
            self_training.train_in_stages(train, Options(method="selftraining", out=tmp_path / "run", set=(text,)))
        assert not train.learned and not (tmp_path / "run").exists()


def test_labels_are_written_whole(tmp_path):
    with pytest.raises(RuntimeError), replacing(tmp_path / "labels/a.png") as temporary:
        evaluation.save_mask_png(temporary, np.zeros((3, 4), "uint8"))
        raise RuntimeError
    assert not list((tmp_path / "labels").iterdir())


@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="the stages are plain runs: tested where they start fastest"
)
def test_a_recipe_runs_all_stages(tmp_path, rankmatch):
    rng = np.random.default_rng(0)
    for part, count in (("train", 5), ("val", 1), ("test", 1)):
        for number in range(count):
            mask = np.zeros((40, 52), "uint8")
            mask[:, 26:] = 1 + number % 2
            for folder, picture in (
                ("images", 90 * mask[..., None] + rng.integers(0, 60, (40, 52, 3))),
                ("masks", mask),
            ):
                path = tmp_path / "data" / folder / part / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(picture.astype("uint8")).save(path)
    flags = ["--data", tmp_path / "data", "--labels", 2, "--out", tmp_path / "run", "--smoke", "--crop", 33]
    flags += ["--pipeline", "workers"]
    flags += ["--method", "selftraining", "--set", "label_scales=[1]", "--set", "label_flip=false"]
    code, out, err = rankmatch("train", "recipes/camvid.py", *flags)
    assert code == 0, err
    assert "Labeling 1 of 1 image by" in out and "Labeling 2 of 3 images" in out and out.count("mean IoU") >= 3
    records = [
        json.loads((tmp_path / "run" / place / "config.json").read_text()) for place in ("stages/1", "stages/2", "")
    ]
    assert [r["options"]["method"] for r in records] == ["supervised", "selftraining", "selftraining"]
    assert len({r["split"]["id"] for r in records}) == 1
    columns = (tmp_path / "run/history.csv").read_text().splitlines()[0]
    assert "pseudo" in columns and (tmp_path / "run/scores.json").exists()
    assert all(Run(tmp_path / "run/stages/1").snapshot(k).exists() for k in (1, 2, 3))

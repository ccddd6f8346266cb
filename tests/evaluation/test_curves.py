import pytest
from matplotlib.figure import Figure
from PIL import Image

from rankmatch_keras.errors import UserError
from rankmatch_keras.evaluation import save_curves
from rankmatch_keras.evaluation.curves import _panels, _rows, _series, readable

pytestmark = pytest.mark.once

HISTORY = [
    {"epoch": 0, "loss": 2.0, "supervised": 1.5, "rank_1": 0.2, "mask_ratio": 0.1, "learning_rate": 0.01},
    {"epoch": 1, "loss": 1.0, "supervised": 0.5, "rank_1": 0.1, "mask_ratio": 0.4, "val_mean_iou": 0.25},
]


def test_one_run_has_a_panel_per_kind():
    panels = _panels({"": _series(HISTORY)})
    assert [(unit, [line[0] for line in lines]) for _, unit, lines in panels] == [
        ("IoU (%)", ["mean IoU"]),
        ("fraction or probability (%)", ["pseudo-labels kept"]),
        ("loss (nats)", ["total loss", "supervised loss", "rank loss 1"]),
    ]
    assert panels[0][2] == [("mean IoU", [1.0], [25.0])]
    assert panels[1][2] == [("pseudo-labels kept", [0.0, 1.0], [10.0, 40.0])]


def test_several_runs_share_a_panel_per_column():
    panels = _panels({"a": _series(HISTORY), "b": _series([{"loss": 3.0}, {"loss": 2.5}])})
    loss = next(lines for name, _, lines in panels if name == "total loss")
    assert loss == [("a", [0.0, 1.0], [2.0, 1.0]), ("b", [1.0, 2.0], [3.0, 2.5])]
    names = ["mean IoU", "pseudo-labels kept", "total loss", "supervised loss", "rank loss 1"]
    assert [name for name, _, _ in panels] == names


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("val_mean_iou", "mean IoU"),
        ("iou_val_strong_1", "val_strong_1"),  # a class keeps its name
        ("strong_1", "strong view loss 1"),
        ("weak_correlation", "weak correlation loss"),
        ("val_loss", "total loss"),
    ],
)
def test_columns_have_readable_names(column, name):
    assert readable(column) == name


@pytest.mark.parametrize("classes", [3, 30])
def test_legends_cover_nothing(tmp_path, monkeypatch, classes):
    drawn = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (save(self, *a, **k), drawn.append(self)))
    rows = [
        {
            "epoch": e,
            "loss": 1.0 / e,
            "supervised": 0.5,
            **{f"iou_a class with a name {k}": 0.1 * e for k in range(classes)},
        }
        for e in (1, 2)
    ]
    save_curves(tmp_path / "curves.png", rows)
    (figure,) = drawn
    panels = figure.get_axes()
    legends = [*figure.legends, *(axes.get_legend() for axes in panels if axes.get_legend())]
    assert len(legends) == 2
    boxes = [legend.get_window_extent() for legend in legends]
    covered = [
        *(axes.get_window_extent() for axes in panels),
        *(axes.xaxis.label.get_window_extent() for axes in panels),
    ]
    assert not any(box.overlaps(other) for box in boxes for other in covered)
    assert not boxes[0].overlaps(boxes[1])
    assert all(figure.bbox.x0 <= box.x0 and figure.bbox.y0 <= box.y0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_gaps_in_a_csv(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text("epoch,loss,val_mean_iou\n0,1.5,NA\n1,nan,0.5\n2,1.0,\n")
    series = _series(_rows(path))
    assert series["loss"] == ([0.0, 2.0], [1.5, 1.0])
    assert series["val_mean_iou"] == ([1.0], [0.5])


@pytest.mark.parametrize("make", [lambda csv: csv, lambda csv: HISTORY, lambda csv: {"a": csv, "b": HISTORY}])
def test_writes_a_picture(tmp_path, make):
    csv = tmp_path / "history.csv"
    csv.write_text("epoch,loss\n0,1.5\n1,1.2\n")
    save_curves(tmp_path / "new" / "curves.png", make(csv), title="CamVid")
    with Image.open(tmp_path / "new" / "curves.png") as picture:
        assert picture.format == "PNG"
        assert min(picture.size) > 300


def test_nothing_to_draw(tmp_path):
    with pytest.raises(UserError, match="learning_rate"):
        save_curves(tmp_path / "x.png", [{"epoch": 1, "learning_rate": 0.1}])
    with pytest.raises(UserError, match="found nothing"):
        save_curves(tmp_path / "x.png", [])


def test_a_run_keeps_its_color_in_every_panel(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    drawn = []
    plot = Axes.plot

    def remember(axes, *args, **kwargs):
        (line,) = plot(axes, *args, **kwargs)
        drawn.append((line.get_label(), line.get_color()))
        return [line]

    monkeypatch.setattr(Axes, "plot", remember)
    one = [{"epoch": 1, "loss": 1.0}, {"epoch": 2, "loss": 0.5}]
    other = [{"epoch": 1, "loss": 1.0, "mask_ratio": 0.1}, {"epoch": 2, "loss": 0.5, "mask_ratio": 0.2}]
    save_curves(tmp_path / "curves.png", {"one": one, "other": other})
    assert len(drawn) == 3 and len(set(drawn)) == 2

import numpy as np
import pytest
from PIL import Image

from rankmatch_keras.errors import UserError
from rankmatch_keras.figures import pseudo_labels
from rankmatch_keras.figures.agents import find_agents, heat, save_agents
from rankmatch_keras.figures.predictions import Picture, difference_boxes, save_comparison, save_contours

pytestmark = pytest.mark.once


def picture(height=40, width=60):
    truth = np.zeros((height, width), np.int32)
    truth[10:30, 5:25] = 1
    return Picture("a", np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8), truth)


def test_boxes_mark_where_the_first_prediction_is_better_or_worse():
    truth = np.zeros((100, 100), np.int32)
    first, other = truth.copy(), truth.copy()
    other[10:30, 10:30] = 1  # the other is wrong here
    first[60:80, 60:80] = 1  # and the first here
    better, worse = difference_boxes(truth, first, [other, other])
    assert better.better and not worse.better
    for box, low in ((better, 10), (worse, 60)):
        assert box.top <= low and box.left <= low
        assert box.top + box.height >= low + 20 and box.left + box.width >= low + 20


def test_no_boxes_without_difference_truth_or_others():
    truth = np.zeros((50, 50), np.int32)
    assert difference_boxes(truth, truth, [truth]) == difference_boxes(truth, truth, []) == []
    assert difference_boxes(np.full((50, 50), 255), truth, [1 - truth]) == []


def test_agents_and_their_maps():
    # Left and right halves of a 4 x 6 grid have orthogonal features.
    features = np.zeros((4, 6, 2), np.float32)
    features[:, :3, 0] = features[:, 3:, 1] = 1
    features += 0.01
    found = find_agents(features, 16, (49, 81), num_agents=2)
    # First the center pixel (2, 3), in the right half; then the first one in the left half.
    assert found.places.tolist() == [[32, 48], [0, 0]]
    assert found.maps.shape == (2, 49, 81) and found.maps.min() == 0 and found.maps.max() == 1
    for n, one in zip(found.shown, found.maps, strict=True):
        left = n == 1
        assert one[20, 0] == left and one[20, 80] == (not left)
        assert one[20, 40] == pytest.approx(0.5)


def test_features_on_the_padding_are_left_out():
    features = np.random.default_rng(0).uniform(size=(4, 4, 3)).astype("float32")
    found = find_agents(features, 16, (33, 20), num_agents=99)
    # 33 rows hold the features at rows 0, 16 and 32; 20 columns those at 0 and 16.
    assert len(found.places) == 6 and found.places.max(0).tolist() == [32, 16]


def test_heat_is_blue_to_red():
    image = np.full((1, 2, 3), 100, np.uint8)
    blue, red = heat(image, np.array([[0.0, 1.0]]))[0]
    assert blue[2] > blue[0] and red[0] > red[2]


def test_pictures_are_written(tmp_path):
    one = picture()
    predictions = {"rankmatch": [one.truth], "supervised": [np.zeros_like(one.truth)]}
    save_comparison(tmp_path / "p.png", [one], predictions, ("ground", "cell"))
    save_contours(tmp_path / "c.png", [one], predictions, ("ground", "cell"))
    features = np.random.default_rng(0).uniform(size=(3, 4, 3)).astype("float32")
    save_agents(tmp_path / "a.png", [one], [find_agents(features, 16, (40, 60), 8)], ("ground", "cell"))
    widths = {}
    for name in "pca":
        with Image.open(tmp_path / f"{name}.png") as written:
            widths[name] = written.size[0]
    assert widths["p"] * 3 == widths["c"] * 4  # image, truth and two runs; image and two runs
    assert widths["a"] > widths["p"]


def test_pseudo_labels_of_some_runs(tmp_path):
    history = [{"epoch": 1.0, "mask_ratio": 0.1}, {"epoch": 2.0, "mask_ratio": 0.4}]
    check = [{"epoch": 1.0, "kept": 0.2, "accuracy": 0.9, "accuracy_all": 0.7}]
    check[0] |= {"recall_ground": 0.8, "accuracy_cell": 0.5}
    histories, checks, names = {"a": history, "b": []}, {"a": check, "b": []}, ("ground", "cell")
    paths = pseudo_labels.save_pseudo_labels(tmp_path, histories, checks, names)
    assert [path.name for path in paths] == ["pseudo_labels.png", "pseudo_labels.svg"]
    rows = pseudo_labels._panels(histories, checks, names)
    assert [[title for title, _ in row] for row in rows] == [
        [
            "Pixels kept, training batches",
            "Pixels kept, checked images",
            "Accuracy of kept labels",
            "Accuracy of all labels",
        ],
        ["a: recall of kept pixels", "a: accuracy of kept labels"],
    ]
    assert rows[1][0][1] == {"ground": ((1.0,), (80.0,))} and rows[1][1][1] == {"cell": ((1.0,), (50.0,))}
    with pytest.raises(UserError, match="log pseudo-labels"):
        pseudo_labels.save_pseudo_labels(tmp_path, {"b": []}, {"b": []}, ("ground", "cell"))

"""Run directories as training leaves them, without training."""

import csv
import json

import pytest

from rankmatch_keras.evaluation import Scores, write_json

OPTIONS = {"steps": 300, "interval": 100, "epochs": None, "crop": 129, "batch": 2, "backbone": "tiny", "val_limit": 4}


@pytest.fixture
def write_run(tmp_path):
    """Return a function that writes a run; `score` is its mean IoU after the last step, None if it was cut off.

    `labels` are a number, or "all" of 40 images.
    """

    def write(name, method="rankmatch", labels=10, seed=0, score=0.5, best=None, changes=None, **options):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        changes = dict(changes or {})
        count, asked = (40, None) if labels == "all" else (labels, labels)
        given = {"labels": asked, "labeled_list": None, "method": method, "set": [], "seed": seed, "out": str(folder)}
        images = {"labeled": [str(i) for i in range(count)], "unlabeled": 0 if asked is None else 90}
        config = {
            "options": {**OPTIONS, **given, **options},
            "backend": "torch",
            "data": {"loader": "Lucchi", "arguments": {"root": "/data"}, "classes": ["ground", "thing"]},
            "split": {"id": f"{labels}-{seed}", **images},
            "protocol": {"mode": "whole", "crop": None},
            **changes,
        }
        (folder / "config.json").write_text(json.dumps(config))
        last = 0.25 if score is None else score
        with (folder / "history.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["epoch", "loss", "mean_iou", "mask_ratio"])
            writer.writeheader()
            for epoch, mean in enumerate((0.2, best or last, last), start=1):
                writer.writerow({"epoch": epoch, "loss": 1 / epoch, "mean_iou": mean, "mask_ratio": 0.1 * epoch})
        if score is not None:
            scores = Scores(
                ("ground", "thing"),
                (score, score),
                score,
                0.9,
                images=7,
                images_available=7,
                provenance={"set": "x val"},
            )
            write_json(folder / "scores.json", {"IoU %": scores.to_dict()})
            cost = {"train_seconds": 60.0 + seed, "seconds": 70.0, "step_seconds": 0.2, "peak_memory_gb": 1.5}
            write_json(folder / "cost.json", cost)
        return folder

    return write

"""The example of the README runs as it is printed, but for its size and its downloaded weights."""

import re

SMALLER = {
    'weights="imagenet"': "weights=None",
    "mobilenet_v2": "tiny",
    '["ground", "cell"]': "5",
    "crop=321, batch_size=4": "crop=33, batch_size=2",
    "epochs=10, steps_per_epoch=200": "epochs=1, steps_per_epoch=1",
    "evaluation.Evaluator(files.train, files.class_names)": "evaluation.Evaluator(files.train[:2], files.class_names)",
}


def test_the_example_runs(checkout, tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", (checkout / "README.md").read_text(), re.DOTALL).group(1)
    assert len(code.strip().splitlines()) <= 15
    for printed, smaller in SMALLER.items():
        assert printed in code
        code = code.replace(printed, smaller)
    sample = checkout / "data" / "sample"
    for name, folder in {"images": "train/images", "masks": "train/masks", "more_images": "val/images"}.items():
        (tmp_path / name).symlink_to(sample / folder)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "cells.keras").stat().st_size > 100_000

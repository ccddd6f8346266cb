"""The README's examples run as printed, except for their size and downloaded weights."""

import re

SMALLER = {
    'weights="imagenet"': "weights=None",
    "mobilenet_v2": "tiny",
    '["ground", "cell"]': "5",
    "crop=321, batch_size=4": "crop=33, batch_size=2",
    "epochs=10, steps_per_epoch=200": "epochs=1, steps_per_epoch=1",
    "evaluation.Evaluator(files.val, files.class_names)": "evaluation.Evaluator(files.val[:2], files.class_names)",
}
MAX_WORDS = 900


def blocks(checkout):
    return re.findall(r"```python\n(.*?)```", (checkout / "README.md").read_text(), re.DOTALL)


def link(checkout, place, **folders):
    for name, folder in folders.items():
        (place / name).symlink_to(checkout / "data" / "sample" / folder)


def test_the_five_lines_run(checkout, tmp_path, monkeypatch):
    code = blocks(checkout)[0]
    assert len(code.strip().splitlines()) <= 6
    printed = 'out="runs/first"'
    assert printed in code
    link(checkout, tmp_path, photos="train/images", masks="train/masks", more_photos="val/images")
    (tmp_path / "new_photo.jpg").symlink_to(next((checkout / "data/sample/val/images").iterdir()))
    monkeypatch.chdir(tmp_path)
    exec(compile(code.replace(printed, f"{printed}, smoke=True"), "README.md", "exec"), {})
    assert (tmp_path / "cells.keras").stat().st_size > 100_000


def test_the_long_form_runs(checkout, tmp_path, monkeypatch):
    code = next(block for block in blocks(checkout) if "training_batches" in block)
    assert len(code.strip().splitlines()) <= 15
    for printed, smaller in SMALLER.items():
        assert printed in code
        code = code.replace(printed, smaller)
    link(checkout, tmp_path, images="train/images", masks="train/masks", more_images="val/images")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    assert (tmp_path / "cells.keras").stat().st_size > 100_000


def test_the_readme_stays_short(checkout):
    assert len((checkout / "README.md").read_text().split()) <= MAX_WORDS

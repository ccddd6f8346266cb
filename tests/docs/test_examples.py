"""The Python blocks of the documentation run as printed, page by page, or say why not."""

import pytest
from documents import blocks, pages

import rankmatch_keras
from rankmatch_keras import models

pytestmark = pytest.mark.once


@pytest.fixture
def folder(checkout, tmp_path, monkeypatch):
    """A working directory with the folders that the pages speak of: three sample scenes and more without masks."""
    for name, kind in (("photos", "images"), ("masks", "masks"), ("more", "images")):
        (tmp_path / name).mkdir()
        part = "val" if name == "more" else "train"
        for file in sorted((checkout / "data" / "sample" / part / kind).iterdir())[:3]:
            (tmp_path / name / file.name).symlink_to(file)
    monkeypatch.chdir(tmp_path)


def test_python_blocks_run(checkout, folder):
    shown = [code for code, _ in blocks((checkout / "README.md").read_text(encoding="utf-8"), "python")]
    ran = 0
    for page, text in pages(checkout).items():
        segmenter = models.deeplab_v3_plus(models.create_backbone("tiny", weights=None), 5)
        names = {"segmenter": segmenter, "RankMatch": rankmatch_keras.RankMatch, "models": models}
        for code, reason in blocks(text, "python"):
            if not reason and code not in shown:  # tests/test_readme.py runs those of the README
                exec(compile(code, str(page.relative_to(checkout)), "exec"), names)
                ran += 1
    assert ran >= 4

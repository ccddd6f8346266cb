"""The notebook runs from top to bottom, with fewer steps, and is stored without a log of its run."""

import os

import keras
import nbclient
import nbformat
import pytest

pytestmark = pytest.mark.once
SMALLER = {"steps=100": "steps=2", "interval=50": "interval=1", "steps_per_epoch=5": "steps_per_epoch=1"}


@pytest.fixture
def notebook(checkout):
    return nbformat.read(checkout / "docs" / "quickstart.ipynb", as_version=4)


def test_it_runs(notebook, checkout, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(checkout))
    monkeypatch.setenv("KERAS_BACKEND", keras.backend.backend())
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for printed, smaller in SMALLER.items():
        assert sum(printed in cell.source for cell in code) == 1
        for cell in code:
            cell.source = cell.source.replace(printed, smaller)
    folder = {"metadata": {"path": str(checkout / "docs")}}
    nbclient.NotebookClient(notebook, timeout=300, resources=folder).execute()  # raises what a cell raises
    last = "".join(output.get("text", "") for output in code[-1].outputs)
    assert "(1, 96, 128, 5) probabilities that sum to 1.0" in last


def test_it_is_small_and_clean(notebook, checkout):
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert 5 <= len(code) <= 8
    assert {cell.execution_count for cell in code} == {None}
    assert {output.output_type for cell in code for output in cell.outputs} <= {"stream", "execute_result"}
    stored = (checkout / "docs" / "quickstart.ipynb").read_text(encoding="utf-8")
    assert len(stored) < 120_000 and os.sep + "work" not in stored and "/tmp/" not in stored

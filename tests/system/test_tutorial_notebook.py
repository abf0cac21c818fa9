"""The tutorial's notebook runs from its first cell to its last, on small data, with its pictures."""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path

import pytest

from tests.docs.notebook import NOTEBOOK, execute
from tests.support.idx_files import small_idx_folder

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(importlib.util.find_spec("nbclient") is None, reason="no nbclient"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its parameters are a cell of their own, and everything else is as a reader has it."""
    nbformat = importlib.import_module("nbformat")
    data = small_idx_folder(tmp_path / "data", train=2100, test=200)
    monkeypatch.setenv("MNIST_BENCH_DATA_DIR", str(data))
    monkeypatch.setenv("HOME", str(tmp_path))  # a kernel writes there
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    parameters.source += '\nEPOCHS, DATA, REPEATS = 1, "custom", 1'
    execute(notebook, tmp_path, timeout_seconds=300)
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 5
    printed = "".join(output.get("text", "") for output in outputs)
    assert "test accuracy" in printed
    assert "images/s" in printed
    assert json.loads((tmp_path / "notebook.json").read_text())["failures"] == []


def test_the_committed_notebook_shows_what_it_prints() -> None:
    """A reader on the web sees pictures and accuracies without running anything; when each cell ran is not kept."""
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code)
    assert not any("execution" in cell["metadata"] for cell in code)
    assert sum("image/png" in output.get("data", {}) for cell in code for output in cell["outputs"]) == 5
    assert not any(output["output_type"] == "error" for cell in code for output in cell["outputs"])

"""Runs docs/tutorial.ipynb and keeps what it shows: `python -m tests.docs.notebook`.

`jupyter execute` cannot be told to leave out when each cell ran, and to keep what a cell prints in one piece: without
that, each line of a later change would be hidden among hundreds.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests import ROOT

if TYPE_CHECKING:
    from nbformat import NotebookNode

NOTEBOOK: Final = ROOT / "docs" / "tutorial.ipynb"


def execute(notebook: NotebookNode, folder: Path, *, timeout_seconds: int | None = None) -> None:
    """Run every cell of a notebook of nbformat in a folder; what they show replaces what it has."""
    importlib.import_module("nbclient").NotebookClient(
        notebook,
        timeout=timeout_seconds,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        record_timing=False,
        coalesce_streams=True,
    ).execute()


if __name__ == "__main__":
    nbformat = importlib.import_module("nbformat")
    tutorial = nbformat.read(NOTEBOOK, as_version=4)
    execute(tutorial, NOTEBOOK.parent)
    nbformat.write(tutorial, NOTEBOOK)

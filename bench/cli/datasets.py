"""The data set that a verb measures on: prepared, recorded, and announced where it is not MNIST."""

from __future__ import annotations

from pathlib import Path

from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from bench.cli.console import err, warn
from bench.records.result import Dataset
from bench.render.formats.text import writer
from bench.render.phrases import printable_line
from bench.render.progress.live import moves_cursor
from mnist_core import datasets
from mnist_core.datasets import DatasetName


def prepare(name: DatasetName, data_dir: Path | None) -> datasets.Prepared:
    """Find, download or draw the images, with a progress bar on a terminal.

    Raises `DataError` where they cannot be had.
    """
    bars: dict[str, TaskID] = {}
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TimeRemainingColumn(),
        console=err,
        transient=True,
        disable=not moves_cursor(err),
    ) as progress:
        searching = progress.add_task(
            "preparing the images" if name is DatasetName.AUTO else f"preparing {name}", total=None
        )

        def report(what: str, done: int, total: int) -> None:
            if what not in bars:
                progress.update(searching, visible=False)
                bars[what] = progress.add_task(what)
            progress.update(bars[what], completed=done, total=total)

        prepared = datasets.obtain(name, data_dir=data_dir, progress=report)
    if prepared.notice is not None:  # now, and again in `note_dataset`: whoever reads the numbers must know
        notice = Text(writer(err.encoding)(printable_line(prepared.notice)))
        err.print(Panel(notice, title="NOT MNIST", border_style="bold yellow", style="yellow"))
    return prepared


def note_dataset(prepared: datasets.Prepared) -> None:
    """Say after a measurement that it was not on MNIST, if it was not."""
    if prepared.notice is not None:
        warn(f"NOT MNIST: these are numbers on {prepared.name}")


def dataset_of(prepared: datasets.Prepared) -> Dataset:
    """Return what is recorded of a data set."""
    return Dataset(
        name=prepared.name.value,
        digest=prepared.digest,
        source=prepared.source,
        train_samples=prepared.train_samples,
        test_samples=prepared.test_samples,
    )

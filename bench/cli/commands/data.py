"""`data`: which images there are, and what they look like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from bench.cli import options
from bench.cli.app import app, examples
from bench.cli.console import say
from bench.cli.datasets import dataset_of, prepare
from bench.errors import ConfigurationError
from mnist_core import datasets
from mnist_core.data import preview
from mnist_core.datasets import DatasetName
from mnist_core.idx import DataError

#: Formats that any browser shows.
_BEST_ENDINGS = (".png", ".jpg", ".gif", ".webp")


@app.command("data", epilog=examples("data", "data --data synthetic --picture digits.png"))
def data_command(
    data: options.Data = DatasetName.AUTO,
    data_dir: options.DataDir = None,
    make: Annotated[bool, typer.Option("--make", help="Prepare them: find, download or draw.")] = False,
    grid: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE.png", help="Prepare them and draw a grid of digits.")
    ] = None,
) -> None:
    """Show which image files would be used, verified; exit 2 where there are none."""
    if grid is not None:
        _check_picture(grid)
    if not make and grid is None:
        _show(datasets.locate(data, data_dir=data_dir))
        return
    prepared = prepare(data, data_dir)
    dataset = dataset_of(prepared)
    say(
        f"{dataset.name} from {dataset.source}: {dataset.train_samples:,} training and {dataset.test_samples:,} test "
        f"images, digest {dataset.digest[:12]}, in {prepared.directory}"
    )
    if grid is not None:
        train, _ = datasets.load(prepared.directory, digest=prepared.digest)
        try:
            preview.save_grid(train, grid)
        except (OSError, ValueError) as error:
            raise ConfigurationError(f"--picture {grid}: {error}") from error
        say(f"drawn into {grid}")


def _show(places: Sequence[datasets.DatasetOption]) -> None:
    """Print what each place has. Raises `DataError` where none of them can give the images."""
    for place in places:
        say(f"{place.state:<8} {place.where}: {place.detail}")
    first = places[0]
    if not any(place.used or place.can_be_made for place in places):
        helps = "" if first.directory is None else f"; {datasets.remedy(first.where)}"
        raise DataError(f"{first.where}: {first.detail}{helps}")


def _check_picture(path: Path) -> None:
    """Raise `ConfigurationError` before the images are prepared, which may take minutes."""
    endings = preview.endings()
    if path.is_dir():
        raise ConfigurationError(f"--picture {path}: is a folder; name a file in it, e.g. {path / 'digits.png'}")
    if not path.parent.is_dir():
        raise ConfigurationError(f"--picture {path}: no such folder: {path.parent}")
    if path.suffix.lower() not in endings:
        best = ", ".join(ending for ending in _BEST_ENDINGS if ending in endings)
        raise ConfigurationError(f"--picture {path}: its ending names no image format: {best} and others do")

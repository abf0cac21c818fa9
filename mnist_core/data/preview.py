"""A look at the data: a grid of digits as a PNG."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mnist_core.idx import Split

_COLUMNS = 20
_SCALE = 2


def endings() -> list[str]:
    """Return the endings of the files that a picture can be written into."""
    return sorted(ending for ending, kind in Image.registered_extensions().items() if kind in Image.SAVE)


def save_grid(split: Split, path: Path) -> None:
    """The first images of each class, one class a row, dark on light as on paper.

    Raises `OSError` where the file cannot be written, `ValueError` for a name whose ending is no picture format.
    """
    height, width = split.images.shape[1:]
    grid = np.zeros((10 * height, _COLUMNS * width), np.uint8)
    for digit in range(10):
        for column, image in enumerate(split.images[split.labels == digit][:_COLUMNS]):
            grid[digit * height : (digit + 1) * height, column * width : (column + 1) * width] = image
    picture = Image.fromarray(255 - grid)
    picture.resize((picture.width * _SCALE, picture.height * _SCALE), Image.Resampling.NEAREST).save(path)

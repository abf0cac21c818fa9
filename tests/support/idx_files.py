"""A tiny data set on disk: learnable within an epoch, made in milliseconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mnist_core.idx import to_idx_bytes


def small_idx_folder(folder: Path, *, train: int, test: int) -> Path:
    """Write four raw IDX files into `folder`; digit d is a bright square at a place of its own, in noise."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(5)
    for part, count in (("train", train), ("t10k", test)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = generator.integers(0, 40, (count, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            row, column = divmod(int(label), 4)
            image[3 + 8 * row : 9 + 8 * row, 1 + 7 * column : 6 + 7 * column] = 255
        (folder / f"{part}-images-idx3-ubyte").write_bytes(to_idx_bytes(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(to_idx_bytes(labels))
    return folder

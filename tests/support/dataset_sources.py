"""A machine of one's own to get data sets on, and small data sets to get."""

from __future__ import annotations

import gzip
import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from mnist_core.data.folder import FILES
from mnist_core.datasets import DatasetName, DatasetOption, Patience, Prepared, Published, locate, obtain
from mnist_core.idx import to_idx_bytes

if TYPE_CHECKING:
    import pytest
    from numpy.typing import NDArray

AUTO, MNIST, FASHION_MNIST, SYNTHETIC, CUSTOM = DatasetName
IMAGES, LABELS, TEST_IMAGES, TEST_LABELS = FILES
Contents = dict[str, bytes]
Listing = dict[str, bytes]

#: Longer than anything takes that comes at all; a test that waits in vain shortens the time that it is about.
PATIENT = Patience(probe_seconds=30, connect_seconds=30, silence_seconds=30, file_seconds=60, lock_seconds=60)


def make_contents(seed: int, train: int = 30, test: int = 10) -> Contents:
    """Make four small files of noise."""
    rng = np.random.default_rng(seed)

    def pair(count: int) -> tuple[bytes, bytes]:
        images, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count, np.uint8)
        return bytes(to_idx_bytes(images)), bytes(to_idx_bytes(labels))

    return dict(zip(FILES, (*pair(train), *pair(test)), strict=True))


def fill(folder: Path, contents: Contents, *, suffix: str = "", dotted: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in contents.items():
        name = (file.replace("-idx", ".idx") if dotted else file) + suffix
        (folder / name).write_bytes(gzip.compress(data, mtime=0) if suffix else data)
    return folder


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def joint(contents: Contents) -> str:
    return sha256("".join(sha256(contents[file]) for file in FILES).encode())


def publish(contents: Contents, *mirrors: str) -> Published:
    first, second, third, fourth = (contents[file] for file in FILES)
    raw = (sha256(first), sha256(second), sha256(third), sha256(fourth))
    one, two, three, four = (sha256(gzip.compress(data, mtime=0)) for data in (first, second, third, fourth))
    return Published(raw, (one, two, three, four), mirrors)


def listing(folder: Path) -> Listing:
    """Return everything below a folder, folders included."""
    if not folder.exists():
        return {}
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"a folder"
        for path in folder.rglob("*")
    }


DIGITS = make_contents(1)
CLOTHES = make_contents(2)
OTHERS = make_contents(3)


@dataclass
class Desk:
    """A machine of one's own: nothing on it but what the test puts there, no network but what it starts."""

    root: Path
    published: dict[DatasetName, Published] = field(
        default_factory=lambda: {MNIST: publish(DIGITS), FASHION_MNIST: publish(CLOTHES)}
    )
    environ: dict[str, str] = field(init=False)
    patience: Patience = PATIENT
    reports: list[tuple[str, int, int]] = field(default_factory=list)

    @property
    def cache(self) -> Path:
        return self.root / "cache"

    @property
    def gluon(self) -> Path:
        return self.root / "mxnet" / "datasets"

    def serve_mnist_from(self, *mirrors: str) -> None:
        self.published[MNIST] = publish(DIGITS, *mirrors)

    def __post_init__(self) -> None:
        self.environ = {"MXNET_HOME": str(self.root / "mxnet"), "MNIST_BENCH_CACHE_DIR": str(self.cache)}

    def obtain(self, name: DatasetName, data_dir: Path | None = None, cache_dir: Path | None = None) -> Prepared:
        return obtain(
            name,
            data_dir=data_dir,
            cache_dir=cache_dir,
            environ=self.environ,
            progress=lambda *report: self.reports.append(report),
            published=self.published,
            patience=self.patience,
        )

    def locate(self, name: DatasetName, data_dir: Path | None = None) -> list[DatasetOption]:
        before = listing(self.root)
        candidates = locate(name, data_dir=data_dir, environ=self.environ, published=self.published)
        assert before == listing(self.root), "looking changes nothing"
        return candidates


def set_up(root: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Set up a bare machine; synthetic digits are few there, noise and not pinned."""

    def draw(count: int, *, seed: int, progress: Callable[[int, int], None] | None) -> tuple[NDArray[np.uint8], ...]:
        if progress is not None:
            progress(count, count)
        rng = np.random.default_rng(seed)
        return rng.integers(0, 256, (count, 28, 28), np.uint8), rng.integers(0, 10, count, np.uint8)

    monkeypatch.setattr("mnist_core.datasets.synthetic", SimpleNamespace(draw=draw))
    monkeypatch.setattr("mnist_core.datasets.TRAIN_COUNT", 6)
    monkeypatch.setattr("mnist_core.datasets.TEST_COUNT", 4)
    monkeypatch.setattr("mnist_core.datasets.SYNTHETIC_DIGEST", None)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return Desk(root)


def check(prepared: Prepared, contents: Contents, name: DatasetName) -> None:
    """Check that the folder holds exactly these contents, raw, under their canonical names."""
    assert (name, joint(contents)) == (prepared.name, prepared.digest)
    assert contents == {file: (prepared.directory / file).read_bytes() for file in FILES}
    assert prepared.directory.is_absolute()
    assert (prepared.train_samples, prepared.test_samples) == (30, 10)
    assert os.sep not in prepared.source.removeprefix("~/.mxnet/datasets")

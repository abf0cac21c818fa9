"""The folder that keeps data sets for the next time, shared by all processes of a user."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import filelock

from mnist_core.data.folder import FILES, Held, read_folder
from mnist_core.idx import DataError

CACHE_DIR_VARIABLE: Final = "MNIST_BENCH_CACHE_DIR"
#: How often something damaged is moved out of a finished data set's place.
_TRIES: Final = 2


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder with one folder for each data set, named by its digest; each appears whole or not at all."""

    folder: Path
    lock_seconds: float

    def entry(self, name: str, digest: str) -> Path:
        return self.folder / f"{name}-{digest[:16]}"

    def find(self, name: str, digest: str | None) -> Held | None:
        """Return the data set if it is here and sound."""
        if digest is None:
            return None
        with suppress(DataError):
            held = read_folder(self.entry(name, digest))
            if held.in_place and held.digest == digest:
                return held
        return None

    def keep(self, name: str, digest: str | None, make: Callable[[Path], Sequence[bytearray]]) -> Held:
        """Return the data set, made if it is not here; `make` may use the scratch folder that it is given."""
        if (held := self.find(name, digest)) is not None:
            return held
        with self._scratch(name) as scratch:
            if (held := self.find(name, digest)) is not None:  # made by another process while we waited
                return held
            made = scratch / "made"
            _write_files(made, make(scratch))
            held = read_folder(made)
            if digest not in {None, held.digest}:
                raise DataError(f"{name}: digest {held.digest} instead of {digest}")
            self._publish(made, name, held.digest)
            return replace(held, paths=tuple(self.entry(name, held.digest) / file for file in FILES))

    @contextmanager
    def _scratch(self, name: str) -> Iterator[Path]:
        """Give a folder for work in progress, to one process at a time; it is always removed afterwards.

        The lock only saves a second process the work: `_publish` is sound without it, so its file may be removed.
        """
        lock = self.folder / f".{name}.lock"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _locked(lock, self.lock_seconds):
                try:
                    with tempfile.TemporaryDirectory(
                        prefix=f".{name}-", dir=self.folder, ignore_cleanup_errors=True
                    ) as scratch:
                        yield Path(scratch)
                finally:
                    with suppress(OSError):
                        lock.unlink()
        except filelock.Timeout as error:
            raise DataError(f"{lock}: another process has been making {name} for {self.lock_seconds:.0f} s") from error
        except OSError as error:
            cause = error.strerror or error
            raise DataError(
                f"{self.folder}: cannot be written as cache ({cause}); set {CACHE_DIR_VARIABLE} to a folder that can"
            ) from error

    def _publish(self, made: Path, name: str, digest: str) -> None:
        """Give the finished folder its name. What has the name already stays if it is sound and goes if it is not."""
        entry = self.entry(name, digest)
        for attempt in range(_TRIES):
            with suppress(OSError):
                made.rename(entry)
                break
            if self.find(name, digest) is not None:
                return
            with suppress(FileNotFoundError):
                entry.rename(made.with_name(f"damaged-{attempt}"))
        else:
            made.rename(entry)
        _sync(self.folder)


@contextmanager
def _locked(path: Path, seconds: float) -> Iterator[None]:
    """Hold the lock while the block lasts, where the file system has locks at all."""
    lock = filelock.FileLock(path, timeout=seconds)
    with suppress(NotImplementedError):
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _write_files(folder: Path, contents: Sequence[bytearray]) -> None:
    folder.mkdir()
    for file, data in zip(FILES, contents, strict=True):
        with (folder / file).open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
    _sync(folder)


def _sync(folder: Path) -> None:
    """Make the names in a folder last; Windows has no way to, and needs none."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

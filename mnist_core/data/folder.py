"""What a folder of four IDX files holds: find, read and check them."""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import zlib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mnist_core.idx import GZIP_MAGIC, IMAGES_RANK, LABELS_RANK, DataError, Split, parse, read_bounded

#: The four files, in the canonical order.
FILES: Final = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
_RANKS: Final = (IMAGES_RANK, LABELS_RANK, IMAGES_RANK, LABELS_RANK)

DATA_DIR_VARIABLE: Final = "MNIST_BENCH_DATA_DIR"
#: What helps where no other data can be had.
OWN_FILES: Final = f"put the four files into a folder and name it with --data-dir or {DATA_DIR_VARIABLE}"


@dataclass(frozen=True, slots=True)
class Held:
    """Four checked files, read into memory; in the order of `FILES`."""

    paths: tuple[Path, ...]
    contents: tuple[bytearray, ...]
    digests: tuple[str, ...]
    train: Split
    test: Split
    #: The folder serves as it is: the files are raw, have their canonical names and lie in it.
    in_place: bool

    @property
    def digest(self) -> str:
        return joint_digest(self.digests)


def joint_digest(digests: Iterable[str]) -> str:
    """One digest for four: the SHA-256 of their digits, joined."""
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def read_folder(folder: Path) -> Held:
    """Read and check the four files, raw or gzip, under any of their spellings: their content tells which they are."""
    names = _names(folder)
    paths = tuple(_find(folder, names, file) for file in FILES)
    read = [_read_file(path, rank) for path, rank in zip(paths, _RANKS, strict=True)]
    contents = tuple(data for data, _packed in read)
    arrays = [parse(data, rank, str(path)) for data, rank, path in zip(contents, _RANKS, paths, strict=True)]
    for images, labels, path in zip(arrays[::2], arrays[1::2], paths[1::2], strict=True):
        if len(images) != len(labels):
            raise DataError(f"{path}: has {len(labels)} labels for {len(images)} images")
    digests = tuple(hashlib.sha256(data).hexdigest() for data in contents)
    in_place = paths == tuple(folder / file for file in FILES) and not any(packed for _data, packed in read)
    return Held(paths, contents, digests, Split(*arrays[:2]), Split(*arrays[2:]), in_place)


def _names(folder: Path) -> frozenset[str]:
    try:
        return frozenset(path.name for path in folder.iterdir())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read as a folder ({error.strerror})") from error


def _spellings(file: str) -> tuple[str, ...]:
    """Names that a file goes by, the preferred one first: some archives were unpacked with a dot before idx."""
    return tuple(stem + suffix for suffix in ("", ".gz") for stem in (file, file.replace("-idx", ".idx")))


def _find(folder: Path, names: frozenset[str], file: str) -> Path:
    """Return the file under one of its spellings; some programs unpack it into a folder that has such a name, too."""
    here = [folder / name for name in _spellings(file) if name in names]
    inside = [path / name for path in here for name in _spellings(file)]
    for path in (*here, *inside):
        if os.path.isfile(path):  # noqa: PTH113 - Path's may raise
            return path
    if here:
        return here[0]  # reading it says what it is instead
    raise DataError(f"{folder / file}: is not there, nor is {file}.gz")


def _read_file(path: Path, rank: int) -> tuple[bytearray, bool]:
    """Return the content, unpacked, and whether it was packed: browsers unpack a file and leave it its .gz name."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise DataError(f"{path}: is not a file")
        with path.open("rb") as file:
            if not file.peek(len(GZIP_MAGIC)).startswith(GZIP_MAGIC):
                return read_bounded(file, rank, str(path)), False
            with gzip.GzipFile(fileobj=file) as stream:
                return read_bounded(stream, rank, str(path)), True
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: is not a sound gzip file ({error})") from error
    except EOFError as error:
        raise DataError(f"{path}: is a gzip file that was cut off") from error
    except OSError as error:
        nowhere = isinstance(error, FileNotFoundError) and os.path.islink(path)  # noqa: PTH114 - Path's may raise
        raise DataError(f"{path}: {'is a link that leads nowhere' if nowhere else error.strerror}") from error


def holds_any(folder: Path) -> bool:
    """Whether the folder has any of the files, or cannot be read as a folder."""
    if not os.path.lexists(folder):
        return False
    with suppress(DataError):
        names = _names(folder)
        return any(name in names for file in FILES for name in _spellings(file))
    return True

"""Files that a verb is given, or finds in folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from bench import errors
from bench.cli.console import warn
from bench.cli.options import RESULTS_DIRECTORY
from bench.errors import ConfigurationError
from bench.records import store
from bench.records.base import Record
from bench.records.result import ResultSet

FileT = TypeVar("FileT", bound=Record)


def json_files(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Yield each file once, and whether it was found in a folder, where files of other kinds may lie beside it.

    Raises `ConfigurationError` where nothing was measured yet.
    """
    seen: set[Path] = set()
    for path in paths:
        if path == RESULTS_DIRECTORY and not path.exists():
            raise ConfigurationError(f"{path}: nothing was measured in this folder yet; mnist-bench run saves there")
        in_folder = os.path.isdir(path)  # noqa: PTH112 - Path's may raise; reading it says why
        for file in store.json_files(path) if in_folder else [path]:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file, in_folder


def read_each(paths: Sequence[Path], *kinds: type[FileT], strict: bool = False) -> Iterator[tuple[Path, FileT]]:
    """Yield the files that are named, and those in folders that are of one of these kinds of record.

    A broken file in a folder does not hide the others: it is left out with a note, unless `strict`, for a caller that
    decides by all of them. Raises `StoreError` for a file that is named and cannot be read, and for a broken one where
    `strict`.
    """
    for path, in_folder in json_files(paths):
        file = _read_in_folder(path, kinds, strict=strict) if in_folder else store.read(path, *kinds)
        if file is not None:
            yield path, file


def _read_in_folder(path: Path, kinds: Sequence[type[FileT]], *, strict: bool) -> FileT | None:
    """Return None for a file of another kind, and for one that is left out."""
    try:
        return store.read(path, *kinds)
    except store.OtherKindError:
        return None
    except errors.StoreError as error:
        if strict and not isinstance(error, errors.NoResultError):
            raise
        warn(f"left out: {error}")
        return None


def result_files(paths: Sequence[Path]) -> Iterator[tuple[Path, ResultSet]]:
    """Yield the result files among the files and in the folders. Raises `ConfigurationError` where there is none."""
    is_empty = True
    for path, result_set in read_each(paths, ResultSet):
        is_empty = False
        yield path, result_set
    if is_empty:
        raise ConfigurationError(f"no result file in {', '.join(map(str, paths))}")

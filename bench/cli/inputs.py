"""Files that a verb is given, or finds in folders."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from bench import errors
from bench.cli.console import note
from bench.errors import ConfigurationError
from bench.records import store
from bench.records.gate import GATE_SCHEMA_VERSION, GateFile
from bench.records.profile import PROFILE_SCHEMA_VERSION, ProfileFile, inconsistencies
from bench.records.result import ResultSet
from bench.records.tune import TUNE_SCHEMA_VERSION, TuneFile

FileT = TypeVar("FileT")


def json_files(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Yield each file once, and whether it was found in a folder, where files of other kinds may lie beside it."""
    seen: set[Path] = set()
    for path in paths:
        in_folder = path.is_dir()
        for file in sorted(path.glob("*.json")) if in_folder else [path]:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file, in_folder


def read_each(
    paths: Sequence[Path], reader: Callable[[Path], FileT], *, strict: bool = False
) -> Iterator[tuple[Path, FileT]]:
    """Yield the files that are named, and those in folders that are of the reader's kind.

    A broken file in a folder does not hide the others: it is left out with a note, unless `strict`, for a caller that
    decides by all of them. Raises `StoreError` for a file that is named and cannot be read, and for a broken one where
    `strict`.
    """
    for path, in_folder in json_files(paths):
        file = _read_in_folder(path, reader, strict=strict) if in_folder else reader(path)
        if file is not None:
            yield path, file


def _read_in_folder(path: Path, reader: Callable[[Path], FileT], *, strict: bool) -> FileT | None:
    """Return None for a file of another kind, and for one that is left out."""
    try:
        return reader(path)
    except store.OtherKindError:
        return None
    except errors.StoreError as error:
        if strict and not isinstance(error, errors.NoResultError):
            raise
        note(f"left out: {error}", style="yellow")
        return None


def result_files(paths: Sequence[Path]) -> Iterator[tuple[Path, ResultSet]]:
    """Yield the result files among the files and in the folders. Raises `ConfigurationError` where there is none."""
    is_empty = True
    for path, result_set in read_each(paths, store.read):
        is_empty = False
        yield path, result_set
    if is_empty:
        raise ConfigurationError(f"no result file in {', '.join(map(str, paths))}")


def read_tune(path: Path) -> TuneFile:
    """Read a tune file. Raises `StoreError` for another, `SchemaError` for one that is too new."""
    return store.read_versioned(path, TuneFile, store.FileKind.TUNE, TUNE_SCHEMA_VERSION)


def read_profile(path: Path) -> ProfileFile:
    """Read a profile file. Raises `StoreError` for another or a contradictory one, `SchemaError` for one too new."""
    profile = store.read_versioned(path, ProfileFile, store.FileKind.PROFILE, PROFILE_SCHEMA_VERSION)
    if violations := inconsistencies(profile):
        raise errors.StoreError(f"{path}: not a valid profile file: {violations[0]}")
    return profile


def read_gate(path: Path) -> GateFile:
    """Read a gate file. Raises `StoreError` for another, `SchemaError` for one that is too new."""
    return store.read_versioned(path, GateFile, store.FileKind.GATE, GATE_SCHEMA_VERSION)

"""Files that a verb is given, or finds in folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import store
from bench.record import ResultSet
from bench.scenario import ConfigurationError


def json_files(given: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Each file once, by whatever names; True: found in a folder, where files of other kinds may lie beside it."""
    seen: set[Path] = set()
    for path in given:
        in_folder = path.is_dir()
        for file in sorted(path.glob("*.json")) if in_folder else [path]:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file, in_folder


def result_files(given: Sequence[Path]) -> Iterator[tuple[Path, ResultSet]]:
    """Of a folder what is a result file. Raises `ConfigurationError` where there is none."""
    none = True
    for path, in_folder in json_files(given):
        if (read := _read(path, in_folder=in_folder)) is not None:
            none = False
            yield path, read
    if none:
        raise ConfigurationError(f"no result file in {', '.join(map(str, given))}")


def _read(path: Path, *, in_folder: bool) -> ResultSet | None:
    """None for another kind of file in a folder."""
    try:
        return store.read(path)
    except store.NoResultError:
        if in_folder:
            return None
        raise

"""Files that a verb is given, or finds in folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path


def json_files(given: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """Each file once, by whatever names; True: found in a folder, where files of other kinds may lie beside it."""
    seen: set[Path] = set()
    for path in given:
        in_folder = path.is_dir()
        for file in sorted(path.glob("*.json")) if in_folder else [path]:
            if file.resolve() not in seen:
                seen.add(file.resolve())
                yield file, in_folder

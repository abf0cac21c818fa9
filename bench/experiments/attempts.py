"""Give up what ends this program itself: its file says what was begun, until that has ended.

A container whose memory ends kills all processes in it. Nothing is left to note a failure, and the file as it was saved
last would lead to the same death.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Final, TypeVar

import msgspec

from bench.errors import SetupError
from bench.records.gate import GateFile
from bench.records.result import InProgress, ResultSet
from bench.records.tune import TuneFile

#: A program that is killed once may have met somebody's time limit; twice in the same part, it is the part.
MOST_TIMES: Final = 2
DEADLY: Final = (
    f"mnist-bench itself was killed {MOST_TIMES} times while this was measured, perhaps because the memory of its "
    "container ended"
)
FileT = TypeVar("FileT", ResultSet, GateFile, TuneFile)


class DeadlyError(Exception):
    """What is to be measured next has ended this program before; one line with the next step."""


def begun(file: FileT, parts: Sequence[int]) -> tuple[FileT, int]:
    """Return the file with these parts in progress, and how many times they were begun."""
    before = file.in_progress
    times = before.times + 1 if before is not None and before.runs == tuple(parts) else 1
    return msgspec.structs.replace(file, in_progress=InProgress(runs=tuple(parts), times=times)), times


@contextlib.contextmanager
def attempt(file: FileT, part: int, save: Callable[[FileT], None]) -> Iterator[None]:
    """Save that a part of the file is begun, while it is measured in the `with` block.

    Where that raises `SetupError` the file is saved as it was: this program lives. Raises `DeadlyError` instead of
    trying too often; then it may be tried again, perhaps with more memory.
    """
    tried, times = begun(file, [part])
    if times > MOST_TIMES:
        save(msgspec.structs.replace(file, in_progress=None))
        raise DeadlyError(f"{DEADLY}: give it more memory, or measure less at once")
    save(tried)
    try:
        yield
    except SetupError:
        save(file)
        raise

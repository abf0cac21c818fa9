"""Files of pytest-benchmark from `tests/benchmarks/micro_*.py` -> what changed from one side to the other.

A file is one process. Its rounds are not independent, so a process counts as one number, the median of its rounds, and
intervals come from several files of a side.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from bench.errors import ConfigurationError, StoreError
from bench.ranges import PositiveSeconds
from bench.records import store
from bench.records.base import format_timestamp
from bench.records.environment import Environment
from bench.records.store import FileKind
from bench.scenarios.scenario import Scenario
from bench.stats import intervals
from bench.stats.intervals import Estimate

#: As pytest-benchmark begins a file.
_BEGIN: Final = re.compile(rb'\s*\{\s*"machine_info"')
#: Any of its keys that is before that one in the alphabet.
_BEGIN_SORTED: Final = re.compile(rb'\s*\{\s*"(benchmarks|commit_info|datetime)"')
_BEGIN_BYTES: Final = 200


class _Stats(msgspec.Struct, frozen=True):
    #: Seconds of each round; pytest-benchmark saves them only with --benchmark-json or --benchmark-save-data.
    data: tuple[PositiveSeconds, ...] | None = None
    #: Of the rounds.
    median: PositiveSeconds | None = None

    def __post_init__(self) -> None:
        if not self.data and self.median is None:
            raise ValueError("neither the rounds nor their median is there: save with --benchmark-json")

    @property
    def seconds(self) -> float:
        """What the process counts as."""
        if self.data:
            return statistics.median(self.data)
        assert self.median is not None
        return self.median


class _Extra(msgspec.Struct, frozen=True):
    micro: str
    scenario: Scenario


class _Benchmark(msgspec.Struct, frozen=True):
    extra_info: _Extra
    stats: _Stats


class _Machine(msgspec.Struct, frozen=True):
    #: All but the time, which is the file's.
    environment: dict[str, Any]


class _Document(msgspec.Struct, frozen=True):
    machine_info: _Machine
    datetime: datetime
    benchmarks: Annotated[tuple[_Benchmark, ...], Meta(min_length=1)]


@dataclass(frozen=True, slots=True)
class Microbenchmark:
    """What is timed, and in which scenario."""

    name: str
    scenario: Scenario


@dataclass(frozen=True, slots=True)
class MicrobenchmarkFile:
    """One side of a comparison: a file, or the files of a folder, one process each."""

    name: str
    created_at: tuple[str, ...]
    #: Seconds in the first file.
    environment: Environment
    #: In the order of the files: the median of a process's rounds.
    seconds: dict[Microbenchmark, tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class MicrobenchmarkRow:
    """One micro-benchmark on both sides; None where a side lacks it."""

    micro: Microbenchmark
    baseline_seconds: Estimate | None
    contender_seconds: Estimate | None
    #: Contender's time over the baseline's.
    ratio: Estimate | None

    @property
    def scenario(self) -> Scenario:
        return self.micro.scenario


def is_micro(path: Path) -> bool:
    """Tell whether this is a file of pytest-benchmark, or a folder with one."""
    return any(_is_of_pytest_benchmark(each) for each in _files(path))


def read(path: Path) -> MicrobenchmarkFile:
    """Read a file of our micro-benchmarks, or a folder of them. Raise `StoreError` for anything else."""
    documents = [(each, _document(each)) for each in _files(path)]
    if not documents:
        raise StoreError(f"{path}: no JSON file in it")
    environments = [_environment(each, document) for each, document in documents]
    seconds: dict[Microbenchmark, tuple[float, ...]] = {}
    for _path, document in documents:
        for each in document.benchmarks:
            micro = Microbenchmark(each.extra_info.micro, each.extra_info.scenario)
            seconds[micro] = (*seconds.get(micro, ()), each.stats.seconds)
    hosts = {environment.host_hash for environment in environments}
    if len(hosts) > 1:
        raise StoreError(f"{path}: its files are of {len(hosts)} machines; one side is one machine")
    return MicrobenchmarkFile(
        name=str(path),
        created_at=tuple(environment.captured_at for environment in environments),
        environment=environments[0],
        seconds=seconds,
    )


def compare(baseline: MicrobenchmarkFile, contender: MicrobenchmarkFile) -> tuple[MicrobenchmarkRow, ...]:
    """Compare two sides, every micro-benchmark of either: the baseline's in its order first."""
    rows = []
    for micro in {**baseline.seconds, **contender.seconds}:
        before, after = baseline.seconds.get(micro), contender.seconds.get(micro)
        rows.append(
            MicrobenchmarkRow(
                micro=micro,
                baseline_seconds=None if before is None else intervals.geometric_mean(before),
                contender_seconds=None if after is None else intervals.geometric_mean(after),
                ratio=None if before is None or after is None else intervals.ratio(after, before),
            )
        )
    return tuple(rows)


def _files(path: Path) -> Sequence[Path]:
    return store.json_files(path) if path.is_dir() else [path]


def _is_of_pytest_benchmark(path: Path) -> bool:
    """Tell by the first key, or where a program has sorted the keys, by all of them."""
    try:
        with path.open("rb") as file:
            begin = file.read(_BEGIN_BYTES)
            if _BEGIN.match(begin) is not None:
                return True
            return _BEGIN_SORTED.match(begin) is not None and FileKind.MICRO.top_key in _keys(begin + file.read())
    except OSError:
        return False


def _keys(content: bytes) -> Mapping[str, object]:
    try:
        return msgspec.json.decode(content, type=dict[str, msgspec.Raw])
    except (ValueError, msgspec.DecodeError, RecursionError):
        return {}


def _document(path: Path) -> _Document:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Document)
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from None
    except (msgspec.DecodeError, ValueError, RecursionError, ConfigurationError) as error:
        raise StoreError(f"{path}: not a file of mnist-bench's micro-benchmarks: {error}") from None


def _environment(path: Path, document: _Document) -> Environment:
    try:
        captured_at = format_timestamp(document.datetime.astimezone(timezone.utc))
        return msgspec.convert({**document.machine_info.environment, "captured_at": captured_at}, Environment)
    except (msgspec.ValidationError, OverflowError) as error:  # a date on the other side of the first or the last year
        raise StoreError(f"{path}: its machine_info is not mnist-bench's: {error}") from None

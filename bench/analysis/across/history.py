"""Result files over time: how fast each scenario was on one machine, and at which commit that changed.

A file is one point of a scenario's series, with what its machine did besides that day. Only files of the same machine
(or, where asked for, class of machines) and the same images are in one series.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bench.analysis.across.entries import ComparedFile, Entry
from bench.analysis.groups import RowKey
from bench.enums import StrEnum
from bench.machine import fingerprint
from bench.records.environment import Environment
from bench.records.result import Dataset
from bench.scenarios.scenario import Scenario
from bench.stats import intervals
from bench.stats.change_points import ALPHA, change_points, fewest
from bench.stats.intervals import Estimate, Moments


class By(StrEnum):
    """What one history is of."""

    MACHINE = "machine"
    #: All machines of a kind: what a hosted runner is, which gets a new identity for every job.
    CLASS = "class"


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPoint:
    """One scenario in one file."""

    #: As the user calls the file.
    name: str
    created_at: str
    #: The commit of mnist-bench's own source; None: not known.
    git_commit: str | None
    git_dirty: bool | None
    speed: Moments
    #: Its processes took turns with those of other scenarios.
    in_turns: bool
    #: As of a `Group`.
    is_led_in: bool
    is_cold: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A new level of throughput."""

    #: Index of its first file in the trend.
    index: int
    #: The new level over the one before, in images per second; Welch interval over files.
    ratio: Estimate
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """One scenario's series, in the order of time."""

    key: RowKey
    measured: tuple[HistoryPoint, ...]
    changes: tuple[Change, ...]
    #: A change, however large, shows in no fewer files.
    fewest: int
    #: Files that are left out, since their turns are cold and those of others are not.
    cold: int = 0

    @property
    def testable(self) -> bool:
        """Whether any change could have been found."""
        return len(self.measured) >= self.fewest

    @property
    def in_turns(self) -> bool:
        """Whether its processes took turns in every file."""
        return all(each.in_turns for each in self.measured)

    @property
    def throughputs(self) -> list[float]:
        """Images per second, one number per file."""
        return [math.exp(each.speed.mean) for each in self.measured]

    @property
    def levels(self) -> list[tuple[int, int, Estimate]]:
        """Each level: index of its first file, index behind its last one, and geometric mean over its files."""
        bounds = [0, *(change.index for change in self.changes), len(self.measured)]
        speeds = self.throughputs
        return [(begin, end, intervals.geometric_mean(speeds[begin:end])) for begin, end in itertools.pairwise(bounds)]


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The trends of one machine on one data set."""

    environment: Environment
    dataset: Dataset
    files: int
    trends: tuple[Trend, ...]


def histories(
    sides: Iterable[ComparedFile],
    by: By = By.MACHINE,
    alpha: float = ALPHA,
    places: Callable[[Iterable[str]], Mapping[str, int]] = lambda _commits: {},
) -> list[History]:
    """Return a history for each machine, or class of machines, and data set; the one with most files first.

    `places` returns the place in git's history of the commits that are known: a file of an earlier commit comes first,
    whenever it was measured. Files of other commits stand by their date. `alpha` is the probability of finding a change
    in a history without any; its trends share it (Bonferroni).
    """
    groups: dict[tuple[object, ...], list[ComparedFile]] = {}
    for side in sides:
        groups.setdefault(_place(side, by), []).append(side)
    known = places(
        side.environment.git_commit for side in itertools.chain(*groups.values()) if side.environment.git_commit
    )
    made = [_history(_in_order(group, known), alpha) for group in groups.values()]
    return sorted(made, key=lambda history: history.files, reverse=True)


def _in_order(sides: Iterable[ComparedFile], known: Mapping[str, int]) -> list[ComparedFile]:
    """Return files by their date, those of known commits by these among themselves."""
    by_date = sorted(sides, key=lambda side: side.created_at)
    by_commit = sorted(
        (side for side in by_date if side.environment.git_commit in known),
        key=lambda side: known[side.environment.git_commit or ""],
    )
    following = iter(by_commit)
    return [next(following) if side.environment.git_commit in known else side for side in by_date]


def _place(side: ComparedFile, by: By) -> tuple[object, ...]:
    """Return what files of one history share. A file whose machine is unknown is a history of its own."""
    environment = side.environment
    host = (environment.host_hash or side.name) if by is By.MACHINE else None
    others = side.other_machines
    if by is By.CLASS:
        others = tuple(kind for _identity, kind in map(str.split, others))
    return host, fingerprint.class_digest(environment), others, side.dataset.digest


def _history(sides: Sequence[ComparedFile], alpha: float) -> History:
    series: dict[RowKey, list[HistoryPoint]] = {}
    for side in sides:
        for key, entry in side.entries.items():
            if (measured := _measured(side, entry)) is not None:
                series.setdefault(key, []).append(measured)
    share = alpha / max(1, len(series))
    return History(
        environment=sides[-1].environment,
        dataset=sides[-1].dataset,
        files=len(sides),
        trends=tuple(_trend(key, measured, share) for key, measured in series.items()),
    )


def _measured(side: ComparedFile, entry: Entry) -> HistoryPoint | None:
    if not entry.is_ranked or entry.speed is None:
        return None
    return HistoryPoint(
        name=side.name,
        created_at=side.created_at,
        git_commit=side.environment.git_commit,
        git_dirty=side.environment.git_dirty,
        speed=entry.speed,
        in_turns=entry.in_turns,
        is_led_in=entry.is_led_in,
        is_cold=entry.is_cold,
    )


def _trend(key: RowKey, found: Sequence[HistoryPoint], alpha: float) -> Trend:
    """Find the changes of a series. Those of before epochs led in to turns would show as one of the code."""
    measured = [each for each in found if not each.is_cold] if any(each.is_led_in for each in found) else found
    logs = [each.speed.mean for each in measured]
    points = change_points(logs, alpha)
    bounds = [0, *(point.index for point in points), len(logs)]
    changes = []
    for number, point in enumerate(points, start=1):
        before = np.exp(logs[bounds[number - 1] : point.index]).tolist()
        after = np.exp(logs[point.index : bounds[number + 1]]).tolist()
        changes.append(Change(index=point.index, ratio=intervals.ratio(after, before), p_value=point.p_value))
    return Trend(
        key=key,
        measured=tuple(measured),
        changes=tuple(changes),
        fewest=fewest(alpha),
        cold=len(found) - len(measured),
    )


def select(history: History, wanted: Callable[[Scenario], bool]) -> History:
    """Return the history with the trends of the selected scenarios alone."""
    return dataclasses.replace(history, trends=tuple(trend for trend in history.trends if wanted(trend.key[0])))

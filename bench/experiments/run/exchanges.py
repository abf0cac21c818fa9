"""Exchange curves: how long each engine of a plan's ranks takes to add up arrays, before its runs and after them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, Protocol

from bench.analysis.roofline import GRADIENT_BYTES
from bench.analysis.scaling import engine_of
from bench.records.base import utc_now
from bench.records.result import Dataset, ExchangeCurve, ExchangeTime
from bench.scenarios.axes import RANK_AXES
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import PlannedRun
from bench.worker.cluster import ClusterSession
from bench.worker.protocol.requests import SessionRequest
from bench.worker.session import SessionError, explain_failure, session_request
from mnist_core.recipe import Recipe

#: Bytes of the gradients of the networks that are known.
_GRADIENTS: Final = frozenset(GRADIENT_BYTES.values())
#: 8 B, then 64 B to 64 MiB in powers of 4.
SIZES: Final = tuple(sorted({8, *(4**power for power in range(3, 14)), *_GRADIENTS}))
#: Seconds that the repetitions of a size fill: a tenth of a second rides out what a scheduler does to a process.
_FILLED_SECONDS: Final = 0.1
#: The same of a network's gradients: a step is predicted by their mean, which few repetitions that took long can move.
_GRADIENTS_FILLED_SECONDS: Final = 1.0
_FEWEST, _MOST = 5, 200
#: A size, but that of a network, whose fewest repetitions would take longer is left out, as are all after it.
_LONGEST_SECONDS: Final = 4.0
#: The longest that the repetitions of one size may take.
_COMMAND_SECONDS: Final = 120.0


class StartRanks(Protocol):
    """A `StartSession` whose session is several ranks."""

    def __call__(
        self, request: SessionRequest, *, command_seconds: float | None = ...
    ) -> AbstractContextManager[ClusterSession]: ...


def engines_of_plan(plan: Iterable[PlannedRun]) -> tuple[Scenario, ...]:
    """Return the first scenario of each engine by which ranks of a plan train as one process.

    An asynchronous exchange never has a sum that could be checked, and of compressed numbers it is another.
    """
    found: dict[object, Scenario] = {}
    for scenario in dict.fromkeys(planned.scenario for planned in plan):
        if scenario.ranks > 1 and scenario.trains_as_one:
            found.setdefault(engine_of(scenario), scenario)
    return tuple(found.values())


def measure_curve(
    scenario: Scenario, threads: int, data_directory: Path, dataset: Dataset, start: StartRanks
) -> ExchangeCurve:
    """Measure the curve of a scenario's engine; a curve that fails ends with the reason."""
    request = session_request(
        data_directory, dataset, Recipe().seed, threads, scenario.engine, scenario.framework, scenario.precision
    )
    device, measured_at = scenario.contexts[0], utc_now()
    barrier: ExchangeTime | None = None
    times: list[ExchangeTime] = []
    failure = None
    try:
        with start(request, command_seconds=_COMMAND_SECONDS) as ranks:
            ranks.wait_until_ready()
            barrier = _measure(ranks, device, 0)
            for size in SIZES:
                if _fits(size, times):
                    times.append(_measure(ranks, device, size))
    except SessionError as error:
        failure = explain_failure(error.failure)
    return ExchangeCurve(
        measured_at=measured_at,
        framework=scenario.framework,
        device=device,
        omp_num_threads=threads,
        barrier=barrier,
        times=tuple(times),
        failure=failure,
        **{axis: getattr(scenario, axis) for axis in RANK_AXES},
    )


def _fits(size: int, times: Sequence[ExchangeTime]) -> bool:
    """Tell whether a size is that of a network, or will not take too long, at the rate of the one before."""
    if size in _GRADIENTS or not times:
        return True
    last = times[-1]
    return _FEWEST * last.median_seconds * size / last.size_bytes <= _LONGEST_SECONDS


def _measure(ranks: ClusterSession, device: str, size: int) -> ExchangeTime:
    """Measure one size, after two exchanges that touch its memory and say how many fill the time."""
    first = min(ranks.exchange(device, size, 2))
    filled_seconds = _GRADIENTS_FILLED_SECONDS if size in _GRADIENTS else _FILLED_SECONDS
    repetitions = min(_MOST, max(_FEWEST, math.ceil(filled_seconds / first)))
    seconds = ranks.exchange(device, size, repetitions)
    return ExchangeTime(
        size_bytes=size,
        repetitions=repetitions,
        min_seconds=min(seconds),
        median_seconds=statistics.median(seconds),
        max_seconds=max(seconds),
        mean_seconds=statistics.fmean(seconds),
    )


class ExchangeRounds:
    """Measures every curve once each time it is called; one that fails is reported and not tried again."""

    def __init__(
        self,
        scenarios: Iterable[Scenario],
        measure: Callable[[Scenario], ExchangeCurve | None],
        report: Callable[[str], None],
    ) -> None:
        self._scenarios = list(scenarios)
        self._measure = measure
        self._report = report

    def __len__(self) -> int:
        """Return the number of curves in a round."""
        return len(self._scenarios)

    def __call__(self) -> Iterator[ExchangeCurve]:
        """Yield the curves of a round; end early where one is None, since the program was asked to stop."""
        for scenario in tuple(self._scenarios):
            curve = self._measure(scenario)
            if curve is None:
                return
            if curve.failure is not None:
                self._scenarios.remove(scenario)
                name = f"{scenario.framework} through {scenario.exchange}, {scenario.ranks} ranks"
                self._report(f"no whole exchange curve of {name}: {curve.failure}")
            yield curve

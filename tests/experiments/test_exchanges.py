"""Exchange curves: of which engines, over which sizes, and what becomes of one that fails."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.experiments.run.exchanges import SIZES, ExchangeRounds, engines_of_plan, measure_curve
from bench.records.result import ExchangeCurve, FailureReason
from bench.scenarios.axes import RANK_AXES, Compression, Exchange, Framework
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import PlannedRun
from bench.worker.process import WorkerFailure
from bench.worker.protocol.requests import SessionRequest
from bench.worker.session import SessionError
from mnist_core.recipe import InputPipeline, MetricSync, Recipe
from tests.support.records import a_curve, a_dataset
from tests.support.sessions import READY

MODELS = (437_544, 1_724_320)


def of_torch(**axes: Any) -> Scenario:  # noqa: ANN401  # an axis
    resident: dict[str, Any] = {"input_pipeline": InputPipeline.RESIDENT, "metric_sync": MetricSync.EPOCH}
    return Scenario(framework=Framework.TORCH, contexts=("cpu(0)",), **{"network": "mlp", **resident, **axes})


TWO = of_torch(ranks=2, exchange=Exchange.GLOO)


class FakeRanks:
    """Ranks on a network of so many bytes per second, on which an exchange takes a tenth of a millisecond at least."""

    def __init__(self, bytes_per_second: float, fails_at: int | None = None) -> None:
        self.asked: list[tuple[int, int]] = []
        self._rate, self._fails_at = bytes_per_second, fails_at

    @contextlib.contextmanager
    def start(self, request: SessionRequest, *, command_seconds: float | None = None) -> Iterator[Any]:
        assert request.framework is Framework.TORCH
        assert command_seconds is not None
        yield self

    def wait_until_ready(self) -> object:
        return READY

    def exchange(self, device: str, size_bytes: int, repetitions: int) -> list[float]:
        assert device == "cpu(0)"
        self.asked.append((size_bytes, repetitions))
        if size_bytes == self._fails_at:
            raise SessionError(WorkerFailure(FailureReason.CRASHED, "rank 1 of 2: ArithmeticError: the sum is wrong"))
        seconds = 1e-4 + size_bytes / self._rate
        return [seconds * (1 + repetition % 3) for repetition in range(repetitions)]


def curve_of(ranks: FakeRanks) -> ExchangeCurve:
    return measure_curve(TWO, 1, Path("/data"), a_dataset(), ranks.start)


def test_a_curve_has_every_size_and_the_networks_own() -> None:
    """It goes from 8 bytes to 64 MiB, and says what was measured in the words of a scenario."""
    ranks = FakeRanks(1e9)
    curve = curve_of(ranks)
    assert [time.size_bytes for time in curve.times] == list(SIZES)
    assert (SIZES[0], SIZES[-1]) == (8, 64 << 20)
    assert {*MODELS} <= {*SIZES}
    assert curve.failure is None
    assert curve.barrier is not None
    assert curve.barrier.size_bytes == 0
    assert [getattr(curve, axis) for axis in RANK_AXES] == [getattr(TWO, axis) for axis in RANK_AXES]


def test_repetitions_fill_a_tenth_of_a_second_or_a_whole_one_within_limits() -> None:
    """They are so many on all ranks, since one says how many; the median is of them alone."""
    ranks = FakeRanks(1e9)
    times = {time.size_bytes: time for time in curve_of(ranks).times}
    assert times[8].repetitions == 200
    assert times[1 << 20].repetitions == 88  # of 1.15 ms
    assert times[64 << 20].repetitions == 5
    assert [times[size].repetitions for size in sorted(MODELS)] == [200, 200]  # of 0.54 and 1.8 ms
    assert times[1 << 20].median_seconds == pytest.approx(2 * times[1 << 20].min_seconds)
    assert times[1 << 20].max_seconds == pytest.approx(3 * times[1 << 20].min_seconds)
    assert times[1 << 20].mean_seconds == pytest.approx(2 * times[1 << 20].min_seconds, rel=0.01)
    assert [repetitions for _size, repetitions in ranks.asked[::2]] == [2] * (1 + len(SIZES))


def test_a_slow_network_has_the_networks_own_sizes_and_none_that_would_take_long() -> None:
    """At 1 MB/s, 5 exchanges of 256 KiB take over a second, of 437,544 bytes over two, and of 1 MiB five."""
    sizes = [time.size_bytes for time in curve_of(FakeRanks(1e6)).times]
    assert sizes == [size for size in SIZES if size < 437_544 or size in MODELS]


def test_a_curve_that_fails_keeps_what_it_had_and_says_why() -> None:
    """A wrong sum is no number."""
    curve = curve_of(FakeRanks(1e9, fails_at=4096))
    assert [time.size_bytes for time in curve.times] == [8, 64, 256, 1024]
    assert curve.failure == "crashed: rank 1 of 2: ArithmeticError: the sum is wrong"
    assert curve_of(FakeRanks(1e9, fails_at=0)).barrier is None


def planned(scenario: Scenario) -> PlannedRun:
    return PlannedRun(scenario=scenario, recipe=Recipe(), repeat=0, timeout_seconds=60)


def test_engines_are_those_of_ranks_that_keep_equal_weights() -> None:
    """What differs in network or batch has the same engine; one rank, no whole exchange or none have none."""
    mxnet = Scenario(network="mlp", ranks=2, exchange=Exchange.DIST_SYNC, servers=1)
    changes: list[dict[str, Any]] = [
        {"ranks": 1},
        {"ranks": 2, "exchange": Exchange.NONE},
        {"ranks": 2, "exchange": Exchange.GLOO},
        {"ranks": 2, "exchange": Exchange.GLOO, "network": "lenet"},
        {"ranks": 2, "exchange": Exchange.GLOO, "batch_size": 200},
        {"ranks": 3, "exchange": Exchange.GLOO},
    ]
    scenarios = [of_torch(**each) for each in changes]
    scenarios += [mxnet, msgspec.structs.replace(mxnet, exchange=Exchange.DIST_ASYNC)]
    scenarios += [msgspec.structs.replace(mxnet, compression=Compression.TWO_BIT)]
    assert engines_of_plan(map(planned, scenarios)) == (scenarios[2], scenarios[5], mxnet)


def test_a_curve_says_every_axis_of_ranks() -> None:
    """A new one without its field would put the curve of one engine beside another's steps."""
    assert {*RANK_AXES} <= {*ExchangeCurve.__struct_fields__}


def test_a_curve_that_failed_is_reported_and_not_tried_again() -> None:
    told: list[str] = []
    asked: list[Scenario] = []

    def measure(scenario: Scenario) -> ExchangeCurve:
        asked.append(scenario)
        return a_curve(ranks=scenario.ranks, failure="a sum was wrong" if scenario.ranks == 3 else None)

    rounds = ExchangeRounds([TWO, of_torch(ranks=3, exchange=Exchange.GLOO)], measure, told.append)
    assert [curve.ranks for curve in rounds()] == [2, 3]
    assert [curve.ranks for curve in rounds()] == [2]
    assert told == ["no whole exchange curve of torch through gloo, 3 ranks: a sum was wrong"]
    assert len(rounds) == 1


def test_a_request_to_stop_ends_a_round() -> None:
    assert list(ExchangeRounds([TWO, TWO], lambda _: None, pytest.fail)()) == []

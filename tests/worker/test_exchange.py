"""The clock of an exchange: it times nothing but the exchange, and believes no sum that is not that of all ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from bench.ranges import MOST_RANKS
from bench.scenarios.axes import Exchange
from bench.worker.measure import exchange
from bench.worker.measure.exchange import ArrayExchange
from bench.worker.protocol.commands import ExchangeArrays
from bench.worker.protocol.requests import RankPlace

Numbers = NDArray[np.float32]


def a_place(rank: int = 0, ranks: int = 2) -> RankPlace:
    return RankPlace(
        rank=rank, ranks=ranks, exchange=Exchange.GLOO, servers=0, address="127.0.0.1", port=1, interface="lo"
    )


class FakeEngine:
    """A backend whose other ranks do what this one does, and whose every step takes a second of a fake clock."""

    def __init__(
        self, place: RankPlace, fault: Callable[[Numbers, Numbers], Numbers] = lambda own, total: total
    ) -> None:
        self._place, self._fault = place, fault
        self.now = 0.0
        self.steps: list[str] = []
        self._total: Numbers = np.zeros(0, np.float32)

    def perf_counter(self) -> float:
        return self.now

    def share_array(self, *_arguments: object) -> FakeEngine:
        return self

    def put(self, numbers: Numbers) -> None:
        self._step("put")
        self._own, self._before = numbers, self._total

    def barrier(self) -> None:
        self._step("barrier")

    def add_up(self) -> None:
        self._step("add up")
        ranks, place = self._place.ranks, self._place
        self._total = self._fault(self._own, self._own / (place.rank + 1) * (ranks * (ranks + 1) // 2))

    def total(self) -> Numbers:
        self._step("total")
        return self._total

    def _step(self, name: str) -> None:
        self.steps.append(name)
        self.now += 1


def an_exchange(
    monkeypatch: pytest.MonkeyPatch,
    size: int = 400,
    place: RankPlace | None = None,
    **options: Any,  # noqa: ANN401
) -> tuple[FakeEngine, ArrayExchange]:
    place = place or a_place()
    engine = FakeEngine(place, **options)
    monkeypatch.setattr(exchange, "time", engine)
    return engine, ArrayExchange(engine, place, ExchangeArrays("cpu(0)", size, 1))  # type: ignore[arg-type]  # a part


def test_the_clock_starts_at_the_barrier_and_stops_before_the_sum_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, made = an_exchange(monkeypatch)
    assert made.seconds(2) == (1.0, 1.0)
    assert engine.steps == ["put", "barrier", "add up", "total"] * 2


def test_nothing_to_exchange_times_the_barrier(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, made = an_exchange(monkeypatch, size=0)
    assert made.seconds(1) == (1.0,)
    assert engine.steps == ["barrier", "barrier"]


def test_an_array_is_kept_for_commands_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    _, made = an_exchange(monkeypatch)
    sizes = [("cpu(0)", 400, True), ("cpu(0)", 404, False), ("gpu(0)", 400, False)]
    assert [made.fits(ExchangeArrays(device, size, 9)) for device, size, _ in sizes] == [fits for *_, fits in sizes]


@pytest.mark.parametrize(
    "fault",
    [
        lambda own, total: own,
        lambda own, total: total + own,
        lambda own, total: total / 2,
        lambda own, total: np.roll(total, 1),
        lambda own, total: np.concatenate([total[50:], total[:50]]),
        lambda own, total: np.concatenate([total[:-1], own[-1:]]),
        lambda own, total: total * np.float32("nan"),
    ],
    ids=["own alone", "own twice", "a mean", "moved by one", "halves exchanged", "the last number", "not a number"],
)
def test_a_wrong_sum_is_a_failure_and_never_a_number(
    monkeypatch: pytest.MonkeyPatch, fault: Callable[[Numbers, Numbers], Numbers]
) -> None:
    _, made = an_exchange(monkeypatch, fault=fault)
    with pytest.raises(ArithmeticError, match="the sum of 400 bytes over 2 ranks is wrong: number "):
        made.seconds(1)


def test_the_sum_of_the_time_before_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pull that does not wait for the push finds it."""
    sums: list[Numbers] = []

    def stale(_own: Numbers, total: Numbers) -> Numbers:
        sums.append(total)
        return sums[max(0, len(sums) - 2)]

    _, made = an_exchange(monkeypatch, fault=stale)
    assert made.seconds(1) == (1.0,)
    made = ArrayExchange(FakeEngine(a_place(), stale), a_place(), ExchangeArrays("cpu(0)", 400, 2))  # type: ignore[arg-type]  # a part
    sums.clear()
    with pytest.raises(ArithmeticError, match="number 0 is 3, not 6"):
        made.seconds(2)


@given(rank=st.integers(0, MOST_RANKS - 1))
def test_the_sums_of_many_ranks_are_exact(rank: int) -> None:
    """Whole numbers below 2^24 are float32 to the last bit, in whatever order they are added."""
    place = a_place(rank, MOST_RANKS)
    made = ArrayExchange(FakeEngine(place), place, ExchangeArrays("cpu(0)", 400, 1))  # type: ignore[arg-type]  # a part
    assert len(made.seconds(2)) == 2
    assert max(made._numbers) * MOST_RANKS * (MOST_RANKS + 1) < 2**24

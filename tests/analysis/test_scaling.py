"""Ranks beside one rank: what they give, what takes the rest, and what is predicted, each number by hand."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.analysis.prices import price_per_hour
from bench.analysis.scaling import (
    Basis,
    RankRow,
    Sharing,
    by_engine,
    exchange_levels,
    gradient_exchanges,
    rank_rows,
    sharing_of,
)
from bench.analysis.summary import summarize
from bench.records.result import Run
from bench.scenarios.axes import Exchange
from tests.support.executor import A_BLOCK
from tests.support.ranks import BLOCKS, MLP_BYTES, SPEEDS, measured, of_torch, runs, two
from tests.support.records import a_cluster_host, a_curve, a_result_set, a_run, an_exchange_time


def rows_of(*records: Run, **changes: object) -> list[RankRow]:
    return rank_rows(summarize(a_result_set(*records, **{"blocks": (A_BLOCK,) * BLOCKS, **changes})))


def the_row(*records: Run, basis: Basis = Basis.GLOBAL, **changes: object) -> RankRow:
    """Return the one row of several ranks on a basis."""
    (row,) = [row for row in rows_of(*records, **changes) if row.scenario.ranks > 1 and row.basis is basis]
    return row


def test_efficiency_is_divided_among_smaller_shares_shared_cores_and_the_exchange() -> None:
    """630 of twice 1,000: 1,400 of 2,000, then 1,260 of 1,400, then 630 of 1,260. What all blocks share cancels."""
    row = the_row(*measured(SPEEDS))
    found = (row.speedup, row.efficiency, row.smaller_shares, row.shared_cores, row.exchange)
    assert [each.value for each in found if each is not None] == pytest.approx([0.63, 0.315, 0.7, 0.9, 0.5])
    for each in filter(None, found):
        assert each.n == 3
        assert [each.lower, each.upper] == pytest.approx([each.value] * 2)
    assert row.equal_shares_bound == pytest.approx(2 * 600 / 1400)
    assert row.exchange_share is not None
    assert row.exchange_share.value == pytest.approx(0.5)


@given(
    speeds=st.lists(st.floats(1.0, 1e6), min_size=5, max_size=5),
    drift=st.lists(st.floats(0.1, 10.0), min_size=BLOCKS, max_size=BLOCKS),
)
def test_the_three_factors_are_the_efficiency_whatever_was_measured(speeds: list[float], drift: list[float]) -> None:
    row = the_row(*measured(dict(zip(SPEEDS, speeds, strict=True)), tuple(drift)))
    assert row.efficiency is not None
    assert row.smaller_shares is not None
    assert row.shared_cores is not None
    assert row.exchange is not None
    product = row.smaller_shares.value * row.shared_cores.value * row.exchange.value
    assert product == pytest.approx(row.efficiency.value)
    assert row.equal_shares_bound is not None
    assert 0 < row.equal_shares_bound <= 1 + 1e-12


def test_the_interval_is_over_blocks() -> None:
    """Speed-ups of 1.0, 1.1 and 1.21 in three blocks are 1.1, to the t interval of three logarithms."""
    one = runs(of_torch(batch_size=100), 100.0, 1000.0, 10.0)
    several = runs(two(batch_size=100), 100.0, 1100.0, 12.1)
    speedup = the_row(*one, *several).speedup
    assert speedup is not None
    assert speedup.value == pytest.approx(1.1)
    assert speedup.n == 3
    assert speedup.upper == pytest.approx(1.1 * 1.1 ** (4.302653 / 3**0.5))


def test_the_same_batch_for_each_is_another_question() -> None:
    """Two ranks on 200 images are beside one on 100, and beside none on 200, where that was not measured."""
    speeds = {of_torch(batch_size=100): 1000.0, two(batch_size=200): 1500.0}
    rows = rows_of(*measured(speeds))
    assert [(row.scenario.ranks, row.basis, row.batch_size) for row in rows] == [
        (1, Basis.LOCAL, 100),
        (2, Basis.LOCAL, 100),
    ]
    assert rows[1].speedup is not None
    assert rows[1].speedup.value == pytest.approx(1.5)
    assert rows[0].speedup is None


def test_ranks_of_which_no_single_one_was_measured_are_beside_none() -> None:
    (row,) = rows_of(*runs(two(), 1.0, 1.0))
    assert (row.basis, row.speedup, row.efficiency, row.equal_shares_bound) == (Basis.GLOBAL, None, None, None)


def test_unequal_shares_are_compared_with_the_largest() -> None:
    """Of 100 images on three ranks the first has 34."""
    speeds = {of_torch(batch_size=34): 500.0, of_torch(ranks=3, exchange=Exchange.GLOO): 900.0}
    row = the_row(*measured(speeds), basis=Basis.LOCAL)
    assert row.batch_size == 34
    assert row.efficiency is not None
    assert row.efficiency.value == pytest.approx(900 / 1500)


def test_ranks_without_an_exchange_are_a_baseline_and_no_row() -> None:
    assert rows_of(*measured({of_torch(): 1.0, two(exchange=Exchange.NONE): 1.0})) == []


def test_machines_measured_alone_and_not_in_turns_have_a_bound_without_an_interval() -> None:
    """The sum of different rows has none; a ratio of two rows has Welch's."""
    records = [run for scenario, speed in SPEEDS.items() for run in runs(scenario, speed, 1.1 * speed, blocks=False)]
    row = the_row(*records, blocks=())
    assert row.shared_cores is not None
    assert row.shared_cores.value == pytest.approx(0.9)
    assert row.shared_cores.lower is None
    assert row.exchange is not None
    assert row.exchange.lower is not None


# --- predictions


def test_a_step_is_predicted_from_computing_and_exchanging() -> None:
    """100 images take 79.4 ms without an exchange, and 437,544 bytes 5.4 ms: measured are 158.7 ms."""
    row = the_row(*measured(SPEEDS, (1.0, 1.0, 1.0)), exchanges=(a_curve(1e8, 1e-3, hosts=2),))
    assert row.compute_microseconds == pytest.approx(1e8 / 1260)
    assert row.exchange_microseconds == pytest.approx(1000 + MLP_BYTES / 100)
    assert row.predicted_microseconds == pytest.approx(1e8 / 1260 + 5375.44)
    assert row.over_predicted is not None
    assert row.over_predicted.value == pytest.approx((1e8 / 630) / (1e8 / 1260 + 5375.44))


def test_a_step_is_predicted_by_the_mean_exchange_where_a_file_has_it() -> None:
    """A few exchanges that take long are in the time of every step, and not in a median."""
    curves = [
        a_curve(hosts=2, times=(an_exchange_time(MLP_BYTES, 0.004, mean_seconds=mean),)) for mean in (0.005, 0.007)
    ]
    assert the_row(*measured(SPEEDS), exchanges=curves).exchange_microseconds == pytest.approx(6000)
    of_before = a_curve(hosts=2, times=(an_exchange_time(MLP_BYTES, 0.004),))
    assert the_row(*measured(SPEEDS), exchanges=(of_before,)).exchange_microseconds == pytest.approx(4000)


def test_without_ranks_that_exchange_nothing_the_slowest_machine_computes() -> None:
    speeds = {each: speed for each, speed in SPEEDS.items() if each.ranks == 1 or each.exchange is not Exchange.NONE}
    row = the_row(*measured(speeds, (1.0,) * 3), exchanges=(a_curve(hosts=2),))
    assert row.compute_microseconds == pytest.approx(50e6 / 600)
    assert row.exchange is None
    assert row.exchange_share is None
    shared = {msgspec.structs.replace(each, hosts=1): speed for each, speed in speeds.items() if not each.first_host}
    row = the_row(*measured(shared, (1.0,) * 3), exchanges=(a_curve(),))
    assert (row.compute_microseconds, row.exchange_microseconds is None) == (None, False)


@pytest.mark.parametrize("change", [{"hosts": 1}, {"first_host": 1}, {"ranks": 3}, {"device": "gpu(0)"}, {"times": ()}])
def test_the_curve_of_another_engine_predicts_nothing(change: dict[str, Any]) -> None:
    row = the_row(*measured(SPEEDS), exchanges=(a_curve(**{"hosts": 2, **change}),))
    assert (row.exchange_microseconds, row.predicted_microseconds, row.over_predicted) == (None, None, None)


def test_the_batch_from_which_on_a_tenth_is_exchanged_is_on_the_line_of_all_batch_sizes() -> None:
    """A step of 50 ms and 0.5 ms for each image, and an exchange of 10 ms: 90 ms are 80 images, 40 for each."""
    speeds = {
        two(batch_size=100, exchange=Exchange.NONE): 1000.0,
        two(batch_size=300, exchange=Exchange.NONE): 1500.0,
        two(batch_size=100): 900.0,
    }
    curve = a_curve(hosts=2, times=(an_exchange_time(MLP_BYTES, 0.01),))
    assert the_row(*measured(speeds, (1.0,) * 3), exchanges=(curve,)).efficient_batch == 40
    instant = a_curve(hosts=2, times=(an_exchange_time(MLP_BYTES, 1e-9),))
    assert the_row(*measured(speeds, (1.0,) * 3), exchanges=(instant,)).efficient_batch == 1
    single = {scenario: speed for scenario, speed in speeds.items() if scenario.batch_size == 100}
    assert the_row(*measured(single), exchanges=(curve,)).efficient_batch is None


# --- exchange curves


def test_curves_before_and_after_are_one() -> None:
    """The median of their medians counts, and of all repetitions the least and the greatest."""
    before, after = (a_curve(times=(an_exchange_time(1000, seconds),)) for seconds in (0.01, 0.03))
    (curves,) = by_engine([before, after])
    barrier, level = exchange_levels(curves)
    assert (barrier.size_bytes, barrier.bytes_per_second, barrier.bus_bytes_per_second) == (0, None, None)
    assert (level.curves, level.seconds, level.least_seconds, level.greatest_seconds) == (2, 0.02, 0.005, 0.06)
    assert level.bytes_per_second == pytest.approx(50_000)
    assert len(by_engine([before, a_curve(ranks=4)])) == 2


@pytest.mark.parametrize(("ranks", "factor"), [(2, 1.0), (4, 1.5), (8, 1.75)])
def test_bus_bandwidth_is_that_of_nccl_tests(ranks: int, factor: float) -> None:
    """A rank sends and receives 2 (n - 1) / n of an array."""
    (level,) = exchange_levels([a_curve(ranks=ranks, barrier=None, times=(an_exchange_time(1_000_000, 0.01),))])
    assert level.bytes_per_second == pytest.approx(1e8)
    assert level.bus_bytes_per_second == pytest.approx(1e8 * factor)


# --- places and prices


def test_what_ranks_share_is_told_apart() -> None:
    """Two on one machine share cores, two namespaces of one machine its kernel, and two machines nothing."""
    ours, theirs = "a" * 64, "b" * 64
    hosts = [a_cluster_host(place, kernel_hash=kernel) for place, kernel in enumerate((ours, theirs, ours))]
    assert sharing_of(two(hosts=1), hosts) is Sharing.CORES
    assert sharing_of(two(), hosts) is Sharing.NOTHING
    assert sharing_of(of_torch(ranks=3, hosts=3, exchange=Exchange.GLOO), hosts) is Sharing.KERNEL
    assert sharing_of(two(first_host=1), hosts) is Sharing.NOTHING
    assert sharing_of(of_torch(ranks=4, hosts=2, exchange=Exchange.GLOO), hosts) is Sharing.CORES


def test_prices_are_those_of_the_machines_used_and_never_a_guess() -> None:
    """60,000 images at 600 a second take 100 s, on machines of 3 and 6 an hour."""
    hosts = (a_cluster_host(0, price_per_hour=3.0), a_cluster_host(1, price_per_hour=6.0), a_cluster_host(2))
    assert price_per_hour(hosts, two()) == 9.0
    assert price_per_hour(hosts, of_torch(first_host=1)) == 6.0
    assert price_per_hour(hosts, two(first_host=1)) is None
    assert price_per_hour((), of_torch()) is None
    speeds = {of_torch(): 600.0, two(): 600.0}
    one, several = rows_of(*measured(speeds, (1.0,) * 3), hosts=hosts)
    assert one.cost_per_epoch == pytest.approx(3 * 100 / 3600)
    assert several.cost_per_epoch == pytest.approx(9 * 100 / 3600)
    assert several.cost_to_accuracy is None


def test_the_way_to_the_target_accuracy_has_its_price() -> None:
    hosts = (a_cluster_host(0, price_per_hour=1.0), a_cluster_host(1, price_per_hour=1.0))
    (row,) = rows_of(a_run(scenario=two()), hosts=hosts, blocks=())
    assert row.measures.time_to_accuracy_seconds is not None
    assert row.cost_to_accuracy == pytest.approx(2 * row.measures.time_to_accuracy_seconds / 3600)


# --- two files --------------------------------------------------------------------------------------------------------


def test_files_say_what_the_engines_that_they_share_took() -> None:
    before, after = [a_curve(1e8), a_curve(ranks=4)], [a_curve(2e8), a_curve(hosts=2)]
    found = gradient_exchanges(before, after)
    assert [(one.size_bytes, one.curve.ranks, other.curve.ranks) for one, other in found] == [
        (437_544, 2, 2),
        (1_724_320, 2, 2),
    ]
    assert [one.seconds > other.seconds for one, other in found] == [True, True]

"""What training costs at a price that somebody names."""

from __future__ import annotations

from typing import Any

import pytest

from bench.analysis.prices import Price, price_per_hour
from bench.analysis.summary import Measures, summarize
from tests.support.records import a_cluster_host, a_result_set, a_run, a_scenario, an_epoch


def measures_of(price: Price | None, **run: Any) -> Measures:  # noqa: ANN401  # fields of a run
    (row,) = summarize(a_result_set(a_run(**run)), price).rows
    assert row.measures is not None
    return row.measures


def test_costs_are_hours_times_the_price() -> None:
    """10,000 images a second: 6 s for an epoch, 100 s for a million images, at 0.36 an hour or 0.0001 a second."""
    bill = measures_of(Price(0.36), throughput=10_000.0).bill
    assert bill is not None
    assert bill.per_epoch.value == pytest.approx(6e-4)
    assert bill.per_million_images.value == pytest.approx(1e-2)


def test_the_way_to_the_target_excludes_what_the_whole_run_includes() -> None:
    """Two epochs of 6 s with 0.4 s of evaluation each, after 1.5 + 0.25 + 0.5 s; the second reached the target."""
    epochs = (an_epoch(test_accuracy=0.9), an_epoch(test_accuracy=0.97))
    bill = measures_of(Price(3600.0), epochs=epochs).bill
    assert bill is not None
    assert bill.to_accuracy == pytest.approx(12.0)
    assert bill.whole_run == pytest.approx(1.5 + 0.25 + 0.5 + 2 * 6.4)


def test_what_took_turns_has_no_bill_of_its_own() -> None:
    """It waited for others most of the time."""
    (row,) = summarize(a_result_set(a_run(block=0)), Price(1.0)).rows
    assert row.measures is not None
    assert row.measures.bill is not None
    assert row.measures.bill.whole_run is None


def test_without_a_price_nothing_is_guessed() -> None:
    assert measures_of(None).bill is None


def test_a_given_price_is_that_of_each_machine_whose_price_is_not_told() -> None:
    hosts = (a_cluster_host(0, price_per_hour=3.0), a_cluster_host(1))
    one, two = a_scenario(contexts="cpu(0)"), a_scenario(contexts="cpu(0)")
    assert price_per_hour((), one, Price(2.0)) == 2.0
    assert price_per_hour(hosts, two, Price(2.0)) == 3.0
    assert price_per_hour(hosts[1:], two, Price(2.0)) == 2.0

"""Latencies of rows: percentiles over processes, ratios within blocks, and which row answers soonest."""

from __future__ import annotations

import math
import statistics

import msgspec
import numpy as np
import pytest

from bench.analysis.across.comparison import compare, compare_scenarios, latency_slowdown
from bench.analysis.across.entries import index
from bench.analysis.prediction import (
    TAIL,
    LatencyRow,
    latency_rows,
    offline_rows,
    percentile_of,
    quickest,
    stream_of,
)
from bench.analysis.summary import Summary, summarize
from bench.records.prediction import Percentile
from bench.records.result import Run
from bench.scenarios.selection import reference
from bench.stats.intervals import bounds, geometric_mean, ratio_of
from tests.support.executor import in_turns
from tests.support.predictions import (
    BLOCKS,
    OFF,
    ON,
    STATIC,
    a_prediction,
    a_prediction_file,
    a_stream,
    predicted,
    times,
)
from tests.support.records import a_result_set, a_run


def summary_of(*runs: Run) -> Summary:
    return summarize(a_prediction_file(*runs))


def rows_of(*runs: Run) -> dict[str, LatencyRow]:
    return {str(row.scenario.hybridize): row for row in latency_rows(summary_of(*runs))}


def test_a_percentile_is_the_geometric_mean_of_its_processes() -> None:
    """Each process counts once, whatever its queries are."""
    rows = rows_of()
    for fraction in (0.5, 0.9, 0.99, 0.999):
        seconds = [percentile_of(run, fraction) for run in rows["off"].runs]
        expected = geometric_mean([number for number in seconds if number is not None])
        assert rows["off"].percentiles[fraction] == expected
    assert rows["off"].percentiles[TAIL].n == BLOCKS
    times_of_one = times(0, 150.0)
    (alone,) = latency_rows(summary_of(a_run(scenario=OFF, prediction=a_prediction(a_stream(times_of_one)))))
    assert alone.percentiles[0.5].value == pytest.approx(1e-9 * np.percentile(times_of_one, 50, method="inverted_cdf"))
    assert alone.percentiles[0.5].lower is None


def test_what_a_block_did_to_all_of_its_processes_is_in_no_ratio() -> None:
    """Blocks differ by a third, and ratios of p99 are known to some percent; without blocks they would not be."""
    runs = predicted()
    rows = rows_of(*runs)
    ratio = rows["static"].ratios[TAIL]
    assert ratio.value == pytest.approx(60 / 150, rel=0.05)
    assert ratio.lower is not None
    assert ratio.upper is not None
    assert ratio.upper / ratio.lower < 1.1
    assert not rows["off"].ratios
    alone = [msgspec.structs.replace(run, block=None, place=None) for run in runs]
    apart = rows_of(*alone)["static"].ratios[TAIL]
    assert apart.lower is not None
    assert apart.upper is not None
    assert apart.upper / apart.lower > 1.2


def test_too_few_queries_leave_a_percentile_out() -> None:
    """Where one process has no p99.9, its row has none."""
    rows = rows_of(*predicted(queries=1_000))
    assert set(rows["on"].percentiles) == {0.5, 0.9, 0.99}


def test_rows_without_a_prediction_have_none() -> None:
    made = summarize(a_result_set(a_run()))
    assert latency_rows(made) == []
    assert offline_rows(made) == []
    assert quickest([], made) is None


def test_the_quickest_is_the_one_with_the_least_tail_and_what_is_level_with_it_is_named() -> None:
    """A row that scatters around the same p99 is level; one that is half as quick again is not."""
    made = summary_of(*predicted({OFF: 150.0, ON: 60.2, STATIC: 60.0}))
    answer = quickest(latency_rows(made), made)
    assert answer is not None
    assert {answer.row.scenario, *(row.scenario for row in answer.as_quick)} == {ON, STATIC}
    assert (answer.reference, answer.ranked) == (OFF, 3)
    apart = summary_of()
    clear = quickest(latency_rows(apart), apart)
    assert clear is not None
    assert (clear.row.scenario, clear.as_quick) == (STATIC, ())


def test_what_the_machine_did_stands_beside_the_tail() -> None:
    row = rows_of()["off"]
    assert row.steal_fraction == 0.011
    assert row.switches_per_thousand == pytest.approx(0.7)
    assert row.mismatches == 0
    assert row.own_half_width is not None
    assert 0 < row.own_half_width < 0.05


def test_buckets_of_all_processes_are_one_histogram() -> None:
    row = rows_of()["off"]
    assert sum(count for _edge, count in row.buckets) == BLOCKS * 10_000
    assert row.buckets == sorted(row.buckets)
    assert row.buckets[0][0] <= min(stream_of(run).min_ns for run in row.runs) < row.buckets[1][0]


def test_batches_are_images_over_seconds() -> None:
    """All images over all seconds of a process, then over processes; ratios are within blocks."""
    (off, _on, static) = offline_rows(summary_of())
    assert sorted(off.throughputs) == [1, 100, 1000]
    assert off.n == BLOCKS
    prediction = predicted()[0].prediction
    assert prediction is not None
    one = [each for each in prediction.offline if each.batch_size == 100]
    assert 10_000 * 2 / sum(one[0].seconds) == pytest.approx(100 / 120 * 1e9 / 150 / 50, rel=0.02)
    assert static.ratios[100].value == pytest.approx(150 / 60, rel=0.05)
    assert not off.ratios


def test_two_files_are_compared_by_their_processes() -> None:
    """A row whose p99 is a third longer is slower by a third, and the others are not told apart."""
    before = index("before", a_prediction_file())
    slower = predicted({OFF: 150.0, ON: 120.0, STATIC: 60.0})
    after = index("after", a_prediction_file(*slower, created_at="2026-02-01T12:00:00Z"))
    comparison = compare(before, after)
    found = {row.scenario: latency_slowdown(comparison, row, TAIL) for row in comparison.rows}
    slowdown = found[ON]
    assert slowdown is not None
    assert slowdown.value == pytest.approx(math.log(120 / 90), abs=0.03)
    assert (ends := bounds(slowdown)) is not None
    assert ends[0] > 0
    level = found[OFF]
    assert level is not None
    assert level.value == pytest.approx(0)
    without = index("none", a_result_set(*(msgspec.structs.replace(run, prediction=None) for run in predicted())))
    bare = compare(before, without)
    assert [latency_slowdown(bare, row, TAIL) for row in bare.rows] == [None] * 3


def test_rows_of_one_file_are_compared_within_their_blocks() -> None:
    file = index("here", a_prediction_file())
    comparison = compare_scenarios(file, file, reference("hybridize=off", "--baseline-scenario"))
    (row,) = [row for row in comparison.rows if row.scenario == STATIC]
    slowdown = latency_slowdown(comparison, row, TAIL)
    assert slowdown is not None
    ratio = ratio_of(slowdown)
    logs = [
        math.log(percentile_of(one, TAIL) or 0) - math.log(percentile_of(other, TAIL) or 0)
        for one, other in zip(rows_of()["static"].runs, rows_of()["off"].runs, strict=True)
    ]
    assert ratio.value == pytest.approx(math.exp(statistics.fmean(logs)))
    assert ratio.upper is not None
    assert ratio.upper < 0.45


def test_the_interval_of_a_ratio_covers_the_truth() -> None:
    """In 93 to 97 of 100 of 400 sessions of six blocks, whose processes differ by 3 % and whose blocks by 10 %."""
    generator = np.random.default_rng(16)
    covered = sessions = 0
    stream = a_stream([1000] * 400)
    for _ in range(400):
        runs = []
        for block in range(6):
            slower = math.exp(generator.normal(0, 0.1))
            for scenario, median in ((OFF, 150.0), (ON, 90.0), (STATIC, 60.0)):
                ns = median * 1000 * slower * math.exp(generator.normal(0, 0.03))
                tail = Percentile(fraction=TAIL, ns=int(ns), low_ns=int(ns), high_ns=int(ns))
                own = msgspec.structs.replace(stream, percentiles=(tail,))
                run = a_run(scenario=scenario, repeat=block, prediction=a_prediction(own))
                runs.append(in_turns(run, block))
        ratio = rows_of(*runs)["static"].ratios[TAIL]
        assert ratio.lower is not None
        assert ratio.upper is not None
        covered += ratio.lower <= 60 / 150 <= ratio.upper
        sessions += 1
    assert 0.93 <= covered / sessions <= 0.97

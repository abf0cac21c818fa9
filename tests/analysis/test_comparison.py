"""Result files become rows, verdicts and relations of machines."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.analysis.across.comparison import (
    ComparedRow,
    Comparison,
    Kind,
    compare,
    compare_scenarios,
    gate_refusal,
    gate_verdict,
    is_incomparable,
)
from bench.analysis.across.entries import ComparedFile, SessionSpread, busier, index, shipped_spread, spread_of
from bench.analysis.verdict import Outcome, Relation, Settings, Verdict, decide, detectable_slowdown
from bench.errors import ConfigurationError
from bench.records import store
from bench.records.environment import Environment
from bench.records.result import FailureReason, ResultSet, Run, RunBlock
from bench.scenarios.scenario import Scenario
from bench.scenarios.selection import reference
from bench.stats import intervals, multiple_testing
from bench.stats.intervals import TSummary
from bench.stats.sessions import Spread
from mnist_core.recipe import Hybridize, InputPipeline, MetricSync, Recipe
from tests import ROOT
from tests.benchmarks.session_pairs import comparable_pairs, slowed
from tests.support.executor import A_BLOCK, in_turns
from tests.support.ranks import a_cluster_file, runs, two
from tests.support.records import (
    a_cluster_host,
    a_dataset,
    a_failure,
    a_result_set,
    a_run,
    a_scenario,
    a_software,
    an_environment,
    planned,
)

PART = Recipe(epochs=1, samples=20_000)
QUIET = (9_950.0, 10_000.0, 10_050.0)
ELSEWHERE = an_environment(host_hash="c" * 64, host_processor_model_name="Imaginary EPYC")


def repeats(speeds: Sequence[float], scenario: Scenario | None = None, recipe: Recipe = PART) -> list[Run]:
    """Return one process per speed, each with its own seed."""
    return [
        a_run(
            scenario=scenario,
            recipe=dataclasses.replace(recipe, seed=42 + repeat),
            repeat=repeat,
            throughput=speed,
            accuracy=0.9 if recipe == PART else 0.975,
        )
        for repeat, speed in enumerate(speeds)
    ]


def scaled(factor: float, speeds: Sequence[float] = QUIET) -> list[float]:
    return [factor * speed for speed in speeds]


def side(*records: Any, name: str = "file.json", **changes: Any) -> ComparedFile:  # noqa: ANN401
    return index(name, a_result_set(*records, **changes))


def compared(
    before: Sequence[float],
    after: Sequence[float],
    settings: Settings | None = None,
    **changes: Any,  # noqa: ANN401
) -> ComparedRow:
    """Return the one row of two files of one scenario."""
    (row,) = compare(side(*repeats(before)), side(*repeats(after), **changes), settings or Settings()).rows
    return row


def outcomes(comparison: Comparison) -> list[Outcome]:
    return [row.outcome for row in comparison.rows]


# --- joining


def test_files_are_joined_on_scenario_and_recipe_not_on_order_or_seed() -> None:
    """The contender ran the same two scenarios in another order, from another seed."""
    fast = a_scenario(hybridize=Hybridize.ON)
    other_seed = dataclasses.replace(PART, seed=700)
    comparison = compare(
        side(*repeats(QUIET), *repeats(scaled(2), fast)),
        side(*repeats(scaled(2), fast, other_seed), *repeats(QUIET, recipe=other_seed)),
    )
    assert [row.scenario for row in comparison.rows] == [a_scenario(), fast]
    assert outcomes(comparison) == [Verdict.UNCHANGED, Verdict.UNCHANGED]
    assert comparison.kind is Kind.SAME_MACHINE


def test_what_one_side_lacks_is_a_row_with_the_side_that_lacks_it() -> None:
    """Neither a failure of the baseline nor an addition of the contender drops out."""
    lenet, gpu = a_scenario("lenet", batch_size=7), a_scenario(contexts="gpu(0)")
    before = side(*repeats(QUIET), *repeats(QUIET, lenet), a_failure(scenario=gpu, recipe=PART))
    after = side(*repeats(QUIET), *repeats(QUIET, gpu), *repeats(QUIET, a_scenario(batch_size=500, cpu_threads=3)))
    comparison = compare(before, after)
    assert outcomes(comparison) == [Verdict.UNCHANGED, *[Verdict.MISSING] * 3]
    assert [row.reason for row in comparison.rows[1:]] == [
        "not in the contender",
        "baseline: no_device: gpu(0): this MXNet has no CUDA build",
        "not in the baseline",
    ]


def test_the_mean_is_over_the_common_scenarios_only() -> None:
    """A scenario of one side does not change it, however fast; each common one counts the same."""
    on, static = a_scenario(hybridize=Hybridize.ON), a_scenario(hybridize=Hybridize.STATIC, batch_size=7)
    before = side(*repeats(QUIET), *repeats(QUIET, on), *repeats(scaled(100), static))
    after = side(*repeats(scaled(4)), *repeats(scaled(9), on))
    comparison = compare(before, after)
    assert len(comparison.common) == 2
    assert comparison.slowdown is not None
    assert math.exp(-comparison.slowdown.value) == pytest.approx(6)
    assert compare(side(*repeats(QUIET, static)), side(*repeats(QUIET))).slowdown is None


def test_other_data_are_never_compared() -> None:
    """There is no ratio, and the reason is given in words, however equal the rest is."""
    other = a_dataset(name="synthetic", digest="f" * 64)
    comparison = compare(side(*repeats(QUIET)), side(*repeats(QUIET), dataset=other))
    assert (
        comparison.refusal
        == "other data: mnist (0123456789ab) in the baseline, synthetic (ffffffffffff) in the contender"
    )
    assert outcomes(comparison) == [Verdict.INCOMPARABLE]
    assert comparison.common == ()
    assert is_incomparable(comparison)
    assert gate_verdict([comparison]) is Verdict.INCOMPARABLE


def test_the_same_scenario_trained_otherwise_is_an_edit_and_not_missing() -> None:
    """Both rows say what changed. Where the other file has no row left for it, it is only missing."""
    slower_learning = dataclasses.replace(PART, learning_rate=0.05)
    comparison = compare(side(*repeats(QUIET)), side(*repeats(QUIET, recipe=slower_learning)))
    assert outcomes(comparison) == [Verdict.INCOMPARABLE] * 2
    assert {row.reason for row in comparison.rows} == {"another recipe: learning_rate 0.1 -> 0.05"}
    whole = repeats([9_000.0], recipe=Recipe())
    comparison = compare(side(*repeats(QUIET), *whole), side(*whole))
    assert outcomes(comparison) == [Verdict.MISSING, Verdict.UNDERPOWERED]
    comparison = compare(side(*repeats(QUIET), *whole), side(*repeats(QUIET, recipe=slower_learning), *whole))
    assert outcomes(comparison) == [Verdict.INCOMPARABLE, Verdict.UNDERPOWERED, Verdict.INCOMPARABLE]


def test_a_scenario_edited_in_one_axis_is_an_edit_and_not_missing() -> None:
    """Each side has one row left, and they differ in one axis, so that is what was edited."""
    common = repeats(QUIET, a_scenario("lenet"))
    comparison = compare(side(*common, *repeats(QUIET)), side(*common, *repeats(QUIET, a_scenario(batch_size=128))))
    assert outcomes(comparison) == [Verdict.UNCHANGED, Verdict.INCOMPARABLE, Verdict.INCOMPARABLE]
    assert comparison.rows[1].reason == "another scenario: batch_size 100 -> 128"
    assert is_incomparable(comparison)


def test_two_possible_edits_are_none() -> None:
    """Whether 100 became 128 or 256 cannot be told, so the rows are missing and new."""
    common = repeats(QUIET, a_scenario("lenet"))
    more = [*repeats(QUIET, a_scenario(batch_size=128)), *repeats(QUIET, a_scenario(batch_size=256))]
    comparison = compare(side(*common, *repeats(QUIET)), side(*common, *more))
    assert outcomes(comparison) == [Verdict.UNCHANGED, *[Verdict.MISSING] * 3]


def test_another_machines_devices_are_no_edit() -> None:
    """A suite's `auto` is a CPU here and a GPU there."""
    common = repeats(QUIET)
    comparison = compare(
        side(*common, *repeats(QUIET, a_scenario(contexts="cpu(0)"))),
        side(*common, *repeats(QUIET, a_scenario(contexts="gpu(0)")), environment=ELSEWHERE),
    )
    assert outcomes(comparison) == [Relation.NOT_TOLD_APART, Verdict.MISSING, Verdict.MISSING]
    assert not is_incomparable(comparison)


# --- verdicts on one machine


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(1 / 1.15, Verdict.REGRESSED), (1.15, Verdict.IMPROVED), (1.0, Verdict.UNCHANGED), (1 / 1.015, Verdict.UNCHANGED)],
)
def test_a_quiet_machine_gives_clear_verdicts(factor: float, verdict: Verdict) -> None:
    """With a spread of half a percent, 15 % shows either way, and within the margin nothing has changed."""
    assert compared(QUIET, scaled(factor)).outcome is verdict


def test_a_noisy_machine_gives_none() -> None:
    """With a spread of 20 %, being 5 % slower is neither shown nor excluded."""
    noisy = (8_000.0, 10_000.0, 12_000.0, 9_000.0, 11_000.0, 10_500.0, 9_500.0, 10_200.0)
    assert compared(noisy, scaled(0.95, noisy)).outcome is Verdict.INCONCLUSIVE


def test_a_slowdown_that_is_shown_but_within_the_margin_is_no_regression() -> None:
    """The margin is part of the hypothesis, not a filter behind it."""
    sharp = (9_999.0, 10_000.0, 10_001.0)
    assert compared(sharp, scaled(1 / 1.019, sharp)).outcome is Verdict.UNCHANGED
    assert compared(sharp, scaled(1 / 1.03, sharp)).outcome is Verdict.REGRESSED
    assert compared(sharp, scaled(1 / 1.03, sharp), Settings(margin=0.05)).outcome is Verdict.UNCHANGED


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (1, 1)])
def test_a_single_process_is_underpowered_whatever_it_says(before: int, after: int) -> None:
    """It has no spread and no interval, and never passes, even where the other side has several."""
    row = compared(QUIET[:before], scaled(0.5, QUIET[:after]))
    assert (row.outcome, row.reason) == (Verdict.UNDERPOWERED, "n = 1 has no interval")
    assert row.detectable == math.inf


def test_where_not_even_half_the_speed_would_show_nothing_passes() -> None:
    """With two processes a side each of ten scenarios alone would be unchanged; together that is a guess."""
    pairs = (9_860.0, 10_140.0), (10_000.0, 10_000.0)
    assert compared(*pairs).outcome is Verdict.UNCHANGED
    scenarios = [a_scenario(batch_size=size) for size in range(100, 1100, 100)]
    before, after = (side(*(run for each in scenarios for run in repeats(pair, each))) for pair in pairs)
    comparison = compare(before, after)
    assert set(outcomes(comparison)) == {Verdict.UNDERPOWERED}
    assert all(row.detectable is not None and row.detectable > 1 for row in comparison.rows)


@pytest.mark.parametrize(
    ("factor", "verdict"),
    [(1.0, Verdict.UNCHANGED), (0.9, Verdict.REGRESSED), (1.1, Verdict.IMPROVED)],
)
def test_no_spread_at_all_is_decided_by_the_margin_alone(factor: float, verdict: Verdict) -> None:
    """The interval of identical processes is a point, and nothing is divided by zero."""
    assert compared([10_000.0] * 3, [factor * 10_000.0] * 3).outcome is verdict


def test_a_failed_process_of_the_contender_is_never_a_pass() -> None:
    """Two good processes of three are still a crash, but a regression that they show is the worse news."""
    crash = a_failure(
        scenario=a_scenario(), recipe=PART, repeat=3, reason=FailureReason.CRASHED, detail="killed by SIGSEGV"
    )
    fine = compare(side(*repeats(QUIET)), side(*repeats(QUIET), crash))
    assert outcomes(fine) == [Verdict.MISSING]
    assert fine.rows[0].reason == "contender: crashed (1 of 4 processes): killed by SIGSEGV"
    assert outcomes(compare(side(*repeats(QUIET)), side(*repeats(scaled(0.5)), crash))) == [Verdict.REGRESSED]
    assert outcomes(compare(side(*repeats(QUIET), crash), side(*repeats(QUIET)))) == [Verdict.UNCHANGED]


def test_a_planned_process_that_never_ran_is_missing() -> None:
    """An interrupted file is not a faster one."""
    whole = a_result_set(*repeats(QUIET))
    rest = planned(a_run(recipe=PART, repeat=7))
    (row,) = compare(index("a", whole), index("b", msgspec.structs.replace(whole, plan=(*whole.plan, rest)))).rows
    assert (row.outcome, row.reason) == (Verdict.MISSING, "contender: 1 of 4 planned processes not run")


def test_faster_but_outside_its_accuracy_band_has_regressed() -> None:
    """Speed is no excuse. Where the baseline did not learn either, nothing can be said."""
    good, bad = a_run(throughput=9_000.0), a_run(throughput=90_000.0, accuracy=0.5)
    (row,) = compare(side(good), side(bad)).rows
    assert row.outcome is Verdict.REGRESSED
    assert row.slowdown is None
    assert row.reason == "contender: accuracy 0.5 is below the band 0.96..0.99 of mlp on mnist after 6,000 updates"
    assert outcomes(compare(side(bad), side(good))) == [Verdict.INVALID]
    assert outcomes(compare(side(bad), side(bad))) == [Verdict.INVALID]
    assert outcomes(compare(side(good), side(bad, environment=ELSEWHERE))) == [Verdict.INVALID]


@pytest.mark.parametrize("seconds", [math.inf, math.nan])
def test_times_of_no_number_are_invalid_and_never_a_pass(seconds: float) -> None:
    """A file that was edited by hand may hold times that no clock gives."""
    good = a_run()
    epochs = tuple(msgspec.structs.replace(epoch, epoch_seconds=seconds) for epoch in good.epochs)
    comparison = compare(side(good), side(msgspec.structs.replace(good, epochs=epochs)))
    assert comparison.rows[0].reason == "contender: its throughput is no positive, finite number"
    assert not gate_verdict([comparison]).passes


def test_holm_counts_every_planned_scenario_of_both_files() -> None:
    """Scenarios that failed or are missing still make the alpha of the others smaller."""
    alone = compare(side(*repeats(QUIET)), side(*repeats(scaled(0.97)))).rows[0].p_slower
    extra = [a_failure(scenario=a_scenario(batch_size=size), recipe=PART) for size in (7, 8, 9)]
    among = compare(side(*repeats(QUIET), *extra), side(*repeats(scaled(0.97)))).rows[0].p_slower
    assert alone is not None
    assert among == pytest.approx(min(1, 4 * alone))


def test_the_p_value_is_welchs_against_the_margin() -> None:
    """It is that of `scipy.stats.ttest_ind` on logarithms, shifted by the margin."""
    before, after = (9_950.0, 10_000.0, 10_080.0), (9_300.0, 9_520.0, 9_410.0, 9_600.0)
    shifted = np.log(before) - math.log1p(0.02)
    expected = scipy.stats.ttest_ind(shifted, np.log(after), equal_var=False, alternative="greater").pvalue
    assert compared(before, after).p_slower == pytest.approx(expected)


@pytest.mark.parametrize(
    "settings", [{"margin": -0.1}, {"margin": 0.2}, {"tolerance": math.inf}, {"alpha": 0.0}, {"alpha": 0.5}]
)
def test_limits_that_contradict_each_other_are_refused(settings: dict[str, Any]) -> None:
    """A tolerance below the margin would call one row both."""
    with pytest.raises(ConfigurationError, match=r"margin|tolerance|alpha"):
        Settings(**settings)


speeds = st.lists(st.floats(min_value=100, max_value=100_000), min_size=2, max_size=6)


@settings(deadline=None)  # a busy machine is no failure
@given(speeds, speeds, st.floats(min_value=0.1, max_value=10))
def test_the_unit_does_not_matter(before: list[float], after: list[float], factor: float) -> None:
    """A clock that runs at another speed on both sides changes no ratio."""
    plain, rescaled = compared(before, after), compared(scaled(factor, before), scaled(factor, after))
    assert plain.slowdown is not None
    assert rescaled.slowdown is not None
    assert plain.slowdown.value == pytest.approx(rescaled.slowdown.value, abs=1e-9)


@settings(deadline=None)  # a busy machine is no failure
@given(speeds, speeds)
def test_a_regression_the_other_way_round_is_an_improvement(before: list[float], after: list[float]) -> None:
    """The two tests are mirror images."""
    there, back = compared(before, after).outcome, compared(after, before).outcome
    assert (there is Verdict.REGRESSED) == (back is Verdict.IMPROVED)
    assert (there is Verdict.IMPROVED) == (back is Verdict.REGRESSED)


@settings(deadline=None)  # a busy machine is no failure
@given(
    st.floats(-1, 1),
    st.floats(0, 0.5),
    st.floats(1, 30),
    st.floats(0, 0.3),
    st.integers(1, 40),
)
def test_a_verdict_never_contradicts_its_interval(
    value: float, error: float, freedom: float, margin: float, scenarios: int
) -> None:
    """Regressed lies above the margin, improved below it, unchanged below the tolerance, and nothing slower passes."""
    settings = Settings(margin=margin, tolerance=0.3)
    slowdown = TSummary(value, error, freedom, 3)
    p_slower, p_faster = (
        min(1.0, scenarios * intervals.p_above(each, math.log1p(margin))) for each in (slowdown, -slowdown)
    )
    detectable = detectable_slowdown(slowdown, settings, scenarios=scenarios)
    verdict = decide(slowdown, p_slower, p_faster, detectable, settings)
    ends = intervals.bounds(slowdown)
    assert ends is not None
    lower, upper = ends
    assert (verdict is Verdict.REGRESSED) <= (lower > math.log1p(margin))
    assert (verdict is Verdict.IMPROVED) <= (upper < -math.log1p(margin))
    assert (verdict is Verdict.UNCHANGED) <= (value < math.log1p(0.3) and detectable < 1)
    assert (value > math.log1p(0.3)) <= (not verdict.passes)


def test_identical_code_is_called_regressed_in_at_most_5_of_100_comparisons() -> None:
    """The whole comparison is played 1,000 times: 6 scenarios, noise of 4 %, no margin."""
    generator = np.random.default_rng(20260131)
    scenarios = [a_scenario(batch_size=size) for size in range(100, 700, 100)]
    settings = Settings(margin=0.0)
    alarms = 0
    for _ in range(1_000):
        samples = [
            [intervals.log_moments(np.exp(generator.normal(9, 0.04, size=5)).tolist()) for _ in scenarios] for _ in "ab"
        ]
        slowdowns = [intervals.welch_difference(one, other) for one, other in zip(*samples, strict=True)]
        p_values = multiple_testing.holm_adjusted([intervals.p_above(each, 0.0) for each in slowdowns])
        alarms += any(
            decide(each, p, 1.0, 0.1, settings) is Verdict.REGRESSED
            for each, p in zip(slowdowns, p_values, strict=True)
        )
    assert alarms <= scipy.stats.binom.ppf(0.999, 1_000, 0.05)


def test_the_detectable_slowdown_is_detected_in_9_of_10_comparisons() -> None:
    """With the true spread known, a slowdown of the size that the row promises is called regressed as often."""
    generator = np.random.default_rng(20260131)
    spread, n, settings = 0.02, 8, Settings()
    error = spread * math.sqrt(2 / n)
    promised = math.log1p(detectable_slowdown(TSummary(0.0, error, 2 * n - 2, n), settings, scenarios=1))
    found = 0
    for _ in range(1_000):
        before, after = (intervals.log_moments(np.exp(generator.normal(9, spread, size=n)).tolist()) for _ in "ab")
        slower = TSummary(*dataclasses.astuple(intervals.welch_difference(before, after)))
        shifted = dataclasses.replace(slower, value=slower.value + promised)
        found += intervals.p_above(shifted, math.log1p(settings.margin)) <= settings.alpha
    assert 0.85 <= found / 1_000 <= 0.95


# --- two machines, two scenarios


@pytest.mark.parametrize(
    ("factor", "standing"), [(0.5, Relation.SLOWER), (1.5, Relation.FASTER), (1.001, Relation.NOT_TOLD_APART)]
)
def test_two_machines_have_standings_and_nothing_regresses(factor: float, standing: Relation) -> None:
    """That holds however slow the other machine is."""
    comparison = compare(side(*repeats(QUIET)), side(*repeats(scaled(factor)), environment=ELSEWHERE))
    assert comparison.kind is Kind.HARDWARE
    assert outcomes(comparison) == [standing]
    assert comparison.rows[0].p_slower is None
    assert [each.name for each in comparison.machine_differences] == ["processor", "host"]


def test_one_process_a_side_tells_no_machines_apart() -> None:
    """A ratio without an interval is shown, and nothing is concluded."""
    (row,) = compare(side(a_run()), side(a_run(throughput=1.0), environment=ELSEWHERE)).rows
    assert (row.outcome, row.reason) == (Relation.NOT_TOLD_APART, "n = 1 has no interval")


def test_other_software_on_one_machine_is_what_a_comparison_is_about() -> None:
    """The difference is named, and the rows are still judged."""
    newer = an_environment(software=a_software(numpy="1.23.5"), git_commit="c" * 40)
    comparison = compare(side(*repeats(QUIET)), side(*repeats(scaled(0.5)), environment=newer))
    assert [str(each) for each in comparison.software_differences] == [
        "numpy 1.26.4 -> 1.23.5",
        "source bbbbbbbb -> cccccccc",
    ]
    assert outcomes(comparison) == [Verdict.REGRESSED]


def test_openmp_threads_that_differ_are_named() -> None:
    """Twice as many threads explain much of a difference."""
    before, after = a_run(omp_num_threads=1), a_run(omp_num_threads=2)
    assert [str(each) for each in compare(side(before), side(after)).software_differences] == ["OpenMP threads 1 -> 2"]


CPU, GPU = "cpu(0)", "gpu(0)"
ON_CPU = reference(CPU, "--baseline-scenario")


def test_contexts_are_compared_within_one_file() -> None:
    """gpu(0) is compared with cpu(0) at the same batch size, and nothing with itself or another batch."""
    records = [
        run
        for contexts, factor in ((CPU, 1.0), (GPU, 9.0))
        for size in (100, 500)
        for run in repeats(scaled(factor), a_scenario(contexts=contexts, batch_size=size))
    ]
    one = side(*records)
    comparison = compare_scenarios(one, one, ON_CPU)
    assert comparison.kind is Kind.WITHIN
    assert [(row.scenario.contexts, row.scenario.batch_size) for row in comparison.rows] == [
        ((GPU,), 100),
        ((GPU,), 500),
    ]
    assert outcomes(comparison) == [Relation.FASTER] * 2
    assert comparison.slowdown is not None
    assert math.exp(-comparison.slowdown.value) == pytest.approx(9)


def test_rows_of_one_file_are_compared_within_their_blocks_and_those_of_two_files_are_not() -> None:
    """Blocks of two files have the same numbers and nothing else in common."""
    drift = [1.0, 1.9, 0.6, 1.4]
    alone, faster = (
        [in_turns(run, block) for block, run in enumerate(repeats([factor * each for each in drift], scenario))]
        for factor, scenario in ((10_000.0, a_scenario(contexts=CPU)), (10_500.0, a_scenario(contexts=GPU)))
    )
    one = side(*alone, *faster)
    (within,) = compare_scenarios(one, one, ON_CPU).rows
    assert within.outcome is Relation.FASTER
    assert within.slowdown is not None
    assert math.exp(-within.slowdown.value) == pytest.approx(1.05)
    assert within.slowdown.error == pytest.approx(0, abs=1e-9)
    (across,) = (row for row in compare_scenarios(side(*alone), side(*faster), ON_CPU).rows if row.slowdown)
    assert across.outcome is Relation.NOT_TOLD_APART
    assert across.slowdown == intervals.welch_difference(
        *(intervals.log_moments([factor * each for each in drift]) for factor in (10_000.0, 10_500.0))
    )


def test_scenarios_without_a_partner_within_the_file_are_named() -> None:
    """The GPU's batch 500 has no partner on the CPU, and the CPU's batch 64 none on the GPU."""
    one = side(
        *repeats(QUIET, a_scenario(contexts=CPU)),
        *repeats(QUIET, a_scenario(contexts=GPU)),
        *repeats(QUIET, a_scenario(contexts=CPU, batch_size=64)),
        *repeats(QUIET, a_scenario(contexts=GPU, batch_size=500)),
    )
    comparison = compare_scenarios(one, one, ON_CPU)
    assert [(row.scenario.batch_size, str(row.outcome), row.reason) for row in comparison.rows] == [
        (100, "not told apart", None),
        (500, "missing", "nothing with cpu(0) to compare with"),
        (64, "missing", "nothing that differs only in contexts"),
    ]


def test_another_machines_gpu_is_compared_with_this_ones_cpu() -> None:
    """The two files have no scenario in common, and can still be asked this."""
    here = side(*repeats(QUIET, a_scenario(contexts=CPU)))
    there = side(*repeats(scaled(9), a_scenario(contexts=GPU)), environment=ELSEWHERE)
    assert not compare(here, there).has_pairs
    comparison = compare_scenarios(here, there, ON_CPU)
    assert comparison.kind is Kind.HARDWARE
    assert outcomes(comparison) == [Relation.FASTER]


def test_any_axis_can_be_the_baselines() -> None:
    """hybridize=off is compared with on and static; an error for a value that is not there names those that are."""
    modes = (Hybridize.OFF, Hybridize.ON, Hybridize.STATIC)
    one = side(*(run for mode in modes for run in repeats(QUIET, a_scenario(hybridize=mode))))
    comparison = compare_scenarios(one, one, reference("hybridize=off", "--baseline-scenario"))
    assert [row.scenario.hybridize for row in comparison.rows] == [Hybridize.ON, Hybridize.STATIC]
    with pytest.raises(
        ConfigurationError, match=r"no scenario has hybridize 'of' \(there are: 'off', 'on', 'static'\)"
    ):
        compare_scenarios(one, one, reference("hybridize=of", "--baseline-scenario"))


def test_a_loop_can_be_the_baseline_by_its_name() -> None:
    """A table names all parts of a loop in one word, and so can a user: the other axes are kept apart."""
    parts = {"input_pipeline": InputPipeline.RESIDENT, "metric_sync": MetricSync.EPOCH}
    scenarios = [a_scenario(batch_size=size, **changes) for size in (100, 500) for changes in ({}, parts)]
    one = side(*(run for scenario in scenarios for run in repeats(QUIET, scenario)))
    rows = compare_scenarios(one, one, reference("loop=tutorial", "--baseline-scenario")).rows
    assert [(row.scenario.batch_size, row.scenario.loop.input_pipeline) for row in rows] == [
        (100, InputPipeline.RESIDENT),
        (500, InputPipeline.RESIDENT),
    ]


def sweep() -> ComparedFile:
    """Return two contexts x two modes at two batch sizes; the fastest is cpu(0), batch 500, hybridize on."""
    factors = {(CPU, 100): 1.0, (CPU, 500): 4.0, ("cpu(0),cpu(1)", 100): 0.8, ("cpu(0),cpu(1)", 500): 2.0}
    return side(
        *(
            run
            for (contexts, size), factor in factors.items()
            for mode, more in ((Hybridize.OFF, 1.0), (Hybridize.ON, 1.5))
            for run in repeats(scaled(factor * more), a_scenario(contexts=contexts, batch_size=size, hybridize=mode))
        )
    )


def names_of_pairs(expression: str) -> dict[str, float]:
    """Return each row's ratio to what it was compared with, by its name."""
    file = sweep()
    compared = compare_scenarios(file, file, reference(expression, "--baseline-scenario"))
    return {
        row.scenario.name: round(math.exp(-row.slowdown.value), 3) for row in compared.rows if row.slowdown is not None
    }


@pytest.mark.parametrize(
    "expression", ["best", "mlp cpu(0) batch=500 hybridize=on", "batch=500 and contexts=cpu(0) and not hybridize=off"]
)
def test_all_rows_can_be_compared_with_one(expression: str) -> None:
    """The winner by its word or by its printed name."""
    found = names_of_pairs(expression)
    least = {"mlp cpu(0) batch=500 hybridize=off": 0.667, "mlp cpu(0),cpu(1) batch=100 hybridize=off": 0.133}
    assert found.items() >= least.items()
    assert len(found) == 7


def test_rows_differ_from_their_baseline_in_the_axes_of_the_expression() -> None:
    """Two axes in one expression, with the grammar of -k: batch sizes are kept apart."""
    found = names_of_pairs("contexts=cpu(0) and hybridize=off")
    assert found["mlp cpu(0),cpu(1) batch=100 hybridize=on"] == 1.2
    assert found["mlp cpu(0),cpu(1) batch=500 hybridize=on"] == 0.75
    assert len(found) == 6
    assert names_of_pairs("not hybridize=on") == names_of_pairs("hybridize=off")


def test_a_baseline_of_several_scenarios_asks_for_one() -> None:
    """A part of a name that two have says which of them are there."""
    file = sweep()
    with pytest.raises(ConfigurationError, match=r"mlp is several scenarios: mlp cpu.* write the whole name of one"):
        compare_scenarios(file, file, reference("mlp", "--baseline-scenario"))


# --- what all rows together say


def gate_of(after: ResultSet) -> Verdict:
    return gate_verdict([compare(index("a", a_result_set(*repeats(QUIET))), index("b", after))])


def change_recipe(result_set: ResultSet) -> ResultSet:
    recipe = dataclasses.replace(PART, learning_rate=0.5)
    return a_result_set(*(msgspec.structs.replace(run, recipe=recipe) for run in result_set.runs))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda r: msgspec.structs.replace(r, environment=ELSEWHERE), "another machine: processor"),
        (lambda r: msgspec.structs.replace(r, environment=an_environment(host_hash=None)), "another machine: host"),
        (lambda r: msgspec.structs.replace(r, dataset=a_dataset(digest="f" * 64)), "other data"),
        (lambda _r: a_result_set(*repeats(QUIET, a_scenario(batch_size=64))), "no scenario in common"),
        (change_recipe, "no scenario in common"),
    ],
)
def test_a_gate_refuses_what_it_cannot_compare(change: Callable[[ResultSet], ResultSet], reason: str) -> None:
    """Another machine, data set, scenario or recipe gives no other verdict."""
    result_set = a_result_set(*repeats(QUIET))
    comparison = compare(index("a", result_set), index("b", change(result_set)))
    assert (gate_refusal(comparison) or "").startswith(reason)
    assert gate_verdict([comparison]) is Verdict.INCOMPARABLE


def test_a_gate_says_the_worst() -> None:
    """One regression counts among many passes, and among several contenders. Without rows there is no verdict."""
    assert gate_of(a_result_set(*repeats(QUIET))) is Verdict.UNCHANGED
    assert gate_of(a_result_set(*repeats(scaled(0.5)))) is Verdict.REGRESSED
    assert gate_of(a_result_set(*repeats(scaled(2)))) is Verdict.IMPROVED
    before = side(*repeats(QUIET))
    contenders = [side(*repeats(scaled(factor))) for factor in (2, 0.5, 1)]
    assert gate_verdict(compare(before, each) for each in contenders) is Verdict.REGRESSED
    assert gate_verdict([]) is Verdict.MISSING


def test_a_copy_is_recognised() -> None:
    """Comparing a file with its copy proves nothing, which is said. Equal speeds on another day are no copy."""
    before = side(*repeats(QUIET), name="a.json")
    assert compare(before, side(*repeats(QUIET), name="b.json")).is_copy
    assert not compare(before, side(*repeats(QUIET), created_at="2026-02-01T12:00:00Z")).is_copy
    assert not compare(before, side(*repeats(scaled(1.001)))).is_copy


def test_many_files_share_their_scenarios() -> None:
    """Ten thousand results of a few scenarios hold the same objects, not equal ones."""
    shared: dict[Any, Any] = {}
    first, second = (index(name, a_result_set(*repeats(QUIET)), shared) for name in "ab")
    assert all(one is other for one, other in zip(first.entries, second.entries, strict=True))


# --- sessions


def drawn_sessions(sd: float, count: int = 20, **changes: Any) -> list[ComparedFile]:  # noqa: ANN401
    """Return files of the same code: each is faster or slower by a factor of its own."""
    generator = random.Random(3)
    return [side(*repeats(scaled(math.exp(generator.gauss(0, sd)))), **changes) for _ in range(count)]


def test_sessions_that_differ_anyway_are_no_regression() -> None:
    """Twelve percent between two files is a regression where sessions agree, and chance where they differ by ten."""
    before, after = side(*repeats(QUIET)), side(*repeats(scaled(1 / 1.12)))
    assert outcomes(compare(before, after)) == [Verdict.REGRESSED]
    for sd, expected in ((0.005, Verdict.REGRESSED), (0.10, Verdict.INCONCLUSIVE)):
        spread = spread_of(drawn_sessions(sd))
        assert spread is not None
        assert spread.sd == pytest.approx(sd, rel=0.3)
        assert outcomes(compare(before, after, sessions=spread)) == [expected]
        elsewhere = dataclasses.replace(spread, scenarios={})
        assert outcomes(compare(before, after, sessions=elsewhere)) == [expected]


def test_known_sessions_find_what_few_processes_do_not() -> None:
    """Three uneven processes a side cannot show 20 %; twenty sessions of theirs say how little their mean varies."""
    uneven = (9_000.0, 10_000.0, 11_000.0)
    before, after = side(*repeats(uneven)), side(*repeats(scaled(1 / 1.2, uneven)))
    assert outcomes(compare(before, after)) == [Verdict.INCONCLUSIVE]
    calm = {key: Spread(of_means=0.02**2, within=0.03**2, processes=3, degrees_of_freedom=19) for key in before.entries}
    spread = SessionSpread(sd=0.01, degrees_of_freedom=19, source="made up", scenarios=calm)
    assert outcomes(compare(before, after, sessions=spread)) == [Verdict.REGRESSED]


def test_a_mean_over_rows_of_two_sessions_is_as_unsure_as_they_are() -> None:
    """What disturbs a session disturbs all its rows, so that many of them make nothing surer."""
    rows = [a_scenario(batch_size=size) for size in (100, 200, 400, 800)]
    before, after = (side(*(run for each in rows for run in repeats(scaled(f), each))) for f in (1, 1 / 1.05))
    spread = SessionSpread(sd=0.05, degrees_of_freedom=19, source="made up")
    comparison = compare(before, after, sessions=spread)
    assert comparison.slowdown is not None
    (error,) = {row.slowdown.error for row in comparison.rows if row.slowdown is not None}
    assert comparison.slowdown.error == pytest.approx(error)


def test_a_spread_is_of_the_same_code_on_the_same_machine() -> None:
    """Two commits, two data sets and two machines are no sessions of one another; five sessions are too few."""
    assert spread_of(drawn_sessions(0.1, count=5)) is None
    commits = [an_environment(git_commit=letter * 40) for letter in "abcdef"]
    assert spread_of([side(*repeats(QUIET), environment=each) for each in commits]) is None
    mixed = [*drawn_sessions(0.0, count=4), *drawn_sessions(0.0, count=4, environment=ELSEWHERE)]
    spread = spread_of(mixed)
    assert spread is not None
    assert spread.degrees_of_freedom == 6
    assert spread.sd == 0


def test_the_spread_that_ships_can_be_read() -> None:
    """It says where it is from."""
    assert shipped_spread().sd >= 0
    assert "sessions" in shipped_spread().source


# --- how busy the machine was -----------------------------------------------------------------------------------------


def under(load: float | None, pressure: float | None) -> ComparedFile:
    """A file of two blocks, before the second of which other programs were as busy as this."""
    health = msgspec.structs.replace(A_BLOCK.health, load_average=load, cpu_pressure_fraction=pressure)
    block = msgspec.structs.replace(A_BLOCK, health=health)
    return side(in_turns(a_run(), 0), in_turns(a_run(repeat=1), 1), blocks=(block, block))


@pytest.mark.parametrize(
    ("baseline", "contender", "busy"),
    [
        ((0.4, 0.1), (1.9, 0.1), "contender"),
        ((1.9, 0.1), (0.4, 0.1), "baseline"),
        ((0.4, 0.1), (0.4, 0.6), "contender"),
        ((0.4, 0.1), (1.0, 0.15), None),
        ((None, None), (5.0, 0.9), None),
    ],
)
def test_the_side_under_which_the_machine_was_clearly_busier(
    baseline: tuple[float | None, float | None], contender: tuple[float | None, float | None], busy: str | None
) -> None:
    sides = {"baseline": under(*baseline), "contender": under(*contender)}
    found = busier(*sides.values())
    assert found is (None if busy is None else sides[busy])


@pytest.mark.parametrize(
    ("changes", "busy"),
    [
        ({"steal_fraction": 0.04}, True),
        ({"steal_fraction": 0.01}, False),
        ({"anchor_seconds": (0.009, 0.009)}, True),
        ({"anchor_seconds": (0.007, 0.007)}, False),
    ],
)
def test_stolen_time_and_a_slower_machine_make_a_side_busier(changes: dict[str, Any], busy: bool) -> None:  # noqa: FBT001  # a case
    """A fixed matrix product that takes 1.25 times as long is a slower machine, whatever its load."""
    usual = msgspec.structs.replace(A_BLOCK.health, steal_fraction=0.001, anchor_seconds=(0.006, 0.006))
    before, after = (
        side(a_run(), blocks=(msgspec.structs.replace(A_BLOCK, health=health),))
        for health in (usual, msgspec.structs.replace(usual, **changes))
    )
    assert (busier(before, after) is after) is busy


def test_runs_alone_have_their_own_health() -> None:
    """As blocks have: the file says what the machine did, and how often the kernel took a core away."""
    runs = [
        msgspec.structs.replace(
            a_run(repeat=repeat), health=msgspec.structs.replace(A_BLOCK.health, load_average=float(repeat))
        )
        for repeat in range(3)
    ]
    health = side(*runs).health
    assert health.load_average == 1.0
    assert health.switches_per_second is not None
    assert side(a_run()).health.load_average is None


def test_the_mean_leaves_out_what_has_no_interval() -> None:
    """One row of a single process must not take the interval from all others."""
    other = a_scenario(batch_size=500)
    one = side(*repeats(QUIET), a_run(scenario=other))
    comparison = compare(one, side(*repeats(scaled(2)), a_run(scenario=other), environment=ELSEWHERE))
    assert comparison.slowdown is not None
    assert comparison.slowdown.error is not None
    assert (len(comparison.averaged), len(comparison.common)) == (1, 2)


def test_a_row_of_void_blocks_alone_says_so() -> None:
    """It has turns, and no result to compare."""
    stolen = msgspec.structs.replace(A_BLOCK.health, steal_fraction=0.2)
    void = side(in_turns(a_run(), 0), blocks=(msgspec.structs.replace(A_BLOCK, health=stolen),))
    (row,) = compare(side(a_run()), void).rows
    assert row.outcome is Verdict.MISSING
    assert row.reason == "contender: only void blocks: 20 % of the CPUs' time was stolen by other tenants"


def test_runs_alone_do_not_tell_how_busy_the_machine_was() -> None:
    assert busier(side(a_run()), under(5.0, 0.9)) is None


@pytest.mark.parametrize(
    ("factor", "busy", "expected"),
    [
        (0.5, "contender", Verdict.INVALID),
        (0.5, "baseline", Verdict.REGRESSED),
        (2.0, "baseline", Verdict.INVALID),
        (2.0, "contender", Verdict.IMPROVED),
        (1.0, "baseline", Verdict.INVALID),
        (1.0, "contender", Verdict.UNCHANGED),
    ],
)
def test_what_other_programs_may_have_made_is_no_verdict(factor: float, busy: str, expected: Verdict) -> None:
    """They only ever slow: slower all the same under the quieter machine, or faster under the busier, stands."""
    quiet, loaded = ((a_block_under(pressure),) * len(QUIET) for pressure in (0.1, 0.9))
    files = [
        side(
            *(in_turns(run, block) for block, run in enumerate(repeats(scaled(speed)))),
            blocks=loaded if name == busy else quiet,
        )
        for name, speed in (("baseline", 1.0), ("contender", factor))
    ]
    (row,) = compare(files[0], files[1]).rows
    assert row.outcome is expected
    assert expected is not Verdict.INVALID or f"busier under the {busy}" in str(row.reason)


def turns(speed: float, lead_in: int) -> ComparedFile:
    """Return a file of turns at so many images a second, each of 2,000 images."""
    runs = [in_turns(run, block) for block, run in enumerate(repeats(scaled(speed), recipe=PART))]
    return side(*(msgspec.structs.replace(run, lead_in_epochs=lead_in) for run in runs), blocks=(A_BLOCK,) * len(QUIET))


@pytest.mark.parametrize("environment", [an_environment(), ELSEWHERE])
def test_cold_turns_are_not_compared_with_those_that_epochs_led_in_to(environment: Environment) -> None:
    """Until there were such epochs, short turns measured what a process takes after a wait."""
    cold, warm = turns(3, 0), dataclasses.replace(turns(3, 4), environment=environment)
    for name, files in {"baseline": (cold, warm), "contender": (warm, cold)}.items():
        (row,) = compare(*files).rows
        assert row.outcome is Verdict.INCOMPARABLE
        assert row.reason == (
            f"the {name}'s turns are cold, without the epochs that lead in to them today: measure the {name} again"
        )


def test_turns_that_are_measured_alike_are_compared() -> None:
    """Those of two old files; and a long turn needs no lead-in, and has none today."""
    for before, after in ((turns(3, 0), turns(3, 0)), (turns(3, 4), turns(3, 2)), (turns(0.01, 0), turns(0.01, 1))):
        (row,) = compare(before, after).rows
        assert row.outcome is Verdict.UNCHANGED


def test_a_cold_reference_of_another_file_is_not_compared_either() -> None:
    (row,) = compare_scenarios(turns(3, 0), turns(3, 4), reference("batch_size=100", "--baseline-scenario")).rows
    assert row.outcome is Verdict.INCOMPARABLE


def a_block_under(pressure: float) -> RunBlock:
    health = msgspec.structs.replace(A_BLOCK.health, cpu_pressure_fraction=pressure)
    return msgspec.structs.replace(A_BLOCK, health=health)


def test_recorded_sessions_of_the_same_code_raise_few_alarms() -> None:
    """They give the spread that ships. Of all pairs at most one in twenty is regressed; many are by a real fifth."""
    paths = sorted((ROOT / "results/sessions").glob("*.json"))
    files = [index(path.name, store.read(path, ResultSet)) for path in paths]
    spread = spread_of(files)
    assert spread is not None
    assert shipped_spread().sd == pytest.approx(spread.sd, abs=0.0005)
    assert shipped_spread().degrees_of_freedom == spread.degrees_of_freedom
    pairs = comparable_pairs(files)
    assert len(pairs) == 20 * 19 + 11 * 10 + 6 * 5
    regressed = {
        slowdown: sum(
            gate_verdict([compare(before, slowed(after, slowdown), sessions=shipped_spread())]) is Verdict.REGRESSED
            for before, after in pairs
        )
        for slowdown in (0.0, 0.2)
    }
    assert regressed[0.0] <= 0.05 * len(pairs)
    assert regressed[0.2] >= 0.35 * len(pairs)


# --- several machines -------------------------------------------------------------------------------------------------


def test_other_machines_of_a_hosts_file_are_other_hardware() -> None:
    """Where only one file has several, their common rows are of the first machine."""
    here, there = (a_cluster_file(hosts=(a_cluster_host(0), a_cluster_host(place))) for place in (1, 2))
    one = msgspec.structs.replace(here, hosts=())
    kinds = [compare(index("a", here), index("b", other)).kind for other in (here, there, one)]
    assert kinds == [Kind.SAME_MACHINE, Kind.HARDWARE, Kind.SAME_MACHINE]
    comparison = compare(index("a", here), index("b", there))
    assert [difference.name for difference in comparison.machine_differences] == ["other machines"]
    assert "another machine: other machines" in str(gate_refusal(comparison))


def test_ranks_on_one_machine_and_machines_are_different_rows() -> None:
    machines = a_result_set(*runs(two(), 1000.0, 1001.0))
    ranks = a_result_set(*runs(two(hosts=1), 1000.0, 1001.0))
    assert [row.slowdown for row in compare(index("a", machines), index("b", ranks)).rows] == [None, None]

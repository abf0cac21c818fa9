"""What each setting does is said of pairs of rows within blocks, and never says more than its interval."""

from __future__ import annotations

import dataclasses
import math
import random

import msgspec
import pytest

from bench.analysis.headline import MARGIN, Effect, Finding, effects, finding, headlines, source_of
from bench.analysis.summary import summarize
from bench.analysis.verdict import DEFAULT_SETTINGS
from bench.records.result import ResultSet, Run
from bench.render.model.answers import describe_effects
from bench.scenarios.axes import Exchange
from bench.scenarios.scenario import Scenario
from bench.stats import intervals
from bench.stats.block_design import common_spread, summarize_difference
from mnist_core.recipe import Hybridize, Recipe
from tests.support.executor import A_BLOCK, in_turns
from tests.support.records import a_failure, a_result_set, a_run, a_scenario, an_epoch

PART = Recipe(epochs=6, samples=10_000)
#: The speed of the machine in each of six blocks.
DRIFT = (1.0, 1.9, 0.6, 1.4, 0.8, 1.1)
ONE, TWO = "cpu(0)", "cpu(0),cpu(1)"


def a_sweep(*rows: tuple[Scenario, float], noise: float = 0.002, blocks: int = 6, alone: bool = False) -> ResultSet:
    """Measure each scenario at its speed in each block, times the machine's drift and a noise of its own."""
    draw = random.Random(7)
    runs = [
        a_run(
            scenario=scenario,
            recipe=dataclasses.replace(PART, seed=42 + block),
            repeat=block,
            throughput=10_000 * factor * DRIFT[block] * math.exp(draw.gauss(0, noise)),
            accuracy=0.9,
        )
        for scenario, factor in rows
        for block in range(blocks)
    ]
    if alone:
        return a_result_set(*runs)
    return a_result_set(*(in_turns(run, run.repeat) for run in runs), blocks=(A_BLOCK,) * blocks)


def a_grid(**gains: float) -> list[tuple[Scenario, float]]:
    """Cross two batch sizes with hybridize off and on, which gains `on`; 500 gains `large`, and both `both` more."""
    return [
        (
            a_scenario(batch_size=size, hybridize=hybridize),
            (gains.get("large", 1) if size == 500 else 1)
            * (gains.get("on", 1) if hybridize is Hybridize.ON else 1)
            * (gains.get("both", 1) if (size, hybridize) == (500, Hybridize.ON) else 1),
        )
        for size in (100, 500)
        for hybridize in (Hybridize.OFF, Hybridize.ON)
    ]


def all_effects(result_set: ResultSet) -> list[Effect]:
    return effects(summarize(result_set), "mlp", dataclasses.replace(PART, seed=0))


def effects_of(result_set: ResultSet) -> dict[str, Effect]:
    return {effect.axis: effect for effect in all_effects(result_set)}


def words_of(result_set: ResultSet) -> dict[str, str]:
    return dict(describe_effects(all_effects(result_set)))


def test_ranks_that_learn_something_else_are_never_the_fastest() -> None:
    """However fast: without an exchange each trains a network of its own, and there may be no judged row beside it."""
    without = a_scenario(ranks=2, exchange=Exchange.NONE)
    (answer,) = headlines([source_of("a.json", a_sweep((a_scenario(), 1.0), (without, 2.0)))])
    assert answer.fastest.scenario == a_scenario()
    assert headlines([source_of("a.json", a_sweep((without, 2.0)))]) == []


def test_each_axis_is_answered_over_all_pairs_that_differ_in_it_alone() -> None:
    found = effects_of(a_sweep(*a_grid(large=1.4, on=1.0)))
    assert {axis: effect.pairs for axis, effect in found.items()} == {"batch_size": 2, "hybridize": 2}
    assert math.exp(found["batch_size"].gain.value) == pytest.approx(1.4, rel=0.01)
    assert found["batch_size"].finding is Finding.FASTER
    assert found["hybridize"].finding is Finding.NO_DIFFERENCE
    assert words_of(a_sweep(*a_grid(large=1.4, on=1.0), noise=0.0)) == {
        "batch 500 instead of 100": "40 % faster ± 0.0",
        "hybridize on instead of off": "no difference that matters (0.0 % faster ± 0.0)",
    }


def test_the_interval_is_over_blocks_and_the_drift_of_the_machine_is_not_in_it() -> None:
    """The mean over the pairs is taken within each block, since the pairs of a block are not independent."""
    result_set = a_sweep(*a_grid(large=1.4), noise=0.01)
    effect = effects_of(result_set)["batch_size"]
    speeds: dict[Scenario, dict[int, float]] = {run.scenario: {} for run in result_set.runs}
    for run in result_set.runs:
        assert run.block is not None
        speeds[run.scenario][run.block] = math.log(run.epochs[0].samples / run.epochs[0].epoch_seconds)
    in_each = [
        sum(
            speeds[a_scenario(batch_size=500, hybridize=each)][block]
            - speeds[a_scenario(batch_size=100, hybridize=each)][block]
            for each in (Hybridize.OFF, Hybridize.ON)
        )
        / 2
        for block in range(6)
    ]
    spread = common_spread(*(group.spread for group in summarize(result_set).groups.values()))
    expected = summarize_difference(in_each, spread, pairs=2)
    assert effect.gain.value == pytest.approx(expected.value)
    assert effect.gain.error == pytest.approx(expected.error)
    assert effect.gain.n == 6
    assert effect.gain.error is not None
    assert effect.gain.error < 0.02  # the machine's own speed varies by a factor of three


def test_contexts_are_compared_with_the_fewest_and_other_values_with_the_tutorials() -> None:
    rows = [(a_scenario(contexts=contexts, batch_size=size), 1.0) for contexts in (TWO, ONE) for size in (500, 100, 50)]
    assert list(words_of(a_sweep(*rows))) == [
        "2 contexts instead of 1",
        "batch 500 instead of 100",
        "batch 50 instead of 100",
    ]


def test_a_value_without_a_row_that_differs_in_it_alone_has_no_answer() -> None:
    assert not effects_of(a_sweep((a_scenario(), 1.0), (a_scenario(batch_size=500, contexts=ONE), 2.0)))


def test_rows_alone_have_no_answers() -> None:
    """Nothing pairs them."""
    assert not effects_of(a_sweep(*a_grid(large=2.0), alone=True))


def test_pairs_without_a_common_block_are_answered_by_the_first_of_them() -> None:
    """A run that was interrupted may have measured each group of a suite once, and each in a block of its own."""
    result_set = a_sweep(*a_grid(large=1.4, on=1.2), blocks=2)
    runs = [run for run in result_set.runs if run.block == (0 if run.scenario.hybridize is Hybridize.OFF else 1)]
    found = effects_of(a_result_set(*runs, blocks=result_set.blocks))
    assert {axis: (effect.pairs, effect.gain.n) for axis, effect in found.items()} == {"batch_size": (1, 1)}


def test_an_invalid_row_is_in_no_pair() -> None:
    result_set = a_sweep(*a_grid(large=2.0))
    runs = [
        run
        if run.scenario.hybridize is Hybridize.OFF
        else msgspec.structs.replace(run, epochs=(an_epoch(last_batch_loss=math.inf),))
        for run in result_set.runs
    ]
    found = effects_of(a_result_set(*runs, blocks=result_set.blocks))
    assert {axis: effect.pairs for axis, effect in found.items()} == {"batch_size": 1}


def test_blocks_that_a_pair_lacks_do_not_count() -> None:
    """A mean over other pairs in each block would take the differences between pairs for noise."""
    result_set = a_sweep(*a_grid(large=1.4, both=1.1), noise=0.0)
    last = a_scenario(batch_size=500, hybridize=Hybridize.ON)
    kept: list[Run] = [run for run in result_set.runs if not (run.scenario == last and run.block in {4, 5})]
    lost = a_failure(scenario=last, recipe=kept[0].recipe, repeat=4)
    effect = effects_of(a_result_set(*kept, lost, blocks=result_set.blocks))["batch_size"]
    assert (effect.gain.n, effect.pairs) == (4, 2)
    assert effect.gain.error == pytest.approx(0.0, abs=1e-12)


def test_blocks_in_parts_are_answered_by_the_pairs_that_share_them() -> None:
    """Where the memory holds only a part of a sweep at once, two rows of a pair may never have met."""
    rows = a_grid(large=1.4)
    result_set = a_sweep(*rows, noise=0.0)
    first = {rows[0][0], rows[2][0]}  # hybridize off, the others in blocks of their own
    runs = [in_turns(run, run.repeat if run.scenario in first else 6 + run.repeat) for run in result_set.runs]
    found = effects_of(a_result_set(*runs, blocks=(A_BLOCK,) * 12))
    assert set(found) == {"batch_size"}
    assert (found["batch_size"].pairs, found["batch_size"].gain.n) == (1, 6)


@pytest.mark.parametrize(
    ("lower", "upper", "said"),
    [
        (-0.01, 0.015, Finding.NO_DIFFERENCE),
        (0.001, 0.015, Finding.NO_DIFFERENCE),  # surely faster, and surely by less than matters
        (0.001, 0.03, Finding.FASTER),
        (-0.5, -0.001, Finding.SLOWER),
        (-0.5, 0.001, Finding.NOT_TOLD_APART),
        (-0.021, 0.01, Finding.NOT_TOLD_APART),
    ],
)
def test_no_answer_says_more_than_its_interval(lower: float, upper: float, said: Finding) -> None:
    quantile = intervals.t_quantile(5, 0.975)
    gain = intervals.TSummary((lower + upper) / 2, (upper - lower) / 2 / quantile, 5, 6)
    assert finding(gain) is said


def test_one_block_tells_nothing() -> None:
    """However far apart its rows are."""
    result_set = a_sweep(*a_grid(large=3.0), blocks=1)
    assert effects_of(result_set)["batch_size"].finding is Finding.NOT_TOLD_APART
    assert words_of(result_set)["batch 500 instead of 100"].startswith(
        "not told apart: a single block has no interval ("
    )


def test_a_wide_interval_is_told_by_its_ends() -> None:
    words = words_of(a_sweep(*a_grid(), noise=0.08))["hybridize on instead of off"]
    assert words.startswith("not told apart: between ")
    assert " % slower and " in words
    assert words.endswith(" % faster; run --precision 3% measures longer")


def test_longer_measuring_is_advised_only_where_the_interval_is_wider_than_it_would_get() -> None:
    words = words_of(a_sweep(*a_grid(on=1.0015), noise=0.015))["hybridize on instead of off"]
    assert words.startswith("not told apart: between ")
    assert "--precision" not in words


def test_an_effect_that_depends_on_another_setting_is_no_mean_alone() -> None:
    """Compiling that wins 20 % at one batch and loses as much at another makes a difference, though none on average."""
    effect = effects_of(a_sweep(*a_grid(on=1.2, both=1 / 1.44)))["hybridize"]
    assert finding(effect.gain) is Finding.NO_DIFFERENCE
    assert effect.finding is Finding.DEPENDS
    words = words_of(a_sweep(*a_grid(on=1.2, both=1 / 1.44), noise=0.0))["hybridize on instead of off"]
    assert words == (
        "depends on the other settings: from 20 % slower ± 0.0 (cpu(0),cpu(1), batch 500) "
        "to 20 % faster ± 0.0 (cpu(0),cpu(1), batch 100); 0.0 % faster ± 0.0 on average"
    )


def test_equal_pairs_are_seldom_said_to_depend() -> None:
    """At most 5 in 100 sweeps without any interaction may be said to have one; the margin makes it far fewer."""
    draw = random.Random(1)
    said = 0
    for _ in range(100):
        rows = [(scenario, factor * math.exp(draw.gauss(0, 0.004))) for scenario, factor in a_grid(on=1.1)]
        said += effects_of(a_sweep(*rows, noise=0.01))["hybridize"].least_and_most is not None
    assert said <= 5


def test_the_margin_is_the_gates() -> None:
    assert pytest.approx(math.log1p(DEFAULT_SETTINGS.margin)) == MARGIN


def test_the_fastest_names_the_rows_that_cannot_be_told_from_it() -> None:
    made = a_sweep(*a_grid(large=1.4, on=1.001), noise=0.01)
    (answer,) = headlines([source_of("here", made)])
    assert {row.scenario.batch_size for row in (answer.fastest, *answer.as_fast)} == {500}
    assert len(answer.as_fast) == 1
    assert {effect.axis for effect in answer.effects} == {"batch_size", "hybridize"}

"""What a lower precision wins and costs, beside the same row in float32."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import msgspec
import pytest

from bench.analysis.groups import Status
from bench.analysis.headline import effects
from bench.analysis.summary import Measures, summarize
from bench.records.result import FailureReason, ResultSet
from bench.render import units
from bench.render.model.answers import describe_effects
from bench.render.views.results import result_tables
from bench.scenarios.axes import Framework
from bench.scenarios.scenario import Scenario
from mnist_core.recipe import Hybridize, InputPipeline, MetricSync, Precision
from tests.support.executor import A_BLOCK, in_turns
from tests.support.records import a_failure, a_result_set, a_run, a_scenario

MXNET = a_scenario(contexts="cpu(0)")
TORCH = a_scenario(
    contexts="cpu(0)",
    framework=Framework.TORCH,
    hybridize=Hybridize.COMPILE,
    input_pipeline=InputPipeline.RESIDENT,
    metric_sync=MetricSync.EPOCH,
)


def lower(scenario: Scenario) -> Scenario:
    return msgspec.structs.replace(scenario, precision=Precision.BFLOAT16)


def trainings(costs: Sequence[float], faster: float = 1.5) -> ResultSet:
    """Train so many seeds in float32 and in bfloat16, which costs some accuracy; seeds differ by far more than that."""
    seeds = [0.977 + 0.004 * math.sin(5 * seed) for seed in range(len(costs))]
    runs = [a_run(scenario=MXNET, repeat=seed, accuracy=each) for seed, each in enumerate(seeds)]
    runs += [
        a_run(scenario=lower(MXNET), repeat=seed, accuracy=seeds[seed] - cost, throughput=10_000 * faster)
        for seed, cost in enumerate(costs)
    ]
    return a_result_set(*runs)


def of_bfloat16(result_set: ResultSet) -> tuple[Status, str | None, Measures]:
    row = next(row for row in summarize(result_set).rows if row.scenario.precision is Precision.BFLOAT16)
    assert row.measures is not None
    return row.status, row.invalid, row.measures


def test_accuracies_are_compared_seed_by_seed() -> None:
    """The seeds differ by 0.8 points, and their differences by a tenth of that: the interval is of the latter."""
    status, _invalid, measures = of_bfloat16(trainings((0.0008, 0.0012, 0.0010, 0.0009, 0.0011)))
    more = measures.accuracy_over_float32
    assert more is not None
    assert more.lower is not None
    assert more.upper is not None
    assert (more.n, status) == (5, Status.VALID)
    assert more.value == pytest.approx(-0.001)
    assert [more.lower, more.upper] == pytest.approx([-0.0012, -0.0008], abs=1e-5)


def test_what_surely_learns_less_is_invalid_however_fast() -> None:
    status, invalid, measures = of_bfloat16(trainings((0.0048, 0.0052, 0.0050, 0.0049, 0.0051)))
    assert status is Status.INVALID
    assert invalid is not None
    assert "accuracy is 0.50 points below that of precision=float32, seed by seed" in invalid
    assert measures.over_float32 is None


@pytest.mark.parametrize("costs", [(0.006,), (0.012, -0.002, 0.011, -0.001, 0.005)], ids=["one", "scattered"])
def test_what_may_be_chance_is_no_reason(costs: tuple[float, ...]) -> None:
    """A single seed has no interval, and a wide one shows nothing."""
    status, _invalid, _measures = of_bfloat16(trainings(costs))
    assert status.is_ranked


def test_seeds_that_only_one_of_them_has_do_not_count() -> None:
    result_set = trainings((0.0,) * 5)
    kept = [run for run in result_set.runs if run.scenario.precision is Precision.BFLOAT16 or run.repeat > 1]
    _status, _invalid, measures = of_bfloat16(msgspec.structs.replace(result_set, runs=tuple(kept)))
    assert measures.accuracy_over_float32 is not None
    assert measures.accuracy_over_float32.n == 3


def test_a_row_says_what_it_has_over_float32() -> None:
    """Both columns are there where some row is in another precision, and in no other table."""
    (table,) = result_tables([summarize(trainings((0.0008, 0.0012, 0.0010, 0.0009, 0.0011)))])
    cells = {heading.name: cell for heading, cell in zip(table.headings, table.rows[1].cells, strict=True)}
    assert cells["over_float32"].text == f"1.50{units.TIMES}"
    assert cells["accuracy_over_float32"].text == "-0.0010"
    assert cells["accuracy_over_float32"].detail == "[-0.0012, -0.0008]"


def test_each_framework_has_an_answer_of_its_own() -> None:
    """Kernels are a framework's own: a mean of a gain and of a loss would answer nobody."""
    speeds = {MXNET: 1.0, lower(MXNET): 0.6, TORCH: 2.0, lower(TORCH): 2.6}
    draw = random.Random(3)
    runs = []
    for scenario, speed in speeds.items():
        for block in range(5):
            noisy = 10_000 * speed * math.exp(draw.gauss(0, 0.002))
            runs.append(in_turns(a_run(scenario=scenario, repeat=block, throughput=noisy), block))
    summary = summarize(a_result_set(*runs, blocks=(A_BLOCK,) * 5))
    (recipe,) = {row.recipe for row in summary.rows}
    found = dict(describe_effects(effects(summary, "mlp", recipe)))
    assert found["mxnet: precision bfloat16 instead of float32"].startswith("67 % slower")
    assert found["torch: precision bfloat16 instead of float32"].startswith("30 % faster")


def test_a_precision_that_was_not_in_effect_has_no_speed() -> None:
    """Its row says why, and nothing is compared with it."""
    runs = [a_run(scenario=MXNET, repeat=seed) for seed in range(2)]
    detail = "precision=bfloat16 is not in effect: the scores of 100 images differ from exact numbers by 4e-07"
    failure = a_failure(scenario=lower(MXNET), reason=FailureReason.PRECISION_NOT_IN_EFFECT, detail=detail)
    (table,) = result_tables([summarize(a_result_set(*runs, failure))])
    assert any(f"precision_not_in_effect: {detail}" in text for _mark, text in table.notes)

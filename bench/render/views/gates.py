"""A gate's conclusion as a table and as test cases. `experiments.gate.decision` has drawn it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

from bench.analysis.verdict import Verdict
from bench.experiments.gate.decision import Conclusion
from bench.experiments.gate.look import GateRow
from bench.records.gate import GateFile, GateMetric, Purpose, SideDescription
from bench.records.health import session_health
from bench.render import units
from bench.render.model.cases import OUTCOME_OF_VERDICT, JUnitCase
from bench.render.model.column import Column, make_change_column, make_column
from bench.render.model.marks import MARK_OF_OUTCOME, tone_of_outcome
from bench.render.model.table import Fact, Table, make_table
from bench.render.model.words.captions import (
    facts_of,
    file_caption,
    format_n,
    health_caption,
    virtual_contexts,
)
from bench.render.model.words.labels import listed_axes, shared_setting
from bench.render.phrases import clean_text, ends, format_change, format_count, shorten_hash
from bench.render.sparklines import interval
from bench.render.views.predictions import METHOD
from bench.scenarios.axes import is_custom
from bench.scenarios.scenario import Scenario
from bench.stats.intervals import POWER
from bench.stats.order_statistics import percentile_name
from bench.stats.paired import Order


def gate_table(gate_file: GateFile, conclusion: Conclusion) -> Table:
    """Return one row per planned scenario, with the reasons and the void blocks as notes."""
    columns: list[Column[GateRow]] = [
        _verdict_column(gate_file),
        *listed_axes([row.scenario for row in conclusion.rows], with_network=True),
        *([_PERCENTILE] if is_latency(gate_file) else []),
        *_columns(gate_file, conclusion),
    ]
    return make_table(
        f"gate: {conclusion.verdict}, {format_n(row.n for row in conclusion.rows)}",
        columns,
        conclusion.rows,
        caption=_caption(gate_file, conclusion),
        facts=_facts(gate_file, conclusion),
        notes=[
            *_reasons(conclusion),
            *(("", f"block {index + 1} is void: {why}") for index, why in conclusion.voids),
        ],
        mark=lambda row: MARK_OF_OUTCOME[row.verdict],
        tone=lambda row: tone_of_outcome(row.verdict),
    )


def is_latency(gate_file: GateFile) -> bool:
    """Tell whether a gate is about the latency of single images."""
    return gate_file.plan.metric is GateMetric.LATENCY


_PERCENTILE: Final[Column[GateRow]] = make_column(
    "percentile",
    text=lambda row: None if row.percentile is None else percentile_name(row.percentile),
    number=False,
    priority=0,
    explanation="of the queries of a turn: p99 is the time that 99 % of them do not exceed",
)
_TIMES: Final = {
    GateMetric.THROUGHPUT: "time per image",
    GateMetric.LATENCY: "that percentile of the time of a single image's prediction, mean over turns",
}


def _reasons(conclusion: Conclusion) -> list[tuple[str, str]]:
    """Return why each row has its verdict; what holds for all of several is said once."""
    alike: dict[tuple[Verdict, str], list[str]] = {}
    for row in conclusion.rows:
        alike.setdefault((row.verdict, row.reason), []).append(row.name)
    everything = len(alike) == 1 < len(conclusion.rows)
    return [
        (MARK_OF_OUTCOME[verdict], f"{'all rows' if everything else '; '.join(names)}: {reason}")
        for (verdict, reason), names in alike.items()
    ]


def gate_cases(conclusion: Conclusion) -> list[JUnitCase]:
    """Return one test case per scenario."""
    return [
        JUnitCase(
            name=clean_text(row.name),
            seconds=None,
            outcome=OUTCOME_OF_VERDICT[row.verdict],
            message=clean_text(f"{row.verdict}: {row.reason}"),
            detail=clean_text(
                f"{'no result' if row.ratio is None else format_change(row.ratio)}, n = {row.n}"
                + ("" if row.detectable is None else f", detectable from {units.percentage(row.detectable)}")
            ),
        )
        for row in conclusion.rows
    ]


def _scale(gate_file: GateFile, conclusion: Conclusion) -> float:
    """Return how far the pictures of intervals reach either way, as a logarithm: to the tolerance at least."""
    ends = [
        abs(math.log(end))
        for row in conclusion.rows
        if row.ratio is not None
        for end in (row.ratio.lower, row.ratio.value, row.ratio.upper)
        if end is not None and 0 < end < math.inf
    ]
    return max([math.log1p(gate_file.plan.tolerance), *ends])


def _draw_interval(row: GateRow, most: float) -> str | None:
    if row.ratio is None or not 0 < row.ratio.value < math.inf:
        return None
    ends = [None if end is None else math.log(end) if end > 0 else -most for end in (row.ratio.lower, row.ratio.upper)]
    return interval(math.log(row.ratio.value), ends[0], ends[1], most)


def _columns(gate_file: GateFile, conclusion: Conclusion) -> list[Column[GateRow]]:
    plan, scale = gate_file.plan, _scale(gate_file, conclusion)
    most = max((row.n for row in conclusion.rows), default=0)
    least_p = min(1.0, 2.0**-most * len(plan.scenarios) * len(plan.looks))
    return [
        make_column("n", key="n_blocks", priority=1, explanation="valid blocks of four passes"),
        make_change_column(
            "ratio",
            key="time_ratio",
            title="time per image\n[95 % interval]",
            priority=0,
            explanation=f"{_TIMES[plan.metric]}, contender against baseline, and its 95 % t interval over blocks (log "
            "scale); a negative end lies on the other side: faster where it says slower",
        ),
        make_column(
            "picture",
            lambda row: _draw_interval(row, scale),
            title="faster   │   slower",
            priority=3,
            picture=True,
            explanation=f"the same, from {units.points(-scale)} to +{units.points(scale)} %",
        ),
        make_column(
            "threshold",
            unit=units.percentage,
            title="no harm\nbelow",
            priority=5,
            explanation="slower by less is nobody's regression: the margin or, if greater, the noise floor here",
        ),
        make_column(
            "detectable",
            unit=units.percentage,
            key="detectable_slowdown",
            title="detects\nfrom",
            priority=2,
            explanation=f"the slowdown that such blocks would have suspected in {10 * POWER:.0f} of 10 gates",
        ),
        make_column(
            "control",
            key="control_ratio",
            title="control\n(A/A)",
            priority=7,
            text=lambda row: None if row.control is None else f"{units.signed(row.control.value)} %",
            detail=lambda control: ends(control, units.signed),
            explanation="the blocks' comparison of each side with itself; off zero the row is invalid",
        ),
        make_column(
            "accuracy_difference",
            lambda row: None if row.accuracy is None else row.accuracy.value,
            units.accuracy_change,
            title="accuracy\nchange",
            priority=4,
            explanation="after the same few windows from the same seed, contender's less baseline's, mean over blocks",
        ),
        make_column("accuracy_lower", lambda row: None if row.accuracy is None else row.accuracy.lower),
        make_column("accuracy_upper", lambda row: None if row.accuracy is None else row.accuracy.upper),
        make_column(
            "p_value",
            unit=lambda value: f"{value:.2g}",
            title="p",
            priority=8,
            explanation=f"of being no slower than that: exact sign-flip test, adjusted for "
            f"{format_count(len(plan.scenarios), 'scenario')} (Holm) and {format_count(len(plan.looks), 'look')}; "
            f"alpha {plan.alpha:g}; {format_count(most, 'block')} can give {least_p:.2g} at least",
        ),
        make_change_column(
            "confirmation",
            key="confirmation_ratio",
            priority=3,
            explanation="the change in fresh blocks of the suspects alone",
        ),
        make_column("reason", number=False),
    ]


def _verdict_column(gate_file: GateFile) -> Column[GateRow]:
    """Make the first column: on a narrow screen nothing else may be in sight."""
    return make_column(
        "verdict", lambda row: str(row.verdict), number=False, priority=0, explanation=_verdicts(gate_file)
    )


def _verdicts(gate_file: GateFile) -> str:
    plan = gate_file.plan
    return (
        f"regressed: surely slower than the threshold (family-wise error {plan.alpha:g}), and again in fresh blocks, "
        f"or less accurate by more than {plan.accuracy_margin:g}; improved: as surely faster; unchanged: surely less "
        f"than {units.percentage(plan.tolerance)} slower; inconclusive: neither; underpowered: too few blocks to show "
        "anything; invalid: the measurement contradicts the test's assumptions"
    )


def _caption(gate_file: GateFile, conclusion: Conclusion) -> list[tuple[str, str]]:
    plan = gate_file.plan
    scenarios = list(dict.fromkeys(planned.scenario for planned in plan.scenarios))
    orders = [block.order for block in gate_file.blocks]
    seconds = sum(block.seconds for block in gate_file.blocks)
    blocks = (
        f"{len(orders)} in {units.seconds(seconds)} ({orders.count(Order.ABBA)} ABBA, {orders.count(Order.BAAB)} BAAB)"
        f", {len(conclusion.voids)} void; suite {plan.suite}, seed {plan.seed}, {gate_file.created_at}"
    )
    return [
        ("baseline", describe_side(gate_file.baseline)),
        ("contender", describe_side(gate_file.contender)),
        *_software_difference(gate_file),
        *file_caption(gate_file),
        *([("latency", METHOD)] if is_latency(gate_file) else []),
        ("blocks", blocks),
        *health_caption(session_health([block.health for block in gate_file.blocks], _switches_per_second(gate_file))),
        *(("note", text) for text in _cautions(gate_file)),
        *shared_setting(scenarios),
        *virtual_contexts(scenarios),
    ]


def _cautions(gate_file: GateFile) -> Iterator[str]:
    """Yield what a reader of the verdicts has to know of how they came to be."""
    if (ahead := gate_file.baseline.commits_ahead) is not None:
        yield (
            f"the baseline had {format_count(ahead, 'commit')} to the measured code that the contender lacked: what "
            "they changed is in every verdict"
        )
    if own := own_networks(planned.scenario for planned in gate_file.plan.scenarios):
        yield f"{own}: {OWN_CODE_IS_THE_SAME}"
    if is_latency(gate_file):
        yield _NEVER_CALIBRATED
    elif any(planned.noise_floor is None for planned in gate_file.plan.scenarios):
        yield _NO_CALIBRATION


OWN_CODE_IS_THE_SAME: Final = "your own code is the same on both sides; only what mnist_core does with it is judged"


def own_networks(scenarios: Iterable[Scenario]) -> str:
    """Name the user's own networks among scenarios; "" for none."""
    return ", ".join(dict.fromkeys(scenario.network for scenario in scenarios if is_custom(scenario.network)))


def _switches_per_second(gate_file: GateFile) -> Iterator[float]:
    """Yield how often the kernel took a core away in a second of each process's windows."""
    for block in gate_file.blocks:
        for each in (each for invocation in block.passes for each in invocation.scenarios):
            yield each.involuntary_context_switches / sum(each.window_seconds)


_NO_CALIBRATION: Final = (
    "no calibration of this machine for some scenario: its threshold is the margin, whatever identical code differs by "
    "(mnist-bench calibrate)"
)


_NEVER_CALIBRATED: Final = "mnist-bench calibrate measures training alone: the threshold of a latency is the margin"


def describe_side(side: SideDescription) -> str:
    """Name the code of a side: main (13f996bd01), code c0ffee1234."""
    commit = "" if side.git_commit is None else f" ({shorten_hash(side.git_commit)})"
    return f"{side.name}{commit}, code {shorten_hash(side.tree_digest)}"


def _software_difference(gate_file: GateFile) -> list[tuple[str, str]]:
    before, after = gate_file.baseline.software, gate_file.contender.software
    facts = ("framework", "framework_version", "numpy", "python", "framework_features")
    changed = [
        f"{fact.replace('_', ' ')} {getattr(before, fact)} → {getattr(after, fact)}"
        for fact in facts
        if getattr(before, fact) != getattr(after, fact)
    ]
    return [("differs", ", ".join(changed))] if changed else []


def _facts(gate_file: GateFile, conclusion: Conclusion) -> dict[str, Fact]:
    plan = gate_file.plan
    return {
        "verdict": str(conclusion.verdict),
        "created_at": gate_file.created_at,
        "baseline": gate_file.baseline.name,
        "baseline_commit": gate_file.baseline.git_commit,
        "baseline_tree_digest": gate_file.baseline.tree_digest,
        "contender": gate_file.contender.name,
        "contender_tree_digest": gate_file.contender.tree_digest,
        "dataset": gate_file.dataset.name,
        "dataset_digest": gate_file.dataset.digest,
        "metric": str(plan.metric),
        **facts_of(plan, "suite", "seed", "margin", "tolerance", "alpha"),
        "blocks": conclusion.blocks,
        "void_blocks": len(conclusion.voids),
        "is_calibration": plan.purpose is Purpose.CALIBRATION,
    }

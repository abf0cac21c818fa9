"""A gate's conclusion, and a machine's calibration -> tables and test cases. `gate.decision` decided it all."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from bench.analysis.verdict import Verdict
from bench.experiments.gate.decision import Conclusion
from bench.experiments.gate.look import GateRow
from bench.records.gate import GateFile, Purpose, SideDescription
from bench.render import units
from bench.render.model.captions import (
    describe_dataset,
    describe_machine,
    describe_setting,
    describe_versions,
    virtual_contexts,
)
from bench.render.model.cases import CaseOutcome, JUnitCase
from bench.render.model.columns import MAIN_AXES, SHOWN_AXES, Column, OfScenario, make_column
from bench.render.model.marks import MARK_OF_VERDICT, TONE_OF_VERDICT
from bench.render.model.table import Fact, Table, TableRow, cell_of, hidden_column
from bench.render.phrases import change, clean_text, ends, format_change, format_count
from bench.render.sparklines import interval
from bench.scenarios.scenario import Scenario, axis_value
from bench.stats.intervals import POWER
from bench.stats.paired import Order

_Text = Callable[[GateRow], str | None]

#: Of a commit or a digest, as people write one.
_SHORT: Final = 10

_CASES: Final[Mapping[Verdict, CaseOutcome]] = {
    Verdict.REGRESSED: CaseOutcome.FAILURE,
    Verdict.MISSING: CaseOutcome.FAILURE,
    Verdict.INVALID: CaseOutcome.ERROR,
    Verdict.INCONCLUSIVE: CaseOutcome.ERROR,
    Verdict.UNDERPOWERED: CaseOutcome.ERROR,
}


def gate_table(gate_file: GateFile, conclusion: Conclusion) -> Table:
    """One row per planned scenario; below it why, and what happened to the blocks."""
    columns: list[Column[GateRow]] = [
        *varying_axes([row.scenario for row in conclusion.rows]),
        *_columns(gate_file, _scale(gate_file, conclusion)),
    ]
    return Table(
        title=clean_text(f"gate: {conclusion.verdict}"),
        caption=tuple((label, clean_text(text)) for label, text in _caption(gate_file, conclusion)),
        facts=_facts(gate_file, conclusion),
        headings=tuple(column.heading for column in columns),
        rows=tuple(
            TableRow(
                cells=tuple(cell_of(column, row) for column in columns),
                mark=MARK_OF_VERDICT[row.verdict],
                tone=TONE_OF_VERDICT[row.verdict],
            )
            for row in conclusion.rows
        ),
        notes=tuple((mark, clean_text(text)) for mark, text in _notes(conclusion)),
    )


def gate_cases(conclusion: Conclusion) -> list[JUnitCase]:
    """One test case per scenario; what could not be decided is an error: most readers show a skipped case as green."""
    return [
        JUnitCase(
            name=clean_text(row.scenario.name),
            seconds=None,
            outcome=_CASES.get(row.verdict, CaseOutcome.PASSED),
            message=clean_text(f"{row.verdict}: {row.reason}"),
            detail=clean_text(
                f"{'no result' if row.ratio is None else format_change(row.ratio)}, n = {row.n}"
                + ("" if row.detectable is None else f", detectable from {units.percentage(row.detectable)}")
            ),
        )
        for row in conclusion.rows
    ]


def _varies(axis: Column[OfScenario], scenarios: Sequence[Scenario]) -> bool:
    return len({axis_value(each, axis.heading.name) for each in scenarios}) > 1


def varying_axes(scenarios: Sequence[Scenario]) -> list[Column[OfScenario]]:
    """The network, and what tells the rows apart; the rest is said once, by `common_setting`."""
    ordered = sorted(SHOWN_AXES, key=lambda axis: (axis.heading.name != "network", axis.heading.name not in MAIN_AXES))
    return [
        axis if axis.heading.name == "network" or _varies(axis, scenarios) else hidden_column(axis) for axis in ordered
    ]


def common_setting(scenarios: Sequence[Scenario]) -> list[tuple[str, str]]:
    same = [axis for axis in SHOWN_AXES if axis.heading.name != "network" and not _varies(axis, scenarios)]
    words = describe_setting(scenarios[0], same)
    return [("all rows", words)] if words else []


def _scale(gate_file: GateFile, conclusion: Conclusion) -> float:
    """How far an interval's picture reaches either way: to the tolerance at least, as a logarithm."""
    ends = [
        abs(math.log(end))
        for row in conclusion.rows
        if row.ratio is not None
        for end in (row.ratio.lower, row.ratio.value, row.ratio.upper)
        if end is not None and 0 < end < math.inf
    ]
    return max([math.log1p(gate_file.plan.tolerance), *ends])


def _drawn(row: GateRow, most: float) -> str | None:
    if row.ratio is None or not 0 < row.ratio.value < math.inf:
        return None
    ends = [None if end is None else math.log(end) if end > 0 else -most for end in (row.ratio.lower, row.ratio.upper)]
    return interval(math.log(row.ratio.value), ends[0], ends[1], most)


def _columns(gate_file: GateFile, scale: float) -> list[Column[GateRow]]:
    plan = gate_file.plan

    def of_ratio(part: int) -> _Text:
        return lambda row: None if row.ratio is None else change(row.ratio)[part]

    return [
        make_column("n", lambda row: row.n, key="n_blocks", priority=6, explanation="valid blocks of four passes"),
        make_column(
            "ratio",
            lambda row: row.ratio,
            key="time_ratio",
            title="time per image\n[95 % interval]",
            interval=True,
            priority=0,
            text=of_ratio(0),
            detail=lambda row: of_ratio(1)(row) or "",
            explanation="time per image, contender against baseline, and its 95 % t interval over blocks (log scale); "
            "a negative end lies on the other side: faster where it says slower",
        ),
        make_column(
            "picture",
            lambda row: _drawn(row, scale),
            title="faster   │   slower",
            number=False,
            priority=3,
            picture=True,
            explanation=f"the same, from {units.points(-scale)} to +{units.points(scale)} %",
        ),
        make_column(
            "verdict", lambda row: str(row.verdict), number=False, priority=0, explanation=_verdicts(gate_file)
        ),
        make_column(
            "threshold",
            lambda row: row.threshold,
            units.percentage,
            title="no harm\nbelow",
            priority=5,
            explanation="slower by less is nobody's regression: the margin or, if greater, the noise floor here",
        ),
        make_column(
            "detectable",
            lambda row: row.detectable,
            units.percentage,
            key="detectable_slowdown",
            title="detects\nfrom",
            priority=2,
            explanation=f"the slowdown that such blocks would have suspected in {10 * POWER:.0f} of 10 gates",
        ),
        make_column(
            "control",
            lambda row: row.control,
            key="control_ratio",
            title="control\n(A/A)",
            interval=True,
            priority=7,
            text=lambda row: None if row.control is None else f"{units.signed(row.control.value)} %",
            detail=lambda row: "" if row.control is None else ends(row.control, units.signed),
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
            lambda row: row.p_value,
            lambda value: f"{value:.2g}",
            title="p",
            priority=8,
            explanation=f"of being no slower than that: exact sign-flip test, adjusted for "
            f"{format_count(len(plan.scenarios), 'scenario')} (Holm) and {format_count(len(plan.looks), 'look')}; "
            f"alpha {plan.alpha:g}",
        ),
        make_column(
            "confirmation",
            lambda row: row.confirmation,
            key="confirmation_ratio",
            title="confirmation",
            interval=True,
            priority=3,
            text=lambda row: None if row.confirmation is None else change(row.confirmation)[0],
            detail=lambda row: "" if row.confirmation is None else change(row.confirmation)[1],
            explanation="the change in fresh blocks of the suspects alone",
        ),
        make_column("reason", lambda row: row.reason, number=False),
    ]


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
    orders = [block.order for block in gate_file.blocks]
    seconds = sum(block.seconds for block in gate_file.blocks)
    return [
        ("baseline", describe_side(gate_file.baseline)),
        ("contender", describe_side(gate_file.contender)),
        *_software_difference(gate_file),
        ("data", describe_dataset(gate_file.dataset)),
        ("machine", describe_machine(gate_file.environment)),
        ("software", describe_versions(gate_file.environment)),
        (
            "blocks",
            (
                f"{len(orders)} in {units.seconds(seconds)} ({orders.count(Order.ABBA)} ABBA, "
                f"{orders.count(Order.BAAB)} BAAB), {len(conclusion.voids)} void; suite {plan.suite}, "
                f"seed {plan.seed}, {gate_file.created_at}"
            ),
        ),
        *([("note", _NO_CALIBRATION)] if any(each.noise_floor is None for each in plan.scenarios) else []),
        *common_setting([each.scenario for each in plan.scenarios]),
        *virtual_contexts(each.scenario for each in plan.scenarios),
    ]


_NO_CALIBRATION: Final = (
    "no calibration of this machine for some scenario: its threshold is the margin, whatever identical code differs by "
    "(mnist-bench calibrate)"
)


def describe_side(side: SideDescription) -> str:
    """main (13f996bd01), code c0ffee1234."""
    commit = "" if side.git_commit is None else f" ({side.git_commit[:_SHORT]})"
    return f"{side.name}{commit}, code {side.tree_digest[:_SHORT]}"


def _software_difference(gate_file: GateFile) -> list[tuple[str, str]]:
    before, after = gate_file.baseline.software, gate_file.contender.software
    facts = ("framework", "framework_version", "numpy", "python", "framework_features")
    changed = [
        f"{fact.replace('_', ' ')} {getattr(before, fact)} → {getattr(after, fact)}"
        for fact in facts
        if getattr(before, fact) != getattr(after, fact)
    ]
    return [("differs", ", ".join(changed))] if changed else []


def _notes(conclusion: Conclusion) -> list[tuple[str, str]]:
    notes = [(MARK_OF_VERDICT[row.verdict], f"{row.scenario.name}: {row.reason}") for row in conclusion.rows]
    notes += [("", f"block {index + 1} is void: {why}") for index, why in conclusion.voids]
    return notes


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
        "suite": plan.suite,
        "seed": plan.seed,
        "margin": plan.margin,
        "tolerance": plan.tolerance,
        "alpha": plan.alpha,
        "blocks": conclusion.blocks,
        "void_blocks": len(conclusion.voids),
        "is_calibration": plan.purpose is Purpose.CALIBRATION,
    }

"""A gate's blocks -> a picture per scenario, and its verdict in a sentence each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from bench.analysis.verdict import Verdict
from bench.experiments.gate.decision import Conclusion
from bench.experiments.gate.evidence import BlockEvidence
from bench.experiments.gate.look import GateRow
from bench.records.gate import GateFile, GatePhase
from bench.render import units
from bench.render.model.document import Picture
from bench.render.phrases import clean_text, format_change, format_count
from bench.render.report.pictures import charts
from bench.render.report.pictures.charts import Axis, Plotted, Point

_SAID_BY_NUMBERS = frozenset({Verdict.REGRESSED, Verdict.IMPROVED})


def gate_sentences(file: GateFile, conclusion: Conclusion) -> Iterator[str]:
    """The verdict; then every scenario that is not simply unchanged, with its numbers."""
    same = " (both sides are the same code)" if file.baseline.tree_digest == file.contender.tree_digest else ""
    yield f"the gate's verdict is {conclusion.verdict}{same}, after {format_count(conclusion.blocks, 'block')}."
    for row in conclusion.rows:
        if row.verdict is not Verdict.UNCHANGED:
            found = "" if row.ratio is None else f": {_over(row)}"
            reason = "" if row.verdict in _SAID_BY_NUMBERS or not row.reason else f" ({row.reason})"
            yield f"{row.name} {row.verdict}{found}{reason}."


def _over(row: GateRow) -> str:
    """8.5 % slower [6.7, 10] over 8 blocks, and 9.2 % slower [4.2, 14] in 5 fresh ones."""
    if row.ratio is None:
        return "no valid block"
    text = f"{format_change(row.ratio)} over {format_count(row.n, 'block')}"
    if row.confirmation is not None:
        fresh = format_count(row.confirmation.n, "fresh one")
        text += f", and {format_change(row.confirmation)} in {fresh}"
    return text


def draw_gate(key: str, conclusion: Conclusion, evidence: Sequence[BlockEvidence]) -> tuple[Picture, ...]:
    """Draw a picture for each row; all have the same axis, and the first one's legend is that of all."""
    rows = [row for row in conclusion.rows if any(row.key in block.rows for block in evidence)]
    ends = _ends(rows, evidence)
    return tuple(
        _draw_blocks(f"{key}-{number}", row, evidence, ends, is_first=number == 0) for number, row in enumerate(rows)
    )


def _ends(rows: Sequence[GateRow], evidence: Sequence[BlockEvidence]) -> tuple[float, float] | None:
    """Return the ends of an axis that has room for every number of every row; None where one is no number."""
    found = [block.rows[row.key] for row in rows for block in evidence if row.key in block.rows]
    logarithms = [number for each in found for number in (each.effect, each.control)]
    numbers = [0.0, *(100 * math.expm1(number) for number in logarithms), *(100 * row.threshold for row in rows)]
    low, high = min(numbers), max(numbers)
    margin = 0.05 * (high - low)
    return (low - margin, high + margin) if math.isfinite(high - low) and margin > 0 else None


def _draw_blocks(
    key: str, row: GateRow, evidence: Sequence[BlockEvidence], ends: tuple[float, float] | None, *, is_first: bool
) -> Picture:
    """Each block's effect beside its control: what counted, what confirmed, what did not count."""
    points: dict[str, list[Point]] = {name: [] for name in _SERIES}
    for number, block in enumerate(evidence, start=1):
        if row.key not in block.rows:
            continue
        found = block.rows[row.key]
        series = _CONFIRMATION if block.phase is GatePhase.CONFIRMATION else _EFFECT
        if block.void is not None:
            series = _VOID
        where = f"block {number}, {block.phase}" + ("" if block.void is None else f", void: {block.void}")
        points[series].append(_percent_point(number, found.effect, f"{where}: contender's time per image"))
        if block.void is None:
            points[_CONTROL].append(_percent_point(number, found.control, f"{where}: the same side against itself"))
    # Also those that this row has none of, so that a sign means the same in every picture of the gate.
    used = {_EFFECT, _CONTROL, *(_VOID for block in evidence if block.void is not None)}
    used |= {_CONFIRMATION for block in evidence if block.phase is GatePhase.CONFIRMATION}
    lines = [
        Plotted(name, made, joined=False, filled=name not in {_VOID, _CONTROL})
        for name, made in points.items()
        if name in used
    ]
    span = (1, max(len(evidence), 2))
    levels = {"no difference": 0.0, f"slower by {units.percentage(row.threshold)}: more is harm": 100 * row.threshold}
    references = [Plotted(name, [Point(x, level, "") for x in span]) for name, level in levels.items()]
    name = clean_text(row.name)
    title = f"{name}: {row.verdict}"
    alternative = (
        f"{title}. Blocks 1 to {span[1]}, the contender's time per image against the baseline's. {_over(row)}."
    )
    method = (
        "Each block compares four processes that took turns. Harm is what keeps above the upper line; the control must "
        "scatter around zero. All pictures of this gate have these signs and this axis. "
    )
    return charts.draw_lines(
        key,
        lines,
        title=title,
        caption=f"{method if is_first else ''}{_over(row)[0].upper()}{_over(row)[1:]} (95 % t interval over blocks).",
        alternative=alternative,
        x=Axis(title="block", whole=True),
        y=Axis(title="% more time per image", ends=ends),
        references=references,
        legend=is_first,
    )


_EFFECT = "contender against baseline"
_CONTROL = "control: each side against itself"
_CONFIRMATION = "contender against baseline, to confirm"
_VOID = "void: the machine was disturbed, not counted"
_SERIES = (_EFFECT, _CONTROL, _CONFIRMATION, _VOID)


def _percent_point(x: float, logarithm: float, words: str) -> Point:
    percent = 100 * math.expm1(logarithm)
    return Point(x, percent, f"{words} {percent:+.1f} %")

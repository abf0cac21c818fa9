"""Progress of a gate: block by block, the verdict on each scenario so far, and how much of the budget is left."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from rich.console import Console

from bench.analysis.verdict import Verdict
from bench.experiments.gate.decision import Conclusion, Wanted
from bench.experiments.gate.look import GateRow
from bench.records.gate import Block, GatePhase
from bench.render import units
from bench.render.phrases import format_change, format_count
from bench.render.progress.live import LiveLine
from bench.scenarios.scenario import Scenario
from bench.stats.paired import Order


class GateProgress(LiveLine):
    """Observes a gate: a line per block and scenario, and on a terminal also what is measured now.

    The time left is that of the budget. A calibration has none: then it is that of the blocks that it still wants, by
    the mean duration of its blocks so far.
    """

    def __init__(self, console: Console, budget_seconds: float, blocks: Iterable[Block] = ()) -> None:
        super().__init__(console, self._text)
        self._budget_ends_at = console.get_time() + budget_seconds
        self._block = "starting"
        self._scenario = ""
        self._block_began_at = console.get_time()
        self._block_seconds = [block.seconds for block in blocks]
        #: The evidence is looked at after the block in progress, if that is valid.
        self._ends_look = False
        #: Blocks left, with the one in progress; None: unknown.
        self._blocks_left: int | None = None

    def block_started(self, index: int, wanted: Wanted, order: Order) -> None:
        self._scenario = ""
        self._block_began_at = self._console.get_time()
        self._ends_look = wanted.done + 1 == wanted.until
        if self._has_budget:
            what = f"block {index + 1}" if wanted.phase is GatePhase.MAIN else f"block {index + 1} (confirmation)"
            self._block = f"{what}, {order}, {wanted.done + 1} of {wanted.until} before the next look"
        else:
            self._blocks_left = wanted.until - wanted.done
            self._block = f"block {index + 1} of {index + self._blocks_left}, {order}"

    def scenario_started(self, scenario: Scenario) -> None:
        self._scenario = f" · {scenario.name}"

    def block_finished(self, block: Block, conclusion: Conclusion, seconds_left: float) -> None:
        self._block_seconds.append(block.seconds)
        self._block_began_at = self._console.get_time()
        if self._has_budget:
            self._budget_ends_at = self._console.get_time() + seconds_left
            of, left = "", f", {units.roughly(max(0.0, seconds_left))} of the budget left"
        else:
            wanted = conclusion.wanted
            self._blocks_left = 0 if wanted is None else wanted.until - wanted.done
            of, left = f" of {block.index + 1 + self._blocks_left}", self._format_left(", ")
        head = f"block {block.index + 1}{of}: {units.seconds(block.seconds)}, {block.phase}, {block.order}{left}"
        void = next((why for index, why in conclusion.voids if index == block.index), None)
        if block.failure is not None:
            self._print(f"{head}: FAILED ({block.failure.side}): {block.failure.detail}", style="bold red")
        elif void is not None:
            self._print(f"{head}: VOID: {void}", style="yellow")
        else:
            self._print(head)
            for row in conclusion.rows:
                self._print(f"    {_describe(row, conclusion.wanted)}")
            if self._ends_look and self._has_budget and conclusion.wanted is not None:
                self._print(f"    {_describe_wanted(conclusion.wanted)}")

    @property
    def _has_budget(self) -> bool:
        return not math.isinf(self._budget_ends_at)

    def _text(self) -> str:
        # What a narrow terminal cuts off is the scenario, not the time.
        return f"{self._block}{self._format_left(' · ')}{self._scenario}"

    def _format_left(self, separator: str) -> str:
        if self._has_budget:
            left = max(0.0, self._budget_ends_at - self._console.get_time())
            return f"{separator}{units.roughly(left)} of the budget left"
        if not self._blocks_left or not self._block_seconds:
            return ""
        mean_seconds = statistics.fmean(self._block_seconds)
        return separator + self._format_pieces_left(self._blocks_left, mean_seconds, self._block_began_at)


def _describe(row: GateRow, wanted: Wanted | None) -> str:
    ratio = "no result yet" if row.ratio is None else format_change(row.ratio)
    again = ""
    if row.confirmation is not None:
        again = f", in {format_count(row.confirmation.n, 'fresh block')} {format_change(row.confirmation)}"
    why = "" if row.verdict.passes or row.verdict is Verdict.UNDERPOWERED else f": {row.reason}"
    verdict = f"{row.verdict}{why}"
    suspects = wanted.scenarios if wanted is not None and wanted.phase is GatePhase.CONFIRMATION else ()
    if wanted is not None and row.key in {gated.key for gated in suspects}:
        verdict = f"suspected, being confirmed ({wanted.done} of {wanted.until})"
    return f"{row.name}: {ratio}, n = {row.n}{again}, {verdict}"


def _describe_wanted(wanted: Wanted) -> str:
    """Say after a look what is measured next, and for which scenarios."""
    if wanted.phase is GatePhase.CONFIRMATION:
        names = "; ".join(gated.name for gated in wanted.scenarios)
        return f"suspected: {names}; {wanted.until - wanted.done} fresh blocks must show it again"
    return f"not decided yet: all are judged again after {wanted.until - wanted.done} more blocks"

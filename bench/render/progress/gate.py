"""What a gate shows while it lasts: block by block, where each scenario stands and how much of the budget is left."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

from rich.console import Console

from bench.experiments.gate.decision import Conclusion, Wanted
from bench.experiments.gate.look import GateRow
from bench.experiments.run import eta
from bench.records.gate import Block, GatePhase
from bench.render import units
from bench.render.formats.text import print_line
from bench.render.phrases import format_change
from bench.render.progress.live import LiveLine, LiveProgress
from bench.scenarios.scenario import Scenario
from bench.stats.paired import Order


class GateProgress(LiveProgress):
    """A `GateObserver`: a line per block and scenario; on a terminal also what is measured just now.

    The time left is the budget's; a recording has none, and then it is that of the blocks it still wants, by the mean
    of those that are there.
    """

    def __init__(self, console: Console, budget_seconds: float, blocks: Iterable[Block] = ()) -> None:
        self._console = console
        self._budget_ends_at = console.get_time() + budget_seconds
        self._live = LiveLine(console, self._words)
        self._block = "starting"
        self._scenario = ""
        self._block_began_at = console.get_time()
        self._block_seconds = [block.seconds for block in blocks]
        #: Begun ones included; None: nobody knows.
        self._blocks_left: int | None = None

    def block_started(self, index: int, wanted: Wanted, order: Order) -> None:
        self._scenario = ""
        self._block_began_at = self._console.get_time()
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
            of, left = f" of {block.index + 1 + self._blocks_left}", self._left_words(", ")
        head = f"block {block.index + 1}{of}: {units.seconds(block.seconds)}, {block.phase}, {block.order}{left}"
        void = next((why for index, why in conclusion.voids if index == block.index), None)
        if block.failure is not None:
            self._print(f"{head}: FAILED ({block.failure.side}): {block.failure.detail}", style="bold red")
        elif void is not None:
            self._print(f"{head}: VOID: {void}", style="yellow")
        else:
            self._print(head)
            for row in conclusion.rows:
                self._print(f"    {_standing(row)}")

    @property
    def _has_budget(self) -> bool:
        return not math.isinf(self._budget_ends_at)

    def _words(self) -> str:
        # What a narrow terminal cuts off is the scenario, not the time.
        return f"{self._block}{self._left_words(' · ')}{self._scenario}"

    def _left_words(self, separator: str) -> str:
        now = self._console.get_time()
        if self._has_budget:
            return f"{separator}{units.roughly(max(0.0, self._budget_ends_at - now))} of the budget left"
        if not self._blocks_left or not self._block_seconds:
            return ""
        mean_seconds = statistics.fmean(self._block_seconds)
        left = eta.seconds_left(self._blocks_left, mean_seconds, now - self._block_began_at)
        return f"{separator}about {units.roughly(left)} left"

    def _print(self, line: str, style: str = "") -> None:
        print_line(self._console, line, style)


def _standing(row: GateRow) -> str:
    ratio = "no result yet" if row.ratio is None else format_change(row.ratio)
    again = (
        "" if row.confirmation is None else f", in {row.confirmation.n} fresh blocks {format_change(row.confirmation)}"
    )
    return f"{row.scenario.name}: {ratio}, n = {row.n}{again}, {row.verdict}"

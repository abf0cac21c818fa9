"""What a gate shows while it lasts: block by block, where each scenario stands and how much of the budget is left."""

from __future__ import annotations

import math

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from typing_extensions import Self

from bench.decide import Conclusion, GateRow, Wanted
from bench.gate_record import Block, Order, Phase
from bench.render import units
from bench.render.words import change_words
from bench.scenario import Scenario


class GateProgress:
    """A `GateObserver`: a line per block and scenario; on a terminal also what is measured just now."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = Status("starting", console=console)
        self._block = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._status.stop()

    def block_started(self, index: int, wanted: Wanted, order: Order) -> None:
        what = f"block {index + 1}" if wanted.phase is Phase.MAIN else f"block {index + 1} (confirmation)"
        self._block = f"{what}, {order}, {wanted.done + 1} of {wanted.until} before the next look"
        self._status.update(escape(self._block))

    def scenario_started(self, scenario: Scenario) -> None:
        self._status.update(escape(f"{self._block}: {scenario.name}"))

    def block_finished(self, block: Block, conclusion: Conclusion, seconds_left: float) -> None:
        left = "" if math.isinf(seconds_left) else f", {units.seconds(max(0.0, seconds_left))} left"
        head = f"block {block.index + 1}: {units.seconds(block.seconds)}, {block.phase}, {block.order}{left}"
        void = next((why for index, why in conclusion.voids if index == block.index), None)
        if block.failure is not None:
            self._print(f"{head}: FAILED ({block.failure.side}): {block.failure.detail}", style="bold red")
        elif void is not None:
            self._print(f"{head}: VOID: {void}", style="yellow")
        else:
            self._print(head)
            for row in conclusion.rows:
                self._print(f"    {_standing(row)}")

    def _print(self, line: str, style: str = "") -> None:
        self._console.print(escape(line), style=style, highlight=False, soft_wrap=True)


def _standing(row: GateRow) -> str:
    ratio = "no result yet" if row.ratio is None else change_words(row.ratio)
    again = (
        "" if row.confirmation is None else f", in {row.confirmation.n} fresh blocks {change_words(row.confirmation)}"
    )
    return f"{row.scenario.name}: {ratio}, n = {row.n}{again}, {row.verdict}"

"""What a run shows while it lasts: a live bar on a terminal, plain lines everywhere else."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text
from typing_extensions import Self

from bench.record import Epoch, Failure, Run, RunKey, key
from bench.scenario import PlannedRun


class RunProgress:
    """An `Observer` that shows which scenario, which epoch, the throughput now and the time left.

    `expected_seconds` weighs the runs; the time left is theirs, scaled by how long the finished ones really took.
    """

    def __init__(
        self,
        console: Console,
        expected_seconds: Mapping[RunKey, float],
        *,
        tutorial_lines: bool = False,
        verbose: bool = False,
    ) -> None:
        self._console = console
        self._expected = expected_seconds
        self._tutorial_lines = tutorial_lines
        self._verbose = verbose
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("runs ·"),
            TimeElapsedColumn(),
            TextColumn("· {task.fields[left]} left"),
            console=console,
        )
        self._task = self._progress.add_task("measuring", total=len(expected_seconds), left="?")
        self._current = Text("starting")
        self._live = Live(Group(self._progress, self._current), console=console, transient=True)
        self._finished_expected = 0.0

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def started(self, planned: PlannedRun, position: int, total: int) -> None:
        if self._console.is_terminal:
            self._show(planned, "starting", done=0.0)
        else:
            self._print(f"[{position}/{total}] {_describe(planned)}")

    def epoch(self, planned: PlannedRun, index: int, epoch: Epoch) -> None:
        line = (
            f"epoch {index + 1}/{planned.recipe.epochs}: {epoch.samples / epoch.epoch_seconds:,.0f} images/s, "
            f"{epoch.epoch_seconds:.2f} s, test accuracy {epoch.test_accuracy:.4f}"
        )
        if self._tutorial_lines:
            self._print(f"training acc at epoch {index}: accuracy={epoch.train_accuracy:f}")
        if self._console.is_terminal:
            self._show(planned, line, done=(index + 1) / planned.recipe.epochs)
        elif planned.recipe.epochs > 1 and not self._tutorial_lines:
            self._print(f"    {line}")

    def finished(self, planned: PlannedRun, outcome: Run | Failure) -> None:
        self._finished_expected += self._expected[key(planned)]
        self._progress.advance(self._task)
        if isinstance(outcome, Failure):
            self._print(f"FAILED ({outcome.reason}) {_describe(planned)}: {outcome.detail}", style="bold red")
            if self._verbose and outcome.log:
                self._print(outcome.log.rstrip(), style="dim")
            return
        if self._tutorial_lines:
            self._print(f"validation acc: accuracy={outcome.final_accuracy:f}")
        if self._tutorial_lines or not self._console.is_terminal:
            seconds = sum(epoch.epoch_seconds for epoch in outcome.epochs)
            samples = sum(epoch.samples for epoch in outcome.epochs)
            self._print(f"    {samples / seconds:,.0f} images/s, final accuracy {outcome.final_accuracy:.4f}")

    def _print(self, line: str, style: str = "") -> None:
        self._console.print(escape(line), style=style, highlight=False, soft_wrap=True)

    def _show(self, planned: PlannedRun, line: str, done: float) -> None:
        self._current.plain = f"{_describe(planned)}: {line}"
        self._progress.update(self._task, left=_duration(self._seconds_left(planned, done)))

    def _seconds_left(self, planned: PlannedRun, done: float) -> float:
        spent = self._finished_expected + done * self._expected[key(planned)]
        elapsed = self._progress.tasks[0].elapsed or 0.0
        # Until a tenth is done the estimate knows more than the clock.
        total = sum(self._expected.values())
        pace = elapsed / spent if spent > total / 10 else 1.0
        return (total - spent) * pace


def _describe(planned: PlannedRun) -> str:
    return f"{planned.scenario.name} #{planned.repeat + 1}"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"

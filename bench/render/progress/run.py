"""Progress of a run: a live bar on a terminal, plain lines everywhere else."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text
from typing_extensions import Self

from bench.experiments.run.eta import pace
from bench.records.result import Epoch, Failure, FailureReason, Run, RunKey, key
from bench.render import units
from bench.render.formats.text import print_line
from bench.scenarios.suite import PlannedRun

#: Share of the expected time of an average run after which the observed pace counts as much as the estimate.
_TRUSTED_SHARE = 0.5
#: Start, set-up with the untimed turn, evaluation.
_STAGES_BESIDE_TURNS = 3


class RunProgress:
    """Observes a run: shows the scenario, the epoch, the throughput and the time left.

    `expected_seconds` weighs the runs; the time left is that of the remaining ones, at the pace of those that are done.
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
        self._total_seconds = sum(expected_seconds.values())
        #: Expected seconds of the finished runs, and of the successful ones alone; and what these really took.
        self._settled_seconds = 0.0
        self._done_seconds = 0.0
        self._real_seconds = 0.0
        #: The run that is measured, or the runs that take turns, which have had so many of them.
        self._running: tuple[PlannedRun, ...] = ()
        self._turns = 0
        self._share = 0.0
        self._started_at = self._told_at = console.get_time()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("·"),
            TimeElapsedColumn(),
            _LiveColumn(lambda: f"· {self._format_left()}"),
            console=console,
        )
        self._task = self._progress.add_task("measuring", total=len(expected_seconds))
        self._current = Text("starting")
        self._live = Live(Group(self._progress, self._current), console=console, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.stop()

    def started(self, unit: Sequence[PlannedRun], position: int, total: int) -> None:
        self._running, self._share, self._turns = tuple(unit), 0.0, 0
        self._started_at = self._told_at = self._console.get_time()
        if self._console.is_terminal:
            self._show(unit[0], "starting")
        elif len(unit) == 1:
            self._print(f"[{position}/{total}] {_describe(unit[0])} · {self._format_left()}")
        else:
            what = f"{len(unit)} scenarios of {unit[0].scenario.network} take turns #{unit[0].repeat + 1}"
            self._print(f"[{position}-{position + len(unit) - 1}/{total}] {what} · {self._format_left()}")

    def turn(self, planned: PlannedRun) -> None:
        self._turns += 1
        stages = len(self._running) * (planned.recipe.epochs + _STAGES_BESIDE_TURNS)
        self._share, self._told_at = min(1.0, self._turns / stages), self._console.get_time()
        if self._console.is_terminal:
            self._show(planned, f"turn of {len(self._running)} scenarios, {self._share:.0%} of the block")

    def epoch(self, planned: PlannedRun, index: int, epoch: Epoch) -> None:
        line = (
            f"epoch {index + 1}/{planned.recipe.epochs}: {epoch.samples / epoch.epoch_seconds:,.0f} images/s, "
            f"{epoch.epoch_seconds:.2f} s"
        )
        if epoch.test_accuracy is not None:
            line += f", test accuracy {epoch.test_accuracy:.4f}"
        self._share, self._told_at = (index + 1) / planned.recipe.epochs, self._console.get_time()
        if self._tutorial_lines:
            self._print(f"training acc at epoch {index}: accuracy={epoch.train_accuracy:f}")
        if self._console.is_terminal:
            self._show(planned, line)
        elif planned.recipe.epochs > 1 and not self._tutorial_lines:
            self._print(f"    {line}")

    def finished(self, planned: PlannedRun, outcome: Run | Failure) -> None:
        seconds = self._console.get_time() - self._started_at
        self._running, self._share = (), 0.0
        self._current.plain = ""
        self._started_at = self._told_at = self._console.get_time()
        if isinstance(outcome, Failure) and outcome.reason is FailureReason.INTERRUPTED:
            self._print(f"interrupted: {_describe(planned)}")
            return
        self._settled_seconds += self._expected[key(planned)]
        self._progress.advance(self._task)
        if isinstance(outcome, Failure):
            self._print(f"FAILED ({outcome.reason}) {_describe(planned)}: {outcome.detail}", style="bold red")
            if self._verbose and outcome.log:
                self._print(outcome.log.rstrip(), style="dim")
            return
        self._done_seconds += self._expected[key(planned)]
        self._real_seconds += seconds
        if self._tutorial_lines:
            self._print(f"validation acc: accuracy={outcome.final_accuracy:f}")
        if self._tutorial_lines or not self._console.is_terminal:
            trained = sum(epoch.epoch_seconds for epoch in outcome.epochs)
            samples = sum(epoch.samples for epoch in outcome.epochs)
            which = f"{planned.scenario.name}: " if planned.in_turns else ""
            self._print(f"    {which}{samples / trained:,.0f} images/s, final accuracy {outcome.final_accuracy:.4f}")

    def _print(self, line: str, style: str = "") -> None:
        print_line(self._console, line, style)

    def _show(self, planned: PlannedRun, line: str) -> None:
        self._current.plain = f"{_describe(planned)}: {line}"

    def _format_left(self) -> str:
        return f"about {units.roughly(self._seconds_left())} left"

    def _seconds_left(self) -> float:
        running = sum(self._expected[key(planned)] for planned in self._running)
        reached = self._share * running
        now_pace = pace(
            expected_seconds=self._done_seconds + reached,
            real_seconds=self._real_seconds + self._told_at - self._started_at,
            trusted_seconds=_TRUSTED_SHARE * self._total_seconds / max(1, len(self._expected)),
        )
        # A run that takes longer than expected is taken to end at once; the later ones keep their time.
        waited = self._console.get_time() - self._told_at
        later = self._total_seconds - self._settled_seconds - running
        return max(0.0, now_pace * (running - reached) - waited) + now_pace * later


class _LiveColumn(ProgressColumn):
    """A column whose text is made at every refresh: one that is written by events freezes between them."""

    def __init__(self, text: Callable[[], str]) -> None:
        super().__init__()
        self._text = text

    def render(self, task: Task) -> Text:  # noqa: ARG002  # rich's protocol
        return Text(self._text())


def _describe(planned: PlannedRun) -> str:
    return f"{planned.scenario.name} #{planned.repeat + 1}"

"""Progress of a run: a live bar on a terminal, plain lines everywhere else."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text
from typing_extensions import Self

from bench.analysis.groups import row_key, throughput
from bench.experiments.run import policy
from bench.experiments.run.eta import pace
from bench.experiments.run.policy import Contest, Reached
from bench.records.health import void_reason
from bench.records.result import Epoch, Failure, FailureReason, ResultSet, Run, key
from bench.render import phrases, units
from bench.render.formats.text import print_line
from bench.render.model.words.labels import labels_of
from bench.render.progress.live import moves_cursor
from bench.scenarios.suite import PlannedRun
from bench.stats import intervals

#: Share of the expected time of an average run after which the observed pace counts as much as the estimate.
_TRUSTED_SHARE = 0.5
#: Start, set-up, evaluation.
_STAGES_BESIDE_TURNS = 3


class RunProgress:
    """Observes a run: shows the scenario, the epoch, the throughput and the time left.

    `seconds_of` estimates how long a run takes; the time left is that of what is left, at the pace of what is done.
    """

    def __init__(
        self,
        console: Console,
        todo: Sequence[PlannedRun],
        seconds_of: Callable[[PlannedRun], float],
        *,
        budget_seconds: float = math.inf,
        tutorial_lines: bool = False,
        verbose: bool = False,
        named: Callable[[str], str] = str,
    ) -> None:
        self._console = console
        self._seconds_of = seconds_of
        self._tutorial_lines = tutorial_lines
        self._verbose = verbose
        #: Adds the names of machines, which are in no file.
        self._named = named
        #: Expected seconds of the runs that are not finished, and of those that will be added, as far as is known.
        self._open = {key(planned): seconds_of(planned) for planned in todo}
        self._open_seconds = sum(self._open.values())
        self._later_seconds = 0.0
        self._trusted_seconds = _TRUSTED_SHARE * self._open_seconds / max(1, len(todo))
        self._budget_ends_at = console.get_time() + budget_seconds
        #: Expected seconds of the successful runs, and what these really took.
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
        self._task = self._progress.add_task("measuring", total=len(todo))
        self._current = Text("starting")
        #: The rows of the network in work, with what is known of each.
        self._rows = Text(no_wrap=True, overflow="ellipsis")
        self._live = Live(Group(self._progress, self._current, self._rows), console=console, transient=True)

    def __enter__(self) -> Self:
        if moves_cursor(self._console):
            self._live.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._live.stop()

    def started(self, unit: Sequence[PlannedRun], position: int, total: int) -> None:
        for planned in unit:
            if key(planned) not in self._open:  # added, or the reference in another part of its block
                seconds = self._seconds_of(planned)
                self._open[key(planned)] = seconds
                self._open_seconds += seconds
                self._later_seconds = max(0.0, self._later_seconds - seconds)
        self._progress.update(self._task, total=total)
        self._running, self._share, self._turns = tuple(unit), 0.0, 0
        self._started_at = self._told_at = self._console.get_time()
        if moves_cursor(self._console):
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
        if moves_cursor(self._console):
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
        if moves_cursor(self._console):
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
        expected = self._open.pop(key(planned), 0.0)
        self._open_seconds -= expected
        self._progress.advance(self._task)
        if isinstance(outcome, Failure):
            words = self._named(outcome.detail)
            self._print(f"FAILED ({outcome.reason}) {_describe(planned)}: {words}", style="bold red")
            if self._verbose and outcome.log:
                for line in outcome.log.rstrip().splitlines():
                    self._print(line.expandtabs(), style="dim")
            return
        self._done_seconds += expected
        self._real_seconds += seconds
        if self._tutorial_lines:
            self._print(f"validation acc: accuracy={outcome.final_accuracy:f}")
        is_news = planned.repeat == 0 or not planned.in_turns  # what later blocks say of a row stands in `block_saved`
        if self._tutorial_lines or (is_news and not moves_cursor(self._console)):
            trained = sum(epoch.epoch_seconds for epoch in outcome.epochs)
            samples = sum(epoch.samples for epoch in outcome.epochs)
            which = f"{planned.scenario.name}: " if planned.in_turns else ""
            self._print(f"    {which}{samples / trained:,.0f} images/s, final accuracy {outcome.final_accuracy:.4f}")

    def block_saved(self, result_set: ResultSet, unit: Sequence[PlannedRun], later: Sequence[PlannedRun]) -> None:
        self._later_seconds = sum(map(self._seconds_of, later))
        contest = next((each for each in policy.contests(result_set) if row_key(unit[0]) in each.rows), None)
        if contest is None:  # nothing in it worked
            return
        why = void_reason([block.health for block in result_set.blocks])
        if why is not None:
            again = any(row_key(planned) in contest.rows for planned in later)
            self._print(
                f"block {len(result_set.blocks)} is void: {why}{'; another is measured' if again else ''}",
                style="yellow",
            )
        self._rows.plain = "\n".join(_describe_rows(contest))
        known = policy.reached([contest])
        if known is not None and not moves_cursor(self._console):
            count = max(len(group.runs) for group in contest.rows.values())
            self._print(f"    {unit[0].scenario.network}: {format_reached(known)}, n = {count}")

    def _print(self, line: str, style: str = "") -> None:
        print_line(self._console, line, style)

    def _show(self, planned: PlannedRun, line: str) -> None:
        self._current.plain = f"{_describe(planned)}: {line}"

    def _format_left(self) -> str:
        return f"about {units.roughly(self._seconds_left())} left"

    def _seconds_left(self) -> float:
        running = sum(self._open.get(key(planned), 0.0) for planned in self._running)
        reached = self._share * running
        now_pace = pace(
            expected_seconds=self._done_seconds + reached,
            real_seconds=self._real_seconds + self._told_at - self._started_at,
            trusted_seconds=self._trusted_seconds,
        )
        # A run that takes longer than expected is taken to end at once; the later ones keep their time.
        waited = self._console.get_time() - self._told_at
        later = self._open_seconds - running + self._later_seconds
        left = max(0.0, now_pace * (running - reached) - waited) + now_pace * later
        return min(left, max(0.0, self._budget_ends_at - self._console.get_time()))


class _LiveColumn(ProgressColumn):
    """A column whose text is made at every refresh: one that is written by events freezes between them."""

    def __init__(self, text: Callable[[], str]) -> None:
        super().__init__()
        self._text = text

    def render(self, task: Task) -> Text:  # noqa: ARG002  # rich's protocol
        return Text(self._text())


def _describe(planned: PlannedRun) -> str:
    return f"{planned.scenario.name} #{planned.repeat + 1}"


def format_reached(known: Reached) -> str:
    """Say how well speed-ups are known: speed-ups known to 2.1 % (median), 4.0 % (worst)."""
    median, worst = (units.points(math.log1p(width)) for width in (known.median, known.worst))
    return f"speed-ups known to {median} % (median), {worst} % (worst)"


def _describe_rows(contest: Contest) -> Iterator[str]:
    """Say of each row its speed-up and its throughput, each with its interval so far; 80 columns are enough."""
    labels = labels_of(("", scenario) for scenario, _recipe in contest.rows)
    names = {row: labels.of("", row[0]) for row in contest.rows}
    width = max(map(len, names.values()))
    ratios = contest.ratios()
    for row, group in contest.rows.items():
        if not group.runs:
            continue
        speed = intervals.geometric_mean([throughput(run) for run in group.runs])
        speedup = "reference" if row == contest.reference else ""
        if row in ratios:
            ratio = intervals.ratio_of(ratios[row])
            speedup = f"{units.factor(ratio.value)} {phrases.plus_minus(ratio)}"
        rate = f"{units.significant(speed.value)} images/s {phrases.plus_minus(speed)}"
        yield f"  {names[row]:<{width}}  {speedup:<12}  {rate}".rstrip()

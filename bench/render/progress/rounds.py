"""What the ceilings of a machine show while they are measured: each as it comes, and how long the others will take."""

from __future__ import annotations

from rich.console import Console

from bench.experiments.run.eta import seconds_left
from bench.records.result import Ceiling
from bench.render import units
from bench.render.formats.text import print_line
from bench.render.phrases import format_count
from bench.render.progress.live import LiveLine, LiveProgress

#: Between two lines of a pipe: whoever waits wants to see that it goes on, whoever reads a log does not.
_SECONDS_BETWEEN_LINES = 10.0


class RoundsProgress(LiveProgress):
    """On a terminal a line that ticks; in a pipe one every few rounds."""

    def __init__(self, console: Console, rounds: int) -> None:
        self._console = console
        self._rounds = rounds
        self._begin = self._printed_at = self._warm_at = self._done_at = console.get_time()
        #: None: it is not warm yet.
        self._done: int | None = None
        self._live = LiveLine(console, self._words)

    def round_done(self, done: int) -> None:
        """None of them: it is warm, and the first one begins."""
        self._done, self._done_at = done, self._console.get_time()
        if done == 0:
            self._warm_at = self._done_at
        is_due = self._done_at - self._printed_at >= _SECONDS_BETWEEN_LINES
        if is_due and done < self._rounds and not self._console.is_terminal:
            self._printed_at = self._done_at
            print_line(self._console, f"    {self._words()}")

    def _words(self) -> str:
        now = self._console.get_time()
        elapsed = units.roughly(now - self._begin)
        if self._done is None:
            return f"warming up · {elapsed}"
        words = f"round {min(self._done + 1, self._rounds)}/{self._rounds} · {elapsed}"
        if self._done == 0:
            return words
        mean_seconds = (self._done_at - self._warm_at) / self._done
        left_seconds = seconds_left(self._rounds - self._done, mean_seconds, now - self._done_at)
        return f"{words} · about {units.roughly(left_seconds)} left"


class CeilingProgress(LiveProgress):
    """A line for each; on a terminal also one that ticks."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._done, self._left = 0, total
        self._begin = self._done_at = console.get_time()
        self._live = LiveLine(console, self._words)

    def measured(self, ceiling: Ceiling, left: int) -> None:
        """So many are left to be measured: one that cannot be is no longer among them."""
        self._done, self._left, self._done_at = self._done + 1, left, self._console.get_time()
        line = (
            f"[{self._done}/{self._done + left}] {ceiling.device}, {format_count(ceiling.omp_num_threads, 'thread')}, "
            f"{ceiling.framework}: {units.significant(ceiling.gflop_per_second)} GFLOP/s, "
            f"{units.giga(ceiling.bandwidth_bytes_per_second)} GB/s{self._left_words(', ')}"
        )
        print_line(self._console, line)

    def _words(self) -> str:
        elapsed = units.roughly(self._console.get_time() - self._begin)
        position = min(self._done + 1, self._done + self._left)
        return f"ceiling {position}/{self._done + self._left} · {elapsed}{self._left_words(' · ')}"

    def _left_words(self, separator: str) -> str:
        if not self._done or not self._left:
            return ""
        mean_seconds = (self._done_at - self._begin) / self._done
        left_seconds = seconds_left(self._left, mean_seconds, self._console.get_time() - self._done_at)
        return f"{separator}about {units.roughly(left_seconds)} left"

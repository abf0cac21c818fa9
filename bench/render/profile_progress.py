"""What a profile shows while it lasts: which round, and how long the others will take."""

from __future__ import annotations

from rich.console import Console

from bench.experiments.run.eta import seconds_left
from bench.render import units
from bench.render.live import LiveLine, LiveProgress
from bench.render.text import print_line

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

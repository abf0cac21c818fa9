"""Progress of the rounds of a profile and of the ceilings of a machine: what is done, and how long the rest takes."""

from __future__ import annotations

from typing import Final

from rich.console import Console

from bench.records.result import Ceiling
from bench.render import units
from bench.render.phrases import format_count
from bench.render.progress.live import LiveLine, moves_cursor
from mnist_core.recipe import Precision

#: Seconds between two lines in a pipe: often enough to show that it goes on, and few lines in a log.
_SECONDS_BETWEEN_LINES: Final = 10.0


class RoundsProgress(LiveLine):
    """Shows rounds: on a terminal a line that ticks, in a pipe a line every few rounds."""

    def __init__(self, console: Console, rounds: int) -> None:
        super().__init__(console, self._text)
        self._rounds = rounds
        self._printed_at = self._warm_at = self._done_at = self._began_at
        #: Finished rounds; None: the warm-up is not over.
        self._done: int | None = None

    def round_done(self, done: int) -> None:
        """Take note that so many rounds are done; 0: the warm-up is over, and the first round begins."""
        self._done, self._done_at = done, self._console.get_time()
        if done == 0:
            self._warm_at = self._done_at
        is_due = self._done_at - self._printed_at >= _SECONDS_BETWEEN_LINES
        if is_due and done < self._rounds and not moves_cursor(self._console):
            self._printed_at = self._done_at
            self._print(f"    {self._text()}")

    def _text(self) -> str:
        elapsed = self.format_elapsed()
        if self._done is None:
            return f"warming up · {elapsed}"
        text = f"round {min(self._done + 1, self._rounds)}/{self._rounds} · {elapsed}"
        if self._done == 0:
            return text
        mean_seconds = (self._done_at - self._warm_at) / self._done
        return f"{text} · {self._format_pieces_left(self._rounds - self._done, mean_seconds, self._done_at)}"


class CeilingProgress(LiveLine):
    """Shows ceilings: a line for each, and on a terminal also one that ticks."""

    def __init__(self, console: Console, total: int) -> None:
        super().__init__(console, self._text)
        self._done, self._left = 0, total
        self._done_at = self._began_at

    def measured(self, ceiling: Ceiling, left: int) -> None:
        """Show a ceiling; `left` are still to be measured, without those that cannot be."""
        self._done, self._left, self._done_at = self._done + 1, left, self._console.get_time()
        precision = "" if ceiling.precision is Precision.FLOAT32 else f" in {ceiling.precision}"
        self._print(
            f"[{self._done}/{self._done + left}] {ceiling.device}, {format_count(ceiling.omp_num_threads, 'thread')}, "
            f"{ceiling.framework}{precision}: {units.significant(ceiling.gflop_per_second)} GFLOP/s, "
            f"{units.giga(ceiling.bandwidth_bytes_per_second)} GB/s{self._format_left(', ')}"
        )

    def _text(self) -> str:
        position = min(self._done + 1, self._done + self._left)
        return f"ceiling {position}/{self._done + self._left} · {self.format_elapsed()}{self._format_left(' · ')}"

    def _format_left(self, separator: str) -> str:
        if not self._done or not self._left:
            return ""
        mean_seconds = (self._done_at - self._began_at) / self._done
        return separator + self._format_pieces_left(self._left, mean_seconds, self._done_at)

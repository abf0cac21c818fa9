"""What a search shows while it lasts: round by round, who is out, who leads, and how much of the budget is left."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from typing_extensions import Self

from bench import race
from bench.race import Step
from bench.render import units
from bench.render.tables import count_words
from bench.render.tunes import ruled_words, setting_words
from bench.render.words import ratio_words
from bench.stats import ratio_of
from bench.tune_record import REFERENCE, Candidate, Ruling, TuneFile


class TuneProgress:
    """A `TuneObserver`: a line per round; on a terminal also what is measured just now."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = Status("starting", console=console)
        self._round = ""

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._status.stop()

    def round_started(self, index: int, step: Step) -> None:
        settings = count_words(len({*step.candidates} - {REFERENCE}), "setting")
        self._round = f"round {index + 1}, {step.phase}, {settings}"
        self._status.update(escape(self._round))

    def candidate_started(self, candidate: Candidate) -> None:
        self._status.update(escape(f"{self._round}: {setting_words(candidate.scenario)}"))

    def round_finished(self, tune_file: TuneFile) -> None:
        plan, rounds = tune_file.plan, tune_file.rounds
        last = rounds[-1]
        ruled: dict[Ruling, int] = {}
        for each in last.ruled:
            ruled[each.ruling] = ruled.get(each.ruling, 0) + 1
        words = [
            f"round {len(rounds)}: {units.seconds(last.seconds)}, {last.phase}",
            f"{len({m.candidate for m in last.measurements} - {REFERENCE})} measured",
        ]
        if ruled:
            words.append(f"out: {ruled_words(ruled)}")
        words.append(f"{len(race.contenders(plan, rounds))} left")
        if plan.budget_seconds is not None:
            left = plan.budget_seconds - race.elapsed_seconds(plan, rounds)
            words.append(f"{units.seconds(max(0.0, left))} of the budget left")
        self._print(", ".join(words))
        winner = race.winner(plan, rounds)
        found = None if winner is None else race.comparison(plan, rounds, winner, REFERENCE)
        if winner is not None and found is not None:
            leader = setting_words(plan.candidates[winner].scenario)
            self._print(f"    fastest: {leader}: {ratio_words(ratio_of(found[1]))} the tutorial's loop")
        for failure in last.failures:
            if failure.fresh:
                scenario = plan.candidates[failure.candidate].scenario
                self._print(f"    {setting_words(scenario)}: {failure.reason}: {failure.detail}", style="red")

    def _print(self, line: str, style: str = "") -> None:
        self._console.print(escape(line), style=style, highlight=False, soft_wrap=True)

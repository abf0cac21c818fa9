"""Progress of a search: round by round, what was eliminated, what leads, and how much of the budget is left."""

from __future__ import annotations

from collections import Counter

from rich.console import Console

from bench.experiments.tune import estimates, eta
from bench.experiments.tune.racing import Step
from bench.records.tune import REFERENCE, Candidate, TuneFile, TunePhase
from bench.render import units
from bench.render.phrases import format_count, format_ratio
from bench.render.progress.live import LiveLine, moves_cursor
from bench.render.views.tunes import format_eliminations, format_setting
from bench.stats.intervals import ratio_of


class TuneProgress(LiveLine):
    """Observes a search: lines per round, and on a terminal also what is measured now and a time left that ticks."""

    def __init__(self, console: Console, tune_file: TuneFile) -> None:
        # What a narrow terminal cuts off is the setting, not the time.
        super().__init__(console, lambda: f"{self._round}{self._format_left(' · ')}{self._setting}")
        self._round = "starting"
        self._setting = ""
        self._in_final = False
        #: Settings of the round that are measured one after the other, and how many of them were begun.
        self._one_by_one = self._begun = 0
        self._look_ahead(tune_file)

    def round_started(self, index: int, step: Step) -> None:
        settings = format_count(len({*step.candidates} - {REFERENCE}), "setting")
        self._in_final = step.phase is TunePhase.FINAL
        self._one_by_one = len(step.candidates) if step.phase is TunePhase.SCREENING else 0
        self._begun = 0
        self._round, self._setting = f"round {index + 1}, {step.phase}, {settings}", ""
        if not moves_cursor(self._console):
            self._print(f"round {index + 1} begins: {step.phase}, {settings}{self._format_left(', ')}")

    def candidate_started(self, candidate: Candidate) -> None:
        self._begun += 1
        which = f"setting {self._begun} of {self._one_by_one}: " if self._one_by_one else ""
        self._setting = f" · {which}{format_setting(candidate.scenario)}"

    def round_finished(self, tune_file: TuneFile) -> None:
        self._look_ahead(tune_file)
        plan, rounds = tune_file.plan, tune_file.rounds
        last = rounds[-1]
        ruled = Counter(each.ruling for each in last.ruled)
        words = [
            f"round {len(rounds)}: {units.seconds(last.seconds)}, {last.phase}",
            f"{len({m.candidate for m in last.measurements} - {REFERENCE})} measured",
        ]
        if ruled:
            words.append(f"out: {format_eliminations(ruled)}")
        words.append(f"{len(estimates.contenders(plan, rounds))} left")
        self._print(", ".join(words) + self._format_left(", "))
        winner = estimates.winner(plan, rounds)
        found = None if winner is None else estimates.comparison(plan, rounds, winner, REFERENCE)
        if winner is not None and found is not None:
            leader = format_setting(plan.candidates[winner].scenario)
            self._print(f"    fastest: {leader}: {format_ratio(ratio_of(found[1]))} the tutorial's loop")
        for failure in last.failures:
            if failure.fresh:
                scenario = plan.candidates[failure.candidate].scenario
                self._print(f"    {format_setting(scenario)}: {failure.reason}: {failure.detail}", style="red")

    def _look_ahead(self, tune_file: TuneFile) -> None:
        """Estimate what is left now."""
        plan, rounds = tune_file.plan, tune_file.rounds
        self._told_at = self._console.get_time()
        self._budget_seconds = (
            None if plan.budget_seconds is None else plan.budget_seconds - estimates.elapsed_seconds(plan, rounds)
        )
        self._final_seconds = eta.final_seconds(plan, rounds)
        self._exhaustive_seconds = eta.exhaustive_seconds(plan, rounds) if plan.exhaustive else None

    def _format_left(self, separator: str) -> str:
        """Say how much of the budget is left or, if that is longer, how long the final takes, which is always held."""
        since = self._console.get_time() - self._told_at
        if self._exhaustive_seconds is not None:
            return f"{separator}about {units.roughly(max(0.0, self._exhaustive_seconds - since))} left"
        if self._budget_seconds is None:
            return ""
        budget = self._budget_seconds - since
        final = max(0.0, self._final_seconds - since) if self._in_final else self._final_seconds
        if budget > final:
            return f"{separator}{units.roughly(budget)} of the budget left"
        if not self._final_seconds:
            return ""
        return f"{separator}the final takes about {units.roughly(final)} more"

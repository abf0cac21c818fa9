"""Result files -> what they say about each other. Pure: no file is read and nothing is rendered here.

Files are joined on the scenario and on how it was trained, never on a name. Two files of one machine give verdicts; two
machines, or two scenarios of one file, give ratios and which is faster: there nothing can regress.

Two stored results are not paired. The unit of replication is the process, and the interval is Welch's over processes.
Two sessions on one machine differ by more than that says, since the machine drifts in hours and days: what they differ
by is estimated from sessions of the same code, and is part of the interval.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.analysis.across.comparability import explain_cold_turns, explain_incomparable, explain_other_data
from bench.analysis.across.entries import (
    ComparedFile,
    Entry,
    SessionSpread,
    all_but_axes,
    busier,
    differences_of_machines,
    partners_in,
)
from bench.analysis.groups import RowKey, difference_in_blocks
from bench.analysis.verdict import (
    DEFAULT_SETTINGS,
    Outcome,
    Settings,
    Verdict,
    decide,
    detectable_slowdown,
    relate,
    worst,
)
from bench.enums import StrEnum
from bench.machine.fingerprint import Difference, difference, software_differences
from bench.records.environment import Environment
from bench.scenarios.scenario import Scenario
from bench.scenarios.selection import Reference
from bench.stats import block_design, intervals, multiple_testing
from bench.stats.intervals import TSummary
from bench.stats.sessions import across_sessions, difference_of_sessions
from mnist_core.recipe import Recipe


class Kind(StrEnum):
    """What a comparison is about."""

    SAME_MACHINE = "comparison"
    HARDWARE = "hardware comparison"
    WITHIN = "comparison within one file"


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedRow:
    """One scenario, on both sides where both have it."""

    #: The contender's; the baseline's where the contender has none.
    scenario: Scenario
    #: Its seed is 0, for "any".
    recipe: Recipe
    baseline: Entry | None
    contender: Entry | None
    #: log(baseline's images/s over the contender's): positive is slower. None unless both rank.
    slowdown: TSummary | None
    outcome: Outcome
    #: Why the outcome is not what the speeds say, or why there is none; one line.
    reason: str | None
    #: p-values of "slower by the margin at most" and "faster by it at most", adjusted for all rows (Holm).
    p_slower: float | None
    p_faster: float | None
    #: Relative slowdown that would be called regressed with probability `POWER`, given this spread.
    detectable: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One contender against one baseline."""

    kind: Kind
    baseline: ComparedFile
    contender: ComparedFile
    settings: Settings
    rows: tuple[ComparedRow, ...]
    #: What two sessions differ by anyway, as part of every interval; None: the files are taken for one session.
    sessions: SessionSpread | None = None
    #: None: scenarios are compared with themselves.
    reference: Reference | None = None
    #: Why the files as wholes cannot be compared; one line. Then no row has a ratio.
    refusal: str | None = None

    @property
    def gives_verdicts(self) -> bool:
        """Whether the outcomes are verdicts. Otherwise they are relations, and nothing can regress."""
        return self.kind is Kind.SAME_MACHINE and self.reference is None

    @property
    def common(self) -> tuple[ComparedRow, ...]:
        """The rows that have a ratio."""
        return tuple(row for row in self.rows if row.slowdown is not None)

    @property
    def has_pairs(self) -> bool:
        """Whether any scenario is there on both sides, with or without a result."""
        return any(row.baseline is not None and row.contender is not None for row in self.rows)

    @property
    def slowdown(self) -> TSummary | None:
        """Mean over the averaged scenarios, each counting the same; None without any."""
        differences = [row.slowdown for row in self.averaged if row.slowdown is not None]
        if not differences:
            return None
        return intervals.mean_difference(differences, shared=self.sessions is not None)

    @property
    def averaged(self) -> tuple[ComparedRow, ...]:
        """The common rows that have an interval: one process more or less must not take it from all; or else all."""
        sure = tuple(row for row in self.common if row.slowdown is not None and row.slowdown.error is not None)
        return sure or self.common

    @property
    def machine_differences(self) -> tuple[Difference, ...]:
        return () if self.baseline is self.contender else differences_of_machines(self.baseline, self.contender)

    @property
    def software_differences(self) -> tuple[Difference, ...]:
        """Versions, commits, settings, and OpenMP threads where one scenario had others."""
        threads = {
            (row.baseline.omp_num_threads, row.contender.omp_num_threads): None
            for row in self.rows
            if row.baseline and row.contender and self.reference is None and row.baseline.n and row.contender.n
        }
        changed = [(before, after) for before, after in threads if before != after]
        return software_differences(*self._environments) + tuple(
            difference("OpenMP threads", _joined(before), _joined(after)) for before, after in changed
        )

    @property
    def is_copy(self) -> bool:
        """The files hold the same measurements: one is the other under another name."""
        one, other = self.baseline, self.contender
        return one is not other and one.created_at == other.created_at and one.entries == other.entries

    @property
    def _environments(self) -> tuple[Environment, Environment]:
        return self.baseline.environment, self.contender.environment


def _joined(numbers: Iterable[int]) -> str:
    return "/".join(map(str, numbers))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Pair:
    """What is to become a row."""

    key: RowKey
    baseline: Entry | None
    contender: Entry | None
    #: Why these must not be compared, or what is missing.
    incomparable: str | None = None
    missing: str | None = None


def compare(
    baseline: ComparedFile,
    contender: ComparedFile,
    settings: Settings = DEFAULT_SETTINGS,
    sessions: SessionSpread | None = None,
) -> Comparison:
    """Compare two files, every scenario of either: the baseline's in its order first."""
    across = bool(differences_of_machines(baseline, contender))
    kind = Kind.HARDWARE if across else Kind.SAME_MACHINE
    refusal = explain_other_data(baseline.dataset, contender.dataset)
    reasons = {} if refusal else explain_incomparable(baseline.entries, contender.entries, across_machines=across)
    pairs = [
        _Pair(
            key=key,
            baseline=baseline.entries.get(key),
            contender=contender.entries.get(key),
            incomparable=refusal or reasons.get(key),
        )
        for key in {**baseline.entries, **contender.entries}
    ]
    rows = _rows(pairs, settings, sessions, judged=kind is Kind.SAME_MACHINE)
    side = busier(baseline, contender)
    if kind is Kind.SAME_MACHINE and side is not None:
        rows = tuple(_doubted(row, "baseline" if side is baseline else "contender") for row in rows)
    return Comparison(
        kind=kind,
        baseline=baseline,
        contender=contender,
        settings=settings,
        rows=rows,
        sessions=sessions,
        refusal=refusal,
    )


def compare_scenarios(
    baseline: ComparedFile,
    contender: ComparedFile,
    reference: Reference,
    settings: Settings = DEFAULT_SETTINGS,
    sessions: SessionSpread | None = None,
) -> Comparison:
    """Compare the contender's rows with those of the baseline that are the reference.

    Each is compared with the one that differs from it in nothing but the reference's axes. Both sides may be the same
    file. Raises `ValueError` where the baseline has no such scenario, or several of which none is meant.
    """
    within = baseline is contender
    if within:
        sessions = None
    same = within or not differences_of_machines(baseline, contender)
    refusal = explain_other_data(baseline.dataset, contender.dataset)
    partners = partners_in(baseline, reference)
    pairs, met = [], set()
    for key, entry in contender.entries.items():
        partner = partners.get(all_but_axes(key, reference.axes))
        if within and key == partner:
            continue
        other = None if partner is None else baseline.entries[partner]
        pairs.append(
            _Pair(
                key=key,
                baseline=other,
                contender=entry,
                incomparable=refusal or explain_cold_turns(other, entry),
                missing=f"nothing with {reference} to compare with" if partner is None else None,
            )
        )
        met.add(partner)
    pairs += [
        _Pair(
            key=key,
            baseline=baseline.entries[key],
            contender=None,
            incomparable=refusal,
            missing=f"nothing that differs only in {' and '.join(sorted(reference.axes))}",
        )
        for key in partners.values()
        if key not in met and len(partners) > 1
    ]
    return Comparison(
        kind=Kind.WITHIN if within else Kind.SAME_MACHINE if same else Kind.HARDWARE,
        baseline=baseline,
        contender=contender,
        settings=settings,
        rows=_rows(pairs, settings, sessions, judged=False, within=within),
        sessions=sessions,
        reference=reference,
        refusal=refusal,
    )


def _rows(
    pairs: Sequence[_Pair], settings: Settings, sessions: SessionSpread | None, *, judged: bool, within: bool = False
) -> tuple[ComparedRow, ...]:
    slowdowns = [_slowdown(pair, sessions, within=within) for pair in pairs]
    margin = math.log1p(settings.margin)
    p_slower = multiple_testing.holm_adjusted(
        [1.0 if each is None else intervals.p_above(each, margin) for each in slowdowns]
    )
    p_faster = multiple_testing.holm_adjusted(
        [1.0 if each is None else intervals.p_above(-each, margin) for each in slowdowns]
    )
    rows = []
    for pair, slowdown, slower, faster in zip(pairs, slowdowns, p_slower, p_faster, strict=True):
        detectable = detectable_slowdown(slowdown, settings, scenarios=len(pairs)) if slowdown and judged else None
        outcome: Outcome
        if slowdown is None:
            outcome, reason = _without_ratio(pair, judged=judged)
        elif detectable is None:
            outcome, reason = relate(slowdown), None
        else:
            outcome, reason = _complete(pair, decide(slowdown, slower, faster, detectable, settings))
        if slowdown is not None and slowdown.error is None:
            reason = reason or "n = 1 has no interval"
        tested = judged and slowdown is not None
        rows.append(
            ComparedRow(
                scenario=pair.key[0],
                recipe=pair.key[1],
                baseline=pair.baseline,
                contender=pair.contender,
                slowdown=slowdown,
                outcome=outcome,
                reason=reason,
                p_slower=slower if tested else None,
                p_faster=faster if tested else None,
                detectable=detectable,
            )
        )
    return tuple(rows)


def _slowdown(pair: _Pair, sessions: SessionSpread | None, *, within: bool) -> TSummary | None:
    """Return how much slower the contender is, as a log ratio; rows of one file are compared within their blocks."""
    one, other = pair.baseline, pair.contender
    if pair.incomparable or one is None or other is None or not (one.is_ranked and other.is_ranked):
        return None
    assert one.speed is not None
    assert other.speed is not None
    if within:
        spread = block_design.common_spread(one.spread_in_blocks, other.spread_in_blocks)
        paired = difference_in_blocks(one.log_speed_in_block, other.log_speed_in_block, spread)
        if paired is not None:
            return paired
    if sessions is not None and (known := sessions.scenarios.get(pair.key)) is not None:
        return difference_of_sessions(one.speed, other.speed, known)
    return _across(sessions, intervals.welch_difference(one.speed, other.speed))


def _across(sessions: SessionSpread | None, difference: TSummary) -> TSummary:
    return difference if sessions is None else across_sessions(difference, sessions.sd, sessions.degrees_of_freedom)


def latency_slowdown(comparison: Comparison, row: ComparedRow, fraction: float) -> TSummary | None:
    """Return how much longer a single image takes, as a log ratio of this percentile; None unless both sides rank."""
    if row.slowdown is None or row.baseline is None or row.contender is None:
        return None
    before, after = row.baseline.latencies.get(fraction), row.contender.latencies.get(fraction)
    if before is None or after is None:
        return None
    paired = difference_in_blocks(after.in_block, before.in_block, None) if comparison.kind is Kind.WITHIN else None
    return paired or _across(comparison.sessions, intervals.welch_difference(after.moments, before.moments))


def _complete(pair: _Pair, verdict: Verdict) -> tuple[Verdict, str | None]:
    """Return the verdict on the speeds and no reason; `MISSING` where a contender's process failed, and why."""
    if verdict is not Verdict.REGRESSED and pair.contender is not None and pair.contender.n < pair.contender.planned:
        return Verdict.MISSING, f"contender: {pair.contender.trouble}"  # a crash is never a pass
    return verdict, None


def _doubted(row: ComparedRow, busier_side: str) -> ComparedRow:
    """Return an invalid row where other programs, which were busier under one side, may have made the verdict."""
    slowed = row.outcome is Verdict.REGRESSED and busier_side == "contender"
    passed = isinstance(row.outcome, Verdict) and row.outcome.passes and busier_side == "baseline"
    if row.slowdown is None or not (slowed or passed):
        return row
    reason = f"{row.outcome}, but other programs were busier under the {busier_side}: measure it again"
    return dataclasses.replace(row, outcome=Verdict.INVALID, reason=reason)


def _without_ratio(pair: _Pair, *, judged: bool) -> tuple[Verdict, str]:
    """Return the verdict on a pair without a ratio, and its reason."""
    if pair.incomparable is not None:
        return Verdict.INCOMPARABLE, pair.incomparable
    sides = (("baseline", pair.baseline), ("contender", pair.contender))
    for name, entry in sides:
        if entry is None:
            return Verdict.MISSING, pair.missing or f"not in the {name}"
    for name, entry in sides:
        if entry is not None and entry.n == 0:
            return Verdict.MISSING, f"{name}: {entry.trouble}"
    for name, entry in sides:
        if entry is not None and not entry.is_ranked:
            forgot = judged and name == "contender"  # however fast: it no longer learns what it must
            return Verdict.REGRESSED if forgot else Verdict.INVALID, f"{name}: {entry.trouble}"
    raise AssertionError("both sides rank, so there is a ratio")


def gate_refusal(comparison: Comparison) -> str | None:
    """Return why a comparison must not decide about code; None if it may."""
    if comparison.refusal is not None:
        return comparison.refusal
    if not comparison.has_pairs:
        return "no scenario in common"
    if comparison.kind is Kind.HARDWARE:
        first, *others = comparison.machine_differences
        return f"another machine: {', also '.join([str(first), *(each.name for each in others)])}"
    return None


def gate_verdict(comparisons: Iterable[Comparison]) -> Verdict:
    """Return the verdict of all comparisons together; one that `gate_refusal` refuses is `INCOMPARABLE`."""
    verdicts: list[Verdict] = []
    for comparison in comparisons:
        if gate_refusal(comparison) is not None:
            verdicts.append(Verdict.INCOMPARABLE)
        else:
            verdicts += [row.outcome for row in comparison.rows if isinstance(row.outcome, Verdict)]
    return worst(verdicts)


def is_incomparable(comparison: Comparison) -> bool:
    """Return whether anything in it cannot be compared on any machine."""
    return (
        comparison.refusal is not None
        or not comparison.has_pairs
        or any(row.outcome is Verdict.INCOMPARABLE for row in comparison.rows)
    )

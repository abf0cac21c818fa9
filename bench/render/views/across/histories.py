"""Histories as tables: where each scenario's throughput is now, and where it changed."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.analysis.across.history import Change, History, HistoryPoint, Trend
from bench.analysis.prices import Price, cost_of_images, price_per_hour
from bench.render import units
from bench.render.model.column import Column, make_column
from bench.render.model.marks import FASTER, LEVEL, OPEN, SLOWER, Tone
from bench.render.model.resource_columns import format_price
from bench.render.model.table import Table, make_table
from bench.render.model.words.captions import describe_dataset, describe_machine, describe_recipe, virtual_contexts
from bench.render.model.words.labels import listed_axes, shared_setting
from bench.render.phrases import ends, format_count, plus_minus, shorten_hash
from bench.render.sparklines import sparkline
from bench.scenarios.scenario import Scenario
from bench.stats.intervals import Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class _TrendRow:
    scenario: Scenario
    trend: Trend

    @property
    def now(self) -> Estimate:
        return self.trend.levels[-1][2]

    @property
    def last(self) -> Change | None:
        return self.trend.changes[-1] if self.trend.changes else None


@dataclass(frozen=True, slots=True, kw_only=True)
class _ChangeRow:
    scenario: Scenario
    change: Change
    before: HistoryPoint
    since: HistoryPoint


def format_commit(measured: HistoryPoint) -> str:
    """Name the commit of a file, as 1a2b3c4d5e with changes; say so where none is known."""
    if measured.git_commit is None:
        return "an unknown commit"
    return shorten_hash(measured.git_commit) + (" with changes" if measured.git_dirty else "")


def history_tables(histories: Sequence[History], price: Price | None = None) -> list[Table]:
    """Return for each machine its trends, and the changes in them where there are any; `price` is that of a machine."""
    tables = []
    for history in histories:
        if history.trends:
            rows = [_TrendRow(scenario=trend.key[0], trend=trend) for trend in history.trends]
            tables.append(_trends(history, rows, price))
        if any(trend.changes for trend in history.trends):
            tables.append(_changes(history))
    return tables


def _trends(history: History, rows: Sequence[_TrendRow], price: Price | None) -> Table:
    scenarios = [row.scenario for row in rows]
    columns: list[Column[_TrendRow]] = [*listed_axes(scenarios, with_network=True), *_trend_columns(history, price)]
    changed = sum(bool(row.trend.changes) for row in rows)
    times = sorted(point.created_at for row in rows for point in row.trend.measured)
    return make_table(
        f"history: {format_count(len(rows), 'scenario')}, {changed} of them with a change",
        columns,
        rows,
        caption=[
            ("machine", describe_machine(history.environment)),
            ("data", describe_dataset(history.dataset)),
            ("files", f"{history.files:,}, {times[0]} to {times[-1]}"),
            ("note", f"a change, however large, shows in no fewer than {history.trends[0].fewest} files"),
            *_cold_lines(history),
            *shared_setting(scenarios),
            *virtual_contexts(scenarios),
        ],
        facts={"files": history.files, "dataset": history.dataset.name, "dataset_digest": history.dataset.digest},
        mark=lambda row: _mark(row.last) if row.trend.testable else OPEN,
        tone=lambda row: Tone.PLAIN if row.trend.testable else Tone.DIM,
    )


def _cold_lines(history: History) -> list[tuple[str, str]]:
    cold = max(trend.cold for trend in history.trends)
    if cold == 0:
        return []
    files = format_count(cold, "older file")
    return [("left out", f"the turns of up to {files}: they are cold, without the epochs that lead in to them today")]


def _last_change(row: _TrendRow) -> str:
    if not row.trend.testable:
        return "too few files"
    return "none" if row.last is None else f"{units.signed(row.last.ratio.value)} %"


def _mark(change: Change | None) -> str:
    if change is None:
        return LEVEL
    return FASTER if change.ratio.value > 1 else SLOWER


def _trend_columns(history: History, price: Price | None) -> Sequence[Column[_TrendRow]]:
    def cost(row: _TrendRow, images: int) -> Estimate | None:
        hourly = price_per_hour((), row.scenario, price)
        return None if hourly is None else cost_of_images(hourly, row.now, images)

    def recipe(row: _TrendRow) -> str:
        return describe_recipe(row.trend.key[1], history.dataset.train_samples, in_turns=row.trend.in_turns)

    scenarios = [trend.key[0] for trend in history.trends]
    tells_rows_apart = len({*scenarios}) < len(scenarios)
    return (
        make_column("recipe", recipe, number=False, priority=0 if tells_rows_apart else 6, axis=True),
        make_column(
            "files", lambda row: len(row.trend.measured), priority=5, explanation="with a valid result of the scenario"
        ),
        make_column(
            "trend",
            lambda row: sparkline(row.trend.throughputs),
            priority=1,
            picture=True,
            explanation="images/s over the files in the order of time, from the least to the greatest, but over at "
            "least 2 %",
        ),
        make_column(
            "level",
            lambda row: row.now,
            units.significant,
            key="level_images_per_second",
            title="images/s\nnow",
            priority=0,
            detail=plus_minus,
            explanation="geometric mean over the files since the last change; ± is its 95 % t interval over files",
        ),
        *(
            make_column(
                name,
                functools.partial(cost, images=images),
                units.significant,
                title=f"cost of\n{what}",
                priority=4,
                interval=True,
                explanation=f"at that, and at {format_price(price)}",
            )
            for name, images, what in (
                ("cost_per_epoch", history.dataset.train_samples, "an epoch"),
                ("cost_per_million_images", 1_000_000, "1 M images"),
            )
        ),
        make_column("changes", lambda row: len(row.trend.changes), priority=3),
        make_column(
            "last_change",
            lambda row: None if row.last is None else row.last.ratio,
            key="last_change_ratio",
            interval=True,
            priority=0,
            text=_last_change,
            explanation="the new level over the one before, in images/s",
        ),
        make_column(
            "since",
            lambda row: None if row.last is None else row.trend.measured[row.last.index].git_commit,
            key="last_change_commit",
            number=False,
            priority=1,
            text=lambda row: None if row.last is None else format_commit(row.trend.measured[row.last.index]),
            explanation="the commit of the first file of the new level",
        ),
    )


def _changes(history: History) -> Table:
    rows = [
        _ChangeRow(
            scenario=trend.key[0],
            change=change,
            before=trend.measured[change.index - 1],
            since=trend.measured[change.index],
        )
        for trend in history.trends
        for change in trend.changes
    ]
    rows.sort(key=lambda row: row.since.created_at)
    scenarios = [trend.key[0] for trend in history.trends]
    columns: list[Column[_ChangeRow]] = [*listed_axes(scenarios, with_network=True), *_CHANGE_COLUMNS]
    return make_table(
        f"history: {format_count(len(rows), 'change')}, in the order of time",
        columns,
        rows,
        notes=[("", _METHOD)],
        mark=lambda row: _mark(row.change),
    )


_METHOD: Final = (
    "a change is where the maximally selected rank statistic is significant (Lausen and Schumacher, 1992; p-value over "
    "random orders, of many files Miller and Siegmund's, 1982), searched by binary segmentation"
)

_CHANGE_COLUMNS: Final[Sequence[Column[_ChangeRow]]] = (
    make_column(
        "change",
        lambda row: row.change.ratio,
        key="change_ratio",
        title="change\n[95 % interval]",
        priority=0,
        text=lambda row: f"{units.signed(row.change.ratio.value)} %",
        detail=lambda ratio: ends(ratio, units.signed),
        explanation="images/s after over before, up to the next changes; Welch interval over files",
    ),
    make_column(
        "commit",
        lambda row: row.since.git_commit,
        number=False,
        priority=0,
        text=lambda row: format_commit(row.since),
        explanation="of the first file of the new level",
    ),
    make_column(
        "before",
        lambda row: row.before.git_commit,
        key="commit_before",
        number=False,
        priority=3,
        text=lambda row: format_commit(row.before),
        explanation="the commit of the last file of the old level: what made the change lies between the two",
    ),
    make_column("created_at", lambda row: row.since.created_at, title="since", number=False, priority=1),
    make_column("file", lambda row: row.since.name, number=False, priority=4),
    make_column("p", lambda row: row.change.p_value, lambda p: f"{p:.1g}", key="p_value", priority=2),
)

"""Prediction as tables: how long an image takes, what each process says of it, and how many images a second takes."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from bench.analysis.prediction import (
    PERCENTILES,
    TAIL,
    LatencyRow,
    OfflineRow,
    Quickest,
    latency_rows,
    offline_rows,
    quickest,
    stream_of,
)
from bench.analysis.summary import Row, Summary
from bench.records.result import Run
from bench.render import units
from bench.render.model.column import Column, make_change_column, make_column
from bench.render.model.marks import INVALID
from bench.render.model.table import Fact, Table, make_table
from bench.render.model.words import captions
from bench.render.model.words.labels import full_setting, listed_axes, shared_setting
from bench.render.phrases import ends, format_change, plus_minus
from bench.scenarios.scenario import Scenario, reference_of
from bench.stats.intervals import Estimate
from bench.stats.order_statistics import fewest_values, percentile_name
from mnist_core.recipe import Recipe

#: What a latency is, wherever one is shown.
METHOD: Final = (
    "closed loop, one image after the other, from an array on the host to a digit on the host: this is service time. "
    "It says nothing of the latency under load, where queries wait for each other"
)
_NANOSECONDS: Final = 1e-9
#: What makes room first on a narrow terminal.
_PRIORITIES: Final = {0.5: 1, 0.9: 5, 0.99: 0, 0.999: 3}
#: Rows that are named of those that cannot be told from the quickest.
_NAMED: Final = 2
_RowT = TypeVar("_RowT", LatencyRow, OfflineRow)


def prediction_tables(summary: Summary) -> list[Table]:
    """Return for each network and recipe the latencies of its rows and of their processes; then those of batches."""
    tables = []
    for latencies in _contests(latency_rows(summary)):
        tables += [_latency_table(summary, latencies), _process_table(summary, latencies)]
    return [*tables, *(_offline_table(summary, rows) for rows in _contests(offline_rows(summary)))]


def _contests(rows: Iterable[_RowT]) -> list[list[_RowT]]:
    found: dict[tuple[str, Recipe], list[_RowT]] = {}
    for row in rows:
        found.setdefault((row.scenario.network, row.row.recipe), []).append(row)
    return list(found.values())


def prediction_sentences(summary: Summary) -> list[tuple[str, str]]:
    """Return (network, which row answers a single image soonest) for each network and recipe of a file."""
    found = ((rows, quickest(rows, summary)) for rows in _contests(latency_rows(summary)))
    return [(rows[0].scenario.network, describe_quickest(answer)) for rows, answer in found if answer is not None]


def describe_quickest(answer: Quickest) -> str:
    """Say how long the quickest row takes for an image, over what, and what cannot be told from it."""
    best = answer.row
    named = [best.scenario, answer.reference, *(each.scenario for each in answer.as_quick)]
    words = f"{full_setting(best.scenario, among=named)}: "
    words += f"a single image takes {_format_time(best.percentiles[0.5])} (p50) and "
    words += f"{_format_time(best.percentiles[TAIL])} (p99), n = {best.percentiles[TAIL].n}"
    if (ratio := best.ratios.get(TAIL)) is not None:
        words += f"; its p99 is {format_change(ratio)} than that of {full_setting(answer.reference, among=named)}"
    if best.percentiles[TAIL].n == 1 < answer.ranked:
        return f"{words}; the least p99 of {answer.ranked}, but single processes tell nothing apart"
    if answer.as_quick:
        others = [full_setting(each.scenario, among=named) for each in answer.as_quick[:_NAMED]]
        if more := answer.as_quick[_NAMED:]:
            others.append(f"{len(more)} more")
        return f"{words}; the least p99 of {answer.ranked}, but not told apart from {'; nor from '.join(others)}"
    return f"{words}; the least p99 of {answer.ranked}" if answer.ranked > 1 else words


def _format_time(estimate: Estimate) -> str:
    return f"{units.seconds(estimate.value)} {plus_minus(estimate)}".rstrip()


# --- single images


def _percentile_column(fraction: float) -> Column[LatencyRow]:
    return make_column(
        f"{_key(fraction)}_seconds",
        lambda row: row.percentiles.get(fraction),
        units.seconds,
        title=percentile_name(fraction),
        priority=_PRIORITIES[fraction],
        detail=plus_minus,
        explanation=_EXPLANATION if fraction == PERCENTILES[0] else "",
    )


def _key(fraction: float) -> str:
    """Return the name of a percentile for programs: p99_9."""
    return percentile_name(fraction).replace(".", "_")


_EXPLANATION: Final = (
    "half of the images took no longer, of p99 99 %: of each process a time that was measured, geometric mean over n "
    "processes, and ± its 95 % t interval over them (n = 1 has none)"
)

#: What a table of latencies says of each row, after its axes.
_LATENCIES: Final[Sequence[Column[LatencyRow]]] = (
    *map(_percentile_column, PERCENTILES),
    make_change_column(
        "p99_ratio",
        lambda row: row.ratios.get(TAIL),
        title="p99 beside\nthe reference",
        priority=2,
        explanation="and its 95 % t interval, within blocks where both took turns; a negative end lies on the other "
        "side: faster where it says slower",
    ),
    make_change_column("p50_ratio", lambda row: row.ratios.get(PERCENTILES[0])),
    make_column(
        "max_seconds",
        lambda row: max(stream.max_ns for stream in row.streams) * _NANOSECONDS,
        units.seconds,
        title="longest",
        priority=6,
        explanation="of all images of all processes",
    ),
    make_column(
        "mean_seconds",
        lambda row: (
            sum(stream.mean_ns * stream.queries for stream in row.streams)
            / sum(stream.queries for stream in row.streams)
            * _NANOSECONDS
        ),
        units.seconds,
    ),
    make_column(
        "steal_fraction",
        unit=units.tenths,
        title="stolen",
        priority=4,
        explanation="of the CPUs' time, given to other tenants meanwhile, median over processes; on a shared machine "
        "p99.9 is often the hypervisor's",
    ),
    make_column(
        "switches_per_thousand",
        unit=units.significant,
        title="switches\nper 1,000",
        priority=4,
        explanation="times that the kernel took a core away, in a thousand queries",
    ),
    make_column(
        "mismatches",
        priority=1,
        title="other\ndigits",
        text=lambda row: f"{row.mismatches:,}" if row.mismatches else None,
        explanation="queries that were answered by another digit than the evaluation's",
    ),
    make_column(
        "own_half_width",
        unit=lambda share: f"±{units.share(share)}",
        key="p99_own_half_width",
        title="p99 of a\nprocess",
        priority=7,
        explanation="half the 95 % interval that a process's own queries give its p99, median over processes; each one "
        "has a row in the table below",
    ),
    make_column(
        "queries",
        lambda row: min(stream.queries for stream in row.streams),
        priority=8,
        text=lambda row: f"{min(stream.queries for stream in row.streams):,}",
        explanation="of each process: test images, one after the other",
    ),
    make_column("n", lambda row: len(row.runs), key="n_processes", priority=6, explanation="fresh processes"),
    make_column("status", lambda row: str(row.row.status), number=False),
)


def _latency_table(summary: Summary, rows: Sequence[LatencyRow]) -> Table:
    answer = quickest(rows, summary)
    return make_table(
        f"{_title(rows)}: time of a single image, {captions.format_n(len(row.runs) for row in rows)}",
        [*listed_axes(_scenarios(rows)), *_LATENCIES],
        rows,
        caption=[("method", METHOD), ("meanwhile", _disturbance(rows)), *_caption(rows)],
        facts={"table": "latency", **_facts(summary, rows[0].row)},
        notes=[*([] if answer is None else [("", describe_quickest(answer))]), *_notes(rows)],
        mark=lambda row: INVALID if row.row.invalid is not None else "",
    )


def _title(rows: Sequence[LatencyRow] | Sequence[OfflineRow]) -> str:
    return f"{rows[0].scenario.network}, prediction"


def _scenarios(rows: Sequence[LatencyRow] | Sequence[OfflineRow]) -> list[Scenario]:
    return [row.scenario for row in rows]


def _caption(rows: Sequence[LatencyRow] | Sequence[OfflineRow]) -> list[tuple[str, str]]:
    scenarios = _scenarios(rows)
    reference = [("reference", full_setting(reference_of(scenarios), among=scenarios))] if len(rows) > 1 else []
    return [*reference, *shared_setting(scenarios)]


def _disturbance(rows: Sequence[LatencyRow]) -> str:
    """Say what the machine did beside the queries, since their tail is often nothing else."""
    stolen = [row.steal_fraction for row in rows if row.steal_fraction is not None]
    words = [f"{units.tenths(statistics.median(stolen))} of the CPUs' time stolen by other tenants"] if stolen else []
    switches = statistics.median(row.switches_per_thousand for row in rows)
    return ", ".join([*words, f"{units.significant(switches)} involuntary switches in 1,000 queries (medians)"])


def _facts(summary: Summary, row: Row) -> dict[str, Fact]:
    return {
        "suite": summary.suite,
        **captions.file_facts(summary),
        **captions.machine_facts(summary.environment),
        **captions.recipe_facts(row.recipe),
    }


def _notes(rows: Sequence[LatencyRow]) -> list[tuple[str, str]]:
    """Say which rows are not believed, and which percentiles too few queries cannot carry."""
    notes = [(INVALID, f"{row.scenario.name}: {row.row.invalid}") for row in rows if row.row.invalid is not None]
    refused = [fraction for fraction in PERCENTILES if any(fraction not in row.percentiles for row in rows)]
    return [*notes, *(("", describe_refusal(fraction)) for fraction in refused)]


def describe_refusal(fraction: float) -> str:
    """Say how many queries a percentile takes."""
    return f"{percentile_name(fraction)} takes {fewest_values(fraction):,} queries of a process at least"


# --- each process


@dataclass(frozen=True, slots=True)
class _Process:
    """One process that answered queries."""

    row: LatencyRow
    run: Run

    @property
    def scenario(self) -> Scenario:
        return self.run.scenario


def _own_column(fraction: float) -> Column[_Process]:
    def estimate(process: _Process) -> Estimate | None:
        found = (each for each in stream_of(process.run).percentiles if each.fraction == fraction)
        queries = stream_of(process.run).queries
        return next(
            (
                Estimate(each.ns * _NANOSECONDS, each.low_ns * _NANOSECONDS, each.high_ns * _NANOSECONDS, queries)
                for each in found
            ),
            None,
        )

    return make_column(
        f"{_key(fraction)}_seconds",
        estimate,
        _microseconds,
        title=f"{percentile_name(fraction)}, µs",
        priority=_PRIORITIES[fraction],
        detail=lambda value: ends(value, _microseconds),
        explanation=_OWN_EXPLANATION if fraction == PERCENTILES[0] else "",
    )


_OWN_EXPLANATION: Final = (
    "of this process's queries: a time that was measured, and two that hold the true percentile of this process in 95 "
    "of 100 cases, by exact binomial ranks; other processes differ by more, as the table above says"
)


def _microseconds(seconds: float) -> str:
    return units.significant(seconds * 1e6)


_PROCESSES: Final[Sequence[Column[_Process]]] = (
    make_column("repeat", lambda process: process.run.repeat + 1, title="process", priority=0),
    *map(_own_column, PERCENTILES),
    make_column("min_seconds", lambda process: stream_of(process.run).min_ns * _NANOSECONDS),
    make_column("max_seconds", lambda process: stream_of(process.run).max_ns * _NANOSECONDS),
    make_column("queries", lambda process: stream_of(process.run).queries),
    make_column("timer_overhead_seconds", lambda process: stream_of(process.run).timer_overhead_ns * _NANOSECONDS),
    make_column("involuntary_context_switches", lambda process: stream_of(process.run).involuntary_context_switches),
    make_column("block", lambda process: process.run.block),
)


def _process_table(summary: Summary, rows: Sequence[LatencyRow]) -> Table:
    return make_table(
        f"{_title(rows)}: each process by itself",
        [*listed_axes(_scenarios(rows)), *_PROCESSES],
        [_Process(row, run) for row in rows for run in row.runs],
        facts={"table": "latency of processes", **_facts(summary, rows[0].row)},
    )


# --- batches


def _batch_columns(size: int) -> tuple[Column[OfflineRow], ...]:
    """Make the column of a batch size, and one for programs of its ratio to the reference."""
    return (
        make_column(
            f"predicted_images_per_second[batch={size}]",
            lambda row: row.throughputs.get(size),
            units.significant,
            title=f"images/s,\nbatch {size:,}",
            priority=0,
            detail=plus_minus,
        ),
        make_column(f"predicted_ratio[batch={size}]", lambda row: row.ratios.get(size), units.factor, interval=True),
    )


def _offline_table(summary: Summary, rows: Sequence[OfflineRow]) -> Table:
    sizes = sorted({size for row in rows for size in row.throughputs})
    return make_table(
        f"{_title(rows)}: images per second, by the images that are handed over together; "
        f"{captions.format_n(row.n for row in rows)}",
        [
            *listed_axes(_scenarios(rows)),
            *(column for size in sizes for column in _batch_columns(size)),
            make_column("n", key="n_processes", priority=6, explanation="fresh processes"),
        ],
        rows,
        caption=_caption(rows),
        facts={"table": "offline", **_facts(summary, rows[0].row)},
        notes=[("", "geometric mean over n processes; ± is its 95 % t interval over them")],
    )

"""Ranks beside one rank, and how long their exchanges take, as tables; machines and ranks that share one are apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from bench.analysis.scaling import (
    TARGET,
    Basis,
    ExchangeLevel,
    RankRow,
    Sharing,
    by_engine,
    exchange_levels,
    rank_rows,
    sharing_of,
)
from bench.analysis.summary import Summary
from bench.records.result import ExchangeCurve
from bench.render import units
from bench.render.model.axis_columns import AXES, LOOP, SHOWN_AXES, varies
from bench.render.model.column import Column, make_column
from bench.render.model.marks import FAILED
from bench.render.model.table import Fact, Table, hidden_column, make_table
from bench.render.model.words import captions
from bench.render.model.words.rank_words import count_ranks, describe_ranks, name_engine, widest
from bench.render.phrases import plus_minus
from bench.scenarios.axes import HOST_AXES
from bench.stats.intervals import Estimate
from mnist_core.recipe import Recipe

#: Axes that a table of ranks shows in columns of its own, or in its title.
_OWN_AXES: Final = ("network", "batch_size", "hosts", "first_host")


def scaling_tables(summary: Summary) -> list[Table]:
    """Return a table of ranks for each network, training, basis and kind of place; then one for each engine."""
    ones: dict[tuple[object, ...], RankRow] = {}
    groups: dict[tuple[str, Recipe, Sharing, Basis], list[RankRow]] = {}
    for row in rank_rows(summary):
        if row.scenario.ranks == 1:
            ones[row.scenario, row.row.recipe, row.basis] = row
        else:
            key = (row.scenario.network, row.row.recipe, row.sharing, row.basis)
            groups.setdefault(key, []).append(row)
    tables = []
    for rows in groups.values():
        beside: dict[tuple[object, ...], list[RankRow]] = {}
        for row in rows:
            beside.setdefault((row.one, row.row.recipe, row.basis), []).append(row)
        tables.append(
            _rank_table(
                summary,
                [each for one, own in beside.items() for each in (*([ones[one]] if one in ones else []), *own)],
            )
        )
    return [*tables, *(_exchange_table(summary, curves) for curves in by_engine(summary.exchanges))]


# --- ranks


def _share(
    name: str, title: str, priority: int, explanation: str, value: Callable[[RankRow], Estimate | None]
) -> Column[RankRow]:
    """Make a column of estimates in percent."""
    return make_column(
        name, value, units.percent, title=title, priority=priority, interval=True, explanation=explanation
    )


def _microseconds(name: str, title: str, priority: int, explanation: str) -> Column[RankRow]:
    return make_column(name, unit=units.significant, title=title, priority=priority, explanation=explanation)


def _cost(name: str, title: str, explanation: str) -> Column[RankRow]:
    return make_column(name, unit=units.significant, title=title, priority=6, explanation=explanation)


#: What a table of ranks says of each row, after its axes. No name is that of a column of results with another meaning.
_VALUES: Final[Sequence[Column[RankRow]]] = (
    make_column(
        "throughput",
        lambda row: row.measures.throughput,
        units.significant,
        key="throughput_images_per_second",
        title="images/s",
        priority=0,
        detail=plus_minus,
        explanation="of all ranks together; ± is its 95 % t interval",
    ),
    make_column(
        "speedup_over_one",
        lambda row: row.speedup,
        units.factor,
        title="speed-up",
        priority=1,
        detail=plus_minus,
        explanation="images/s over those of one rank on the first machine, ± within blocks",
    ),
    _share(
        "efficiency",
        "effi-\nciency",
        1,
        "speed-up over the number of ranks: smaller shares x shared cores x network",
        lambda row: row.efficiency,
    ),
    _share(
        "smaller_shares",
        "smaller\nshares",
        5,
        "images/s of the machines alone, each on its share of the batch, added up, over (ranks x images/s of one)",
        lambda row: row.smaller_shares,
    ),
    _share(
        "shared_cores",
        "shared\ncores",
        2,
        "images/s of all ranks at once without an exchange over those of the machines alone, added up",
        lambda row: row.shared_cores,
    ),
    _share(
        "exchange_efficiency",
        "network",
        2,
        "images/s with the exchange over those of the same ranks at once without",
        lambda row: row.exchange,
    ),
    make_column(
        "update_microseconds",
        lambda row: row.measures.update_microseconds,
        units.significant,
        title="µs/step",
        priority=3,
        interval=True,
        explanation="measured: compute and exchange",
    ),
    _microseconds(
        "predicted_microseconds",
        "predicted\nµs/step",
        3,
        "of the same ranks without an exchange, plus what their engine takes to add up as many bytes in one array",
    ),
    _microseconds("compute_microseconds", "compute\nµs", 7, "the first part of that"),
    _microseconds("exchange_microseconds", "exchange\nµs", 7, "the second part of that"),
    make_column(
        "over_predicted",
        unit=units.factor,
        title="measured/\npredicted",
        priority=4,
        interval=True,
        explanation="above 1, the engine adds to what the wire takes: more messages, or waiting; below, it hides a "
        "part behind the computation",
    ),
    _share(
        "exchange_share",
        "share of\na step",
        4,
        "that the exchange takes: what the step takes longer than without",
        lambda row: row.exchange_share,
    ),
    make_column(
        "efficient_batch",
        unit=lambda images: f"{images:,}",
        title=f"images for\n{units.percent(TARGET)}",
        priority=5,
        explanation=f"of each rank: from so many on, the exchange would take {units.percent(1 - TARGET)} of a step or "
        "less, by the line through all batch sizes; a prediction",
    ),
    make_column(
        "equal_shares_bound",
        unit=units.percent,
        title="equal\nshares",
        priority=6,
        explanation="the most that unequal machines can reach where each has the same share: the slowest sets the pace",
    ),
    _cost(
        "cost_per_epoch",
        "cost of\nan epoch",
        "by the prices of the hosts file or by --price-per-hour, of all machines used",
    ),
    _cost("cost_to_accuracy", "cost to\naccuracy", "to the first epoch that reached the target, by the same prices"),
    make_column("basis", lambda row: row.basis.name.lower(), number=False),
)


def _rank_table(summary: Summary, rows: Sequence[RankRow]) -> Table:
    several = [row for row in rows if row.scenario.ranks > 1]
    first, answer = several[0], widest(several)
    recipe = captions.describe_recipe(first.row.recipe, summary.dataset.train_samples, in_turns=first.row.in_turns)
    n = captions.format_n(row.measures.n for row in several)
    each = "" if first.basis is Basis.GLOBAL else "\nper rank"
    batch: Column[RankRow] = make_column(
        "batch_size_of_basis",
        lambda row: row.batch_size,
        title=f"batch{each}",
        priority=0,
        explanation=f"images of an update, of {'each rank' if each else 'all ranks together'}",
    )
    return make_table(
        f"{first.scenario.network}, {count_ranks(several)}: {first.basis}; {recipe}, {n}",
        [*_axes(several), batch, *_VALUES],
        rows,
        facts={"table": "ranks", **_facts(summary), **captions.recipe_facts(first.row.recipe)},
        notes=[("", describe_ranks(answer))] if answer is not None else [],
    )


def _axes(rows: Sequence[RankRow]) -> list[Column[RankRow]]:
    """Return the axes; shown are the ranks, the framework where there are several, and what else differs within one."""
    scenarios = [row.scenario for row in rows]
    frameworks = {scenario.framework for scenario in scenarios}
    shown = {"ranks", *(["framework"] if len(frameworks) > 1 else [])}
    for axis in SHOWN_AXES:
        own = ([each for each in scenarios if each.framework is framework] for framework in frameworks)
        if axis.heading.name not in _OWN_AXES and any(varies(axis, each) for each in own):
            shown.add(axis.heading.name)
    return [axis if axis.heading.name in shown else hidden_column(axis) for axis in (*AXES, LOOP)]


def _facts(summary: Summary) -> dict[str, Fact]:
    return {"suite": summary.suite, **captions.file_facts(summary), **captions.machine_facts(summary.environment)}


# --- exchanges


_EXCHANGES: Final[Sequence[Column[ExchangeLevel]]] = (
    make_column(
        "size_bytes",
        title="bytes",
        priority=0,
        text=lambda level: f"{level.size_bytes:,}" if level.size_bytes else "barrier",
        explanation="of the array that is added up, in float32 numbers",
    ),
    make_column(
        "seconds",
        unit=units.seconds,
        title="time",
        priority=0,
        explanation="from a barrier until the slowest rank has the sum: median over repetitions, then over curves",
    ),
    make_column(
        "mean_seconds",
        unit=units.seconds,
        title="mean",
        priority=2,
        explanation="of the repetitions, then of the curves; a step is predicted by it",
    ),
    make_column("least_seconds", unit=units.seconds, title="least", priority=2, explanation="of all repetitions"),
    make_column("greatest_seconds", unit=units.seconds, title="greatest", priority=2, explanation="of all repetitions"),
    make_column(
        "bytes_per_second",
        unit=units.mega,
        title="MB/s",
        priority=1,
        explanation="bytes over time; algbw of nccl-tests",
    ),
    make_column(
        "bus_bytes_per_second",
        unit=units.mega,
        title="bus MB/s",
        priority=1,
        explanation="that times 2 (ranks - 1) / ranks, to be compared with the link's; busbw of nccl-tests",
    ),
    make_column("curves", key="n_curves", title="n", priority=3, explanation="curves: before the runs, and after them"),
)


def _exchange_table(summary: Summary, curves: Sequence[ExchangeCurve]) -> Table:
    first = curves[0]
    return make_table(
        f"exchange of {name_engine(first, sharing_of(first, summary.hosts))}",
        _EXCHANGES,
        exchange_levels(curves),
        facts={
            "table": "exchanges",
            **_facts(summary),
            **{name: str(getattr(first, name)) for name in ("framework", "device", "exchange")},
            **captions.facts_of(first, "ranks", "servers", *HOST_AXES, "omp_num_threads"),
        },
        notes=[(FAILED, curve.failure) for curve in curves if curve.failure is not None],
    )

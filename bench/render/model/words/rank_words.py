"""What several ranks give, in a sentence; ranks that share a machine are never called machines."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from bench.analysis.scaling import TARGET, Basis, RankRow, Sharing
from bench.records.result import ExchangeCurve
from bench.render import units
from bench.render.model.words.captions import format_ranks
from bench.render.model.words.labels import full_setting
from bench.render.phrases import format_count, format_ratio
from bench.scenarios import baselines
from bench.scenarios.scenario import Scenario

#: What ranks are on that share something, or nothing.
PLACES: Final = {Sharing.NOTHING: "machine", Sharing.KERNEL: "host", Sharing.CORES: "rank"}


def name_ranks(ranks: Scenario | ExchangeCurve, sharing: Sharing) -> str:
    """Write 2 machines; 2 hosts on 1 machine, emulated link; or 2 ranks on 1 machine, shared cores."""
    if sharing is Sharing.CORES:
        return format_ranks(ranks.ranks, ranks.hosts)
    emulated = " on 1 machine, emulated link" if sharing is Sharing.KERNEL else ""
    return f"{format_count(ranks.hosts, PLACES[sharing])}{emulated}"


def name_engine(curve: ExchangeCurve, sharing: Sharing) -> str:
    """Write torch through gloo, 2 machines."""
    servers = f", {format_count(curve.servers, 'server')}" if curve.servers else ""
    return f"{curve.framework} through {curve.exchange}{servers}, {name_ranks(curve, sharing)}"


def count_ranks(rows: Sequence[RankRow]) -> str:
    """Write 2 machines, 4 machines, for rows that share alike."""
    several = {(row.scenario.ranks, row.scenario.hosts): row for row in rows if row.scenario.ranks > 1}
    return "; ".join(name_ranks(several[key].scenario, several[key].sharing) for key in sorted(several))


def widest(rows: Iterable[RankRow]) -> RankRow | None:
    """Return the row that an answer is about: the fastest of those with the most ranks.

    Machines come before ranks that share one, and what trains the same before what trains something else.
    """
    order = [*Sharing]
    return max(
        (row for row in rows if row.scenario.ranks > 1 and row.scenario.trains_as_one),
        key=lambda row: (
            -order.index(row.sharing),
            row.basis is Basis.GLOBAL,
            row.speedup is not None,
            row.scenario.ranks,
            row.measures.throughput.value,
        ),
        default=None,
    )


def describe_ranks(row: RankRow) -> str:
    """Say what the ranks of a row give, what the exchange takes, and from which batch on it takes little."""
    place = PLACES[row.sharing]
    setting = full_setting(baselines.alone(row.scenario, row.scenario.batch_size, 0))
    words = f"{name_ranks(row.scenario, row.sharing)}: {units.significant(row.measures.throughput.value)} images/s"
    if row.speedup is not None and row.efficiency is not None:
        words += f", {format_ratio(row.speedup)} one {place} at {row.basis} "
        words += f"({units.percent(row.efficiency.value)} efficient)"
    share = row.exchange_share
    if share is not None:
        is_seen = share.value > 0 and (share.lower is None or share.lower > 0)
        part = f"{units.percent(share.value)} of a step" if is_seen else "no part of a step that can be told"
        words += f"; the exchange takes {part}"
    if row.efficient_batch is not None:
        words += f"; from some {_rounded(row.efficient_batch)} images per {place} on it would take "
        words += f"{units.percent(1 - TARGET)} or less, as predicted"
    return f"{words} ({setting})"


def _rounded(images: int) -> str:
    """Write two digits: a prediction has no more."""
    return f"{int(float(f'{images:.1e}')):,}"

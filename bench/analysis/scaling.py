"""What several ranks give over one, and what holds them back: shared cores, the network, or the engine. Pure.

Two questions are kept apart: the same batch for all ranks together, and the same batch for each rank. With X images per
second, N ranks, and the machines alone at their share of the batch, efficiency is a product of three ratios:

    X_N / (N X_1)  =  (sum alone / (N X_1))  x  (X_together / sum alone)  x  (X_N / X_together)
                       smaller shares           shared cores                 exchange

X_together is that of the same ranks, all at once, that exchange nothing. All ratios are within blocks.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.analysis.groups import Group, RowKey, difference_in_blocks, log_ratio_of_rows, log_speed_in_block, throughput
from bench.analysis.roofline import GRADIENT_BYTES, costs_of
from bench.analysis.summary import Measures, Row, Summary
from bench.enums import StrEnum
from bench.records.environment import ClusterHost, kernels_of
from bench.records.result import ExchangeCurve, ExchangeTime
from bench.scenarios import baselines
from bench.scenarios.axes import RANK_AXES, Exchange
from bench.scenarios.scenario import Scenario
from bench.stats import block_design, intervals
from bench.stats.intervals import Estimate, TSummary

#: The efficiency whose batch is predicted.
TARGET: Final = 0.9


class Basis(StrEnum):
    """What is the same for one rank and for several."""

    #: The images of an update, so that all train the same.
    GLOBAL = "the same batch for all ranks together"
    #: The images of an update for each rank, so that more ranks update less often.
    LOCAL = "the same batch for each rank"


class Sharing(StrEnum):
    """What ranks share, so that each kind is told apart: only the first says anything about several machines."""

    NOTHING = "nothing"
    #: Hosts that are containers or namespaces of one machine: what is between them is no network.
    KERNEL = "kernel"
    CORES = "cores"


def sharing_of(ranks: Scenario | ExchangeCurve, hosts: Sequence[ClusterHost]) -> Sharing:
    """Return what ranks share that are on these hosts of a file."""
    if ranks.ranks > ranks.hosts:
        return Sharing.CORES
    kernels = kernels_of(hosts)[ranks.first_host : ranks.first_host + ranks.hosts]
    return Sharing.KERNEL if len({*kernels}) < len(kernels) else Sharing.NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeLevel:
    """What one engine took for arrays of one size, all curves of a file together."""

    #: The first of the curves.
    curve: ExchangeCurve
    #: Of the arrays; 0: a barrier.
    size_bytes: int
    #: Curves that have the size.
    curves: int
    #: Median over curves of their medians.
    seconds: float
    #: Mean over curves of their means; None where no curve has one.
    mean_seconds: float | None
    #: Over all repetitions of all curves.
    least_seconds: float
    greatest_seconds: float

    @property
    def expected_seconds(self) -> float:
        """What it adds to a step, whose time is a mean, too: the mean, or the median where no mean was kept."""
        return self.seconds if self.mean_seconds is None else self.mean_seconds

    @property
    def bytes_per_second(self) -> float | None:
        """The size over the seconds: the "algorithm bandwidth" of nccl-tests; None of a barrier."""
        return self.size_bytes / self.seconds if self.size_bytes else None

    @property
    def bus_bytes_per_second(self) -> float | None:
        """The "bus bandwidth" of nccl-tests for an all-reduce: what the slowest link carries each way, at best.

        A rank must send, and receive, 2 (n - 1) / n of the array, however many ranks there are.
        """
        ranks, rate = self.curve.ranks, self.bytes_per_second
        return None if rate is None else rate * 2 * (ranks - 1) / ranks


@dataclass(frozen=True, slots=True, kw_only=True)
class RankRow:
    """A row of several ranks beside one rank, on one basis; or that one rank itself."""

    row: Row
    measures: Measures
    basis: Basis
    sharing: Sharing
    #: Over one rank on the first machine; None of that itself.
    speedup: Estimate | None
    #: The same over the number of ranks.
    efficiency: Estimate | None
    #: The three factors of the efficiency.
    smaller_shares: Estimate | None
    shared_cores: Estimate | None
    exchange: Estimate | None
    #: What the slowest machine leaves of the efficiency where all have equal shares; 1 for equal machines.
    equal_shares_bound: float | None
    #: Of the same ranks without an exchange, or else of the slowest machine alone, unless ranks share one.
    compute_microseconds: float | None
    #: Of an exchange of all gradients as one array, on average, by the curves of the engine.
    exchange_microseconds: float | None
    #: Images of each rank from which on the exchange takes less than a tenth of a step, as predicted.
    efficient_batch: int | None

    @property
    def scenario(self) -> Scenario:
        return self.row.scenario

    @property
    def batch_size(self) -> int:
        """Images of an update, of all ranks or of each: what one rank trains that it is beside."""
        return self.scenario.batch_size if self.basis is Basis.GLOBAL else baselines.share_of(self.scenario)

    @property
    def cost_per_epoch(self) -> float | None:
        """In the currency of the hosts file, or of the price that was given."""
        return None if self.measures.bill is None else self.measures.bill.per_epoch.value

    @property
    def cost_to_accuracy(self) -> float | None:
        return None if self.measures.bill is None else self.measures.bill.to_accuracy

    @property
    def one(self) -> Scenario:
        """What it is beside: itself, or one rank on the first machine."""
        return baselines.alone(self.scenario, self.batch_size, self.scenario.first_host)

    @property
    def predicted_microseconds(self) -> float | None:
        """Of a step that computes, and then exchanges."""
        if self.compute_microseconds is None or self.exchange_microseconds is None:
            return None
        return self.compute_microseconds + self.exchange_microseconds

    @property
    def over_predicted(self) -> Estimate | None:
        """The measured step over the predicted one: what the engine adds to the wire, or hides of it."""
        predicted = self.predicted_microseconds
        return None if predicted is None else self.measures.update_microseconds.scaled(1 / predicted)

    @property
    def exchange_share(self) -> Estimate | None:
        """The part of a step that it takes longer than without an exchange."""
        kept = self.exchange
        if kept is None:
            return None
        lower, upper = (None, None) if kept.lower is None or kept.upper is None else (1 - kept.upper, 1 - kept.lower)
        return Estimate(value=1 - kept.value, lower=lower, upper=upper, n=kept.n)


def engine_of(ranks: Scenario | ExchangeCurve) -> tuple[object, ...]:
    """Return what ranks share whose exchanges take as long: the framework, a rank's device, and the axes of ranks."""
    device = ranks.device if isinstance(ranks, ExchangeCurve) else ranks.contexts[0]
    return (ranks.framework, device, *(getattr(ranks, axis) for axis in RANK_AXES))


def by_engine(curves: Iterable[ExchangeCurve]) -> list[list[ExchangeCurve]]:
    """Return the curves of each engine together, in the order of time."""
    engines: dict[tuple[object, ...], list[ExchangeCurve]] = {}
    for curve in curves:
        engines.setdefault(engine_of(curve), []).append(curve)
    return list(engines.values())


def exchange_levels(curves: Sequence[ExchangeCurve]) -> list[ExchangeLevel]:
    """Return what an engine took, by all of its curves, from a barrier to large arrays."""
    times: dict[int, list[ExchangeTime]] = {}
    for time in (time for curve in curves for time in (curve.barrier, *curve.times) if time is not None):
        times.setdefault(time.size_bytes, []).append(time)
    return [
        ExchangeLevel(
            curve=curves[0],
            size_bytes=size,
            curves=len(known),
            seconds=statistics.median(time.median_seconds for time in known),
            mean_seconds=_mean_of_known(time.mean_seconds for time in known),
            least_seconds=min(time.min_seconds for time in known),
            greatest_seconds=max(time.max_seconds for time in known),
        )
        for size, known in sorted(times.items())
    ]


def _mean_of_known(seconds: Iterable[float | None]) -> float | None:
    known = [each for each in seconds if each is not None]
    return statistics.fmean(known) if known else None


def gradient_exchanges(
    curves: Iterable[ExchangeCurve], others: Iterable[ExchangeCurve]
) -> list[tuple[ExchangeLevel, ExchangeLevel]]:
    """Return what the engines that two files share took for the gradients of the known networks, in both of them."""
    sizes = {*GRADIENT_BYTES.values()}
    known, other = (
        {(engine_of(each[0]), level.size_bytes): level for each in by_engine(side) for level in exchange_levels(each)}
        for side in (curves, others)
    )
    return [(level, other[key]) for key, level in known.items() if key in other and level.size_bytes in sizes]


def rank_rows(summary: Summary) -> list[RankRow]:
    """Return each row of ranks beside one rank, on each basis on which that was measured, in the order of the plan.

    One rank itself stands before the first of its rows. Ranks of which no single one was measured are beside none, on
    the basis of the same batch.
    """
    known = _Known(summary)
    found: dict[tuple[RowKey, Basis], RankRow] = {}
    for row in summary.rows:
        if row.measures is None or not row.status.is_ranked or row.scenario.ranks == 1:
            continue
        if row.scenario.exchange is Exchange.NONE:
            continue
        both = {basis: known.one(row, basis) for basis in Basis}
        measured = {basis: one for basis, one in both.items() if one is not None}
        for basis, one in measured.items():
            if one.measures is not None:
                found.setdefault(((one.scenario, one.recipe), basis), known.alone(one, one.measures, basis))
            found[(row.scenario, row.recipe), basis] = known.beside(row, row.measures, one, basis)
        if not measured:
            found[(row.scenario, row.recipe), Basis.GLOBAL] = known.beside(row, row.measures, None, Basis.GLOBAL)
    return list(found.values())


class _Known:
    """The rows of a file by what they are, and how long its engines take."""

    def __init__(self, summary: Summary) -> None:
        self._groups, self._hosts = summary.groups, summary.hosts
        self._rows = {(row.scenario, row.recipe): row for row in summary.rows if row.status.is_ranked}
        self._levels = {
            (engine_of(level.curve), level.size_bytes): level
            for curves in by_engine(summary.exchanges)
            for level in exchange_levels(curves)
        }

    def one(self, row: Row, basis: Basis) -> Row | None:
        """Return the row of one rank on the first machine."""
        scenario = row.scenario
        batch_size = scenario.batch_size if basis is Basis.GLOBAL else baselines.share_of(scenario)
        return self._rows.get((baselines.alone(scenario, batch_size, scenario.first_host), row.recipe))

    def alone(self, row: Row, measures: Measures, basis: Basis) -> RankRow:
        """Return one rank as a row beside the others."""
        return RankRow(
            row=row,
            measures=measures,
            basis=basis,
            sharing=sharing_of(row.scenario, self._hosts),
            speedup=None,
            efficiency=None,
            smaller_shares=None,
            shared_cores=None,
            exchange=None,
            equal_shares_bound=None,
            compute_microseconds=None,
            exchange_microseconds=None,
            efficient_batch=None,
        )

    def beside(self, row: Row, measures: Measures, one: Row | None, basis: Basis) -> RankRow:
        """Return a row of ranks beside one rank."""
        scenario, ranks = row.scenario, row.scenario.ranks
        own, together = self._group(row), self._rows.get((baselines.without_exchange(scenario), row.recipe))
        each_alone = [self._rows.get((each, row.recipe)) for each in baselines.each_alone(scenario)]
        alone = [each for each in each_alone if each is not None] if None not in each_alone else []
        sums = [self._group(each) for each in alone]
        speedup = None if one is None else _over(own, [self._group(one)])
        smaller = None if one is None or not sums else _over(self._group(one), sums).inverse(1 / ranks)
        computing, exchange = together, self._exchange(scenario)
        if computing is None and sharing_of(scenario, self._hosts) is not Sharing.CORES:
            computing = _slowest(alone)
        return RankRow(
            row=row,
            measures=measures,
            basis=basis,
            sharing=sharing_of(row.scenario, self._hosts),
            speedup=speedup,
            efficiency=None if speedup is None else speedup.scaled(1 / ranks),
            smaller_shares=smaller,
            shared_cores=None if together is None or not sums else _over(self._group(together), sums),
            exchange=None if together is None else _over(own, [self._group(together)]),
            equal_shares_bound=_bound_of_equal_shares(alone),
            compute_microseconds=None if computing is None else _update_microseconds(computing),
            exchange_microseconds=exchange,
            efficient_batch=None if computing is None or exchange is None else _efficient_batch(exchange, computing),
        )

    def _group(self, row: Row) -> Group:
        return self._groups[row.scenario, row.recipe]

    def _exchange(self, scenario: Scenario) -> float | None:
        """Return the microseconds of an exchange of all gradients as one array; None where they were not measured."""
        costs = costs_of(scenario.network)
        level = None if costs is None else self._levels.get((engine_of(scenario), costs.gradient_bytes))
        return None if level is None else 1e6 * level.expected_seconds


def _over(group: Group, others: Sequence[Group]) -> Estimate:
    """Return the ratio of a row's images per second to the sum of those of other rows, which may be named twice.

    Within blocks where all of them took turns. Else as of independent samples, and of different rows without an
    interval.
    """
    first = others[0]
    if all(other is first for other in others):
        return intervals.ratio_of(log_ratio_of_rows(group, first)).scaled(1 / len(others))
    speeds = [log_speed_in_block(other.runs) for other in others]
    sums = {
        block: math.log(math.fsum(math.exp(speed[block]) for speed in speeds))
        for block in speeds[0]
        if all(block in speed for speed in speeds)
    }
    spread = block_design.common_spread(group.spread, *(other.spread for other in others))
    in_blocks = difference_in_blocks(log_speed_in_block(group.runs), sums, spread)
    if in_blocks is None:
        own, *means = (_mean_throughput(each) for each in (group, *others))
        in_blocks = TSummary(math.log(own / math.fsum(means)), None, None, min(len(each.runs) for each in others))
    return intervals.ratio_of(in_blocks)


def _mean_throughput(group: Group) -> float:
    return intervals.geometric_mean([throughput(run) for run in group.runs]).value


def _bound_of_equal_shares(alone: Sequence[Row]) -> float | None:
    speeds = [each.measures.throughput.value for each in alone if each.measures is not None]
    return len(speeds) * min(speeds) / math.fsum(speeds) if speeds else None


def _update_microseconds(row: Row) -> float:
    return 0.0 if row.measures is None else row.measures.update_microseconds.value


def _slowest(alone: Sequence[Row]) -> Row | None:
    return max(alone, key=_update_microseconds, default=None)


def _efficient_batch(exchange_microseconds: float, computing: Row) -> int | None:
    """Return the images of each rank from which on a step computes for long enough; None where its time is no line."""
    measures = computing.measures
    if measures is None or measures.fixed_update_microseconds is None or measures.image_microseconds is None:
        return None
    fixed, slope = measures.fixed_update_microseconds.value, measures.image_microseconds.value
    if slope <= 0:
        return None
    needed = exchange_microseconds * TARGET / (1 - TARGET)
    return max(1, math.ceil((needed - fixed) / slope / computing.scenario.ranks))

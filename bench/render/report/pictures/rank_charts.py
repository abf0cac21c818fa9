"""What several ranks give -> pictures: speed-up beside the ideal line, and how long engines take for arrays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from bench.analysis.headline import Source
from bench.analysis.roofline import GRADIENT_BYTES
from bench.analysis.scaling import (
    Basis,
    ExchangeLevel,
    RankRow,
    Sharing,
    by_engine,
    exchange_levels,
    rank_rows,
    sharing_of,
)
from bench.render import units
from bench.render.model.document import Picture, Section
from bench.render.model.words.labels import labels_of
from bench.render.model.words.rank_words import PLACES, describe_ranks, name_engine, name_ranks, widest
from bench.render.phrases import clean_text, format_estimate
from bench.render.report.pictures import charts
from bench.render.report.pictures.charts import MOST_CURVES, Axis, Plotted, Point
from bench.render.report.pictures.chosen_rows import places_of, say_more
from bench.scenarios.scenario import Scenario

#: What a picture of ranks has in common: its network, what ranks share, and what is the same for one and for several.
_Kind = tuple[str, Sharing, Basis]


def rank_sentences(sources: Sequence[Source]) -> Iterable[tuple[str, str]]:
    """Yield (network, what its ranks give) for each file, of the fastest of its most machines."""
    for source in sources:
        rows = rank_rows(source.summary)
        for network in dict.fromkeys(row.scenario.network for row in rows):
            answer = widest(row for row in rows if row.scenario.network == network)
            if answer is not None:
                where = f"In {source.name}, " if len(sources) > 1 else ""
                yield network, f"{where}{describe_ranks(answer)}."


def draw_ranks(sources: Sequence[Source]) -> Section:
    """Draw the ranks of these files; a section without anything where there are none."""
    found: dict[_Kind, list[tuple[Source, RankRow]]] = {}
    for source in sources:
        for row in rank_rows(source.summary):
            if row.speedup is not None:
                found.setdefault((row.scenario.network, row.sharing, row.basis), []).append((source, row))
    pictures = [_speedups(f"ranks{place}", kind, rows) for place, (kind, rows) in enumerate(found.items())]
    return Section(key="ranks", title="Several ranks", pictures=(*pictures, *_exchanges(sources)))


def _speedups(key: str, kind: _Kind, rows: Sequence[tuple[Source, RankRow]]) -> Picture:
    network, sharing, basis = kind
    lines: dict[tuple[str, Scenario, tuple[object, ...]], list[tuple[Source, RankRow]]] = {}
    for source, row in rows:
        how = (row.scenario.exchange, row.scenario.servers)
        lines.setdefault((source.name, row.one, how), []).append((source, row))
    ordered = sorted(lines.values(), key=lambda line: -max(row.measures.throughput.value for _source, row in line))
    labels = labels_of((source.name, row.one) for line in ordered for source, row in line)
    alike = Counter((name, one) for name, one, _how in lines)
    plotted = []
    for line in ordered[:MOST_CURVES]:
        (source, first), *_ = line
        label = labels.of(source.name, first.one)
        if alike[source.name, first.one] > 1:
            label += f", {first.scenario.exchange}"
            label += f", servers {first.scenario.servers}" * bool(first.scenario.servers)
        plotted.append(_line(label, line))
    counts = places_of(plotted)
    words = "The grey line is as many times as there are machines."
    if sharing is not Sharing.NOTHING:
        where = name_ranks(rows[0][1].scenario, sharing)
        words = f"The grey line is what as many machines could give; these are {where}, and no measurement of several."
    return charts.draw_lines(
        key,
        plotted,
        title=f"{clean_text(network)}: speed-up over one {PLACES[sharing]}, {basis}",
        subject=network,
        x=Axis(title=f"{PLACES[sharing]}s", whole=True),
        y=Axis(title="times the images/s of one", from_zero=True),
        marks=counts,
        references=[Plotted("ideal", [Point(count, count, "") for count in counts])],
        caption=f"{words} A point below 1 is slower than one.{say_more(len(ordered), len(plotted), 'curve')}",
    )


def _line(label: str, line: Sequence[tuple[Source, RankRow]]) -> Plotted:
    points = [Point(1, 1, f"{label}: one {PLACES[line[0][1].sharing]}")]
    for _source, row in sorted(line, key=lambda pair: pair[1].scenario.ranks):
        if (speedup := row.speedup) is not None:
            tip = f"{label}, {name_ranks(row.scenario, row.sharing)}: {format_estimate(speedup, 'times one')}, "
            tip += f"{units.significant(row.measures.throughput.value)} images/s"
            points.append(Point(row.scenario.ranks, speedup.value, tip, speedup.lower, speedup.upper))
    return Plotted(label, points)


def _exchanges(sources: Sequence[Source]) -> Iterable[Picture]:
    found = [
        (source, levels)
        for source in sources
        for curves in by_engine(source.summary.exchanges)
        if len(levels := [level for level in exchange_levels(curves) if level.size_bytes]) > 1
    ]
    if not found:
        return
    lines = []
    for source, levels in found[:MOST_CURVES]:
        where = f"{source.name}, " if len(sources) > 1 else ""
        engine = name_engine(levels[0].curve, sharing_of(levels[0].curve, source.summary.hosts))
        label = clean_text(f"{where}{engine}")
        lines.append(Plotted(label, [_exchange_point(label, level) for level in levels]))
    gradients = " and ".join(f"{size:,} of the {network}" for network, size in GRADIENT_BYTES.items())
    yield charts.draw_lines(
        "exchanges",
        lines,
        title="How long an exchange takes",
        subject="the engines of the ranks",
        x=Axis(title="bytes", logarithmic=True),
        y=Axis(title="milliseconds", logarithmic=True),
        caption="Where a curve is flat, the latency of messages counts, and where it rises, the bandwidth. "
        f"Gradients have {gradients} bytes. Bars are the least and the greatest of all repetitions."
        f"{say_more(len(found), len(lines), 'curve')}",
    )


def _exchange_point(label: str, level: ExchangeLevel) -> Point:
    rate = "" if level.bytes_per_second is None else f", {units.mega(level.bytes_per_second)} MB/s"
    tip = f"{label}: {level.size_bytes:,} bytes in {units.seconds(level.seconds)}{rate}, n = {level.curves}"
    usual, least, greatest = (1e3 * each for each in (level.seconds, level.least_seconds, level.greatest_seconds))
    return Point(level.size_bytes, usual, tip, least, greatest)

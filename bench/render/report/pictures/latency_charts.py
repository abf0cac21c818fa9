"""What a single image takes -> a picture for each network: a histogram for each row, with its percentiles marked."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Final

from bench.analysis.headline import Source
from bench.analysis.prediction import PERCENTILES, TAIL, LatencyRow, latency_rows
from bench.render import units
from bench.render.model.document import Picture, Section
from bench.render.model.words.labels import labels_of
from bench.render.phrases import clean_text, ends
from bench.render.report.pictures import charts
from bench.render.report.pictures.charts import Axis, PlottedRow, Point
from bench.render.report.pictures.chosen_rows import fairly, say_more
from bench.render.views.predictions import METHOD, prediction_sentences
from bench.stats.intervals import Estimate
from bench.stats.order_statistics import bucket_end, percentile_name
from mnist_core.recipe import Recipe

#: Rows of a picture; the table has all of them.
_MOST_ROWS: Final = 12
#: Bars of a histogram in a factor of ten: each is 5 % wide. The stored buckets are finer than a picture can show.
_BARS_PER_DECADE: Final = 48


def latency_sentences(sources: Sequence[Source]) -> Iterable[tuple[str, str]]:
    """Yield (network, which row answers a single image soonest) for each file."""
    for source in sources:
        where = f"In {source.name}, " if len(sources) > 1 else ""
        for network, text in prediction_sentences(source.summary):
            yield network, f"{where}{text}."


def draw_latencies(sources: Sequence[Source]) -> Section:
    """Draw the latencies of these files; a section without anything where there are none."""
    found: dict[tuple[str, Recipe], list[tuple[Source, LatencyRow]]] = {}
    for source in sources:
        for row in latency_rows(source.summary):
            if TAIL in row.percentiles:
                found.setdefault((row.scenario.network, row.row.recipe), []).append((source, row))
    pictures = [_picture(f"latency{place}", network, rows) for place, ((network, _), rows) in enumerate(found.items())]
    return Section(key="latency", title="What a single image takes", pictures=tuple(pictures))


def _picture(key: str, network: str, rows: Sequence[tuple[Source, LatencyRow]]) -> Picture:
    ordered = sorted(rows, key=lambda pair: pair[1].percentiles[TAIL].value)
    shown = fairly(ordered, _MOST_ROWS, lambda pair: pair[0])
    labels = labels_of((source.name, row.scenario) for source, row in shown)
    plotted = []
    for source, row in shown:
        label = clean_text(labels.of(source.name, row.scenario))
        points = [_point(label, row, fraction) for fraction in PERCENTILES]
        plotted.append(PlottedRow(label, points, histogram=_bars(row)))
    return charts.draw_rows(
        key,
        plotted,
        title=f"{clean_text(network)}: how long a single image takes",
        subject=network,
        x=Axis(title="µs", logarithmic=True),
        legend=[percentile_name(fraction) for fraction in PERCENTILES],
        caption="The least p99 stands at the top. Bars count the images of all processes of a row on a logarithmic "
        "scale, so that a single slow one shows; marks are its percentiles with their 95 % intervals over processes. "
        f"Measured in a {METHOD}.{say_more(len(rows), len(shown), 'row')}",
    )


def _point(label: str, row: LatencyRow, fraction: float) -> Point | None:
    if (estimate := row.percentiles.get(fraction)) is None:
        return None
    micro = estimate.scaled(1e6)
    tip = f"{label}: {percentile_name(fraction)} {_describe(estimate)}"
    return Point(micro.value, 0, tip, micro.lower, micro.upper)


def _describe(estimate: Estimate) -> str:
    interval = f"95 % interval {ends(estimate, units.seconds)}" if estimate.lower is not None else "no interval"
    return f"{units.seconds(estimate.value)}, {interval}, n = {estimate.n}"


def _bars(row: LatencyRow) -> list[tuple[float, float, float]]:
    """Return the bars of a row's histogram in microseconds, as high as the logarithm of their number of queries."""
    counts: dict[int, int] = {}
    for edge, count in row.buckets:
        middle = (edge + bucket_end(edge)) / 2
        place = math.floor(_BARS_PER_DECADE * math.log10(middle / 1000))
        counts[place] = counts.get(place, 0) + count
    most = math.log1p(max(counts.values()))
    return [
        (10 ** (place / _BARS_PER_DECADE), 10 ** ((place + 1) / _BARS_PER_DECADE), math.log1p(count) / most)
        for place, count in sorted(counts.items())
    ]

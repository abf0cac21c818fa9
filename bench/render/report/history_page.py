"""Histories -> a page with a picture for each scenario."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.analysis.across.history import History, Trend
from bench.analysis.prices import Price
from bench.render import units
from bench.render.model.document import Picture, Report, Section
from bench.render.model.table import clean_pairs
from bench.render.model.words.captions import describe_machine, describe_recipe
from bench.render.phrases import clean_text, format_count
from bench.render.report.pictures import charts
from bench.render.report.pictures.charts import Axis, Plotted, Point
from bench.render.views.across.histories import format_commit, history_tables

#: Fewer marks are no course of anything.
_FEWEST: Final = 3


def history_report(histories: Sequence[History], price: Price | None = None) -> Report:
    """Changes first, then a picture per scenario, then the tables."""
    short: list[tuple[str, str]] = []
    sections = []
    for place, history in enumerate(histories):
        machine = describe_machine(history.environment)
        changes = [(trend, change) for trend in history.trends for change in trend.changes]
        untested = sum(not trend.testable for trend in history.trends)
        if untested:
            fewest = max(trend.fewest for trend in history.trends)
            what = format_count(untested, "scenario")
            short.append((machine, f"{what} with too few files to find a change in: it shows from {fewest} on."))
        if not changes and untested < len(history.trends):
            short.append((machine, f"no change of level in {format_count(history.files, 'file')}."))
        for trend, change in changes:
            since = trend.measured[change.index]
            text = (
                f"{units.signed(change.ratio.value)} % images/s since {format_commit(since)} ({since.created_at}) "
                f"on {machine}."
            )
            short.append((trend.key[0].name, text))
        sections.append(
            Section(
                key=f"history{place}",
                title=clean_text(machine),
                words=("Steps are the levels between changes; each mark is a file, and tells its commit.",),
                pictures=tuple(
                    _picture(f"h{place}-{number}", trend, history)
                    for number, trend in enumerate(history.trends)
                    if len(trend.measured) >= _FEWEST
                ),
                tables=tuple(history_tables([history], price)),
            )
        )
    return Report(title="mnist-bench: history", short=clean_pairs(short), sections=tuple(sections))


def _picture(key: str, trend: Trend, history: History) -> Picture:
    scenario, recipe = trend.key
    files = [
        Point(
            number,
            speed,
            f"{clean_text(each.name)}, {each.created_at}, {format_commit(each)}: {units.significant(speed)} images/s, "
            f"n = {each.speed.n}",
        )
        for number, (each, speed) in enumerate(zip(trend.measured, trend.throughputs, strict=True), start=1)
    ]
    levels = [
        Plotted("level", [Point(begin + 1, level.value, ""), Point(end, level.value, "")])
        for begin, end, level in trend.levels
    ]
    told = [
        f"{units.signed(change.ratio.value)} % since file {change.index + 1} of {len(files)} "
        f"({format_commit(trend.measured[change.index])})"
        for change in trend.changes
    ]
    title = clean_text(scenario.name)
    nothing = (
        "no change of level" if trend.testable else f"too few files to find a change in: {len(files)} of {trend.fewest}"
    )
    said = "; ".join(told) or nothing
    alternative = f"{title}: images per second over {format_count(len(files), 'file')}; {said}."
    return charts.draw_lines(
        key,
        [Plotted("a file", files, joined=False)],
        title=title,
        caption=f"{describe_recipe(recipe, history.dataset.train_samples, in_turns=trend.in_turns)}; {said}.",
        alternative=alternative,
        x=Axis(title="files, in the order of time", whole=True),
        y=Axis(title="images/s"),
        references=levels,
        legend=False,
    )

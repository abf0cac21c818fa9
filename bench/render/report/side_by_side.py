"""Files beside the first one: a sentence and a picture of their ratios, then the tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from bench.analysis.across.comparison import ComparedRow, Comparison, Kind, compare
from bench.analysis.across.entries import busier, index, shipped_spread
from bench.analysis.headline import Source
from bench.analysis.series import measured
from bench.analysis.summary import Measures
from bench.analysis.verdict import Verdict
from bench.render import units
from bench.render.model.axis_columns import SHOWN_AXES, varies
from bench.render.model.document import Picture, Section
from bench.render.model.marks import FASTEST
from bench.render.model.table import Cell, Table, TableRow
from bench.render.model.words.captions import describe_machine, describe_recipe, name_processor
from bench.render.model.words.labels import full_setting, short_names
from bench.render.phrases import clean_text, format_count, format_estimate, format_ratio, plus_minus
from bench.render.report.machines import cells_of, heading_of
from bench.render.report.pictures import charts
from bench.render.report.pictures.charts import Axis, PlottedRow, Point
from bench.render.views.across.comparison_columns import describe_difference, throughput_ratio
from bench.render.views.across.comparisons import comparison_tables
from bench.scenarios.scenario import Scenario
from bench.stats.intervals import bounds
from mnist_core.recipe import Recipe

#: Number of files from which ratios to the first one no longer show them side by side.
_SEVERAL: Final = 3
#: Rows of a picture of ratios; the tables have all of them.
_MOST_ROWS: Final = 24


def comparisons_of(sources: Sequence[Source]) -> list[Comparison]:
    """Compare every file with the first, as `compare` does."""
    first, *others = [index(source.name, source.summary) for source in sources]
    return [compare(first, other, sessions=shipped_spread()) for other in others]


def comparison_sentences(comparisons: Sequence[Comparison]) -> Iterator[tuple[str, str]]:
    """(what is compared, how fast the one is beside the other): what somebody wants to know of two machines."""
    for comparison in comparisons:
        names = _short(comparison)
        about = f"{names[comparison.contender.name]} against {names[comparison.baseline.name]}"
        slowdown, ratio = comparison.slowdown, throughput_ratio(comparison.slowdown)
        if comparison.refusal is not None:
            yield about, f"not comparable: {comparison.refusal}."
        elif slowdown is None or ratio is None:
            unlike = [row.reason for row in comparison.rows if row.outcome is Verdict.INCOMPARABLE]
            yield about, f"not comparable: {unlike[0]}." if unlike else "no scenario in common has a result in both."
        else:
            over = f"over {format_count(len(comparison.averaged), 'common scenario')}"
            if comparison.kind is Kind.HARDWARE:
                sides = (comparison.contender.environment, comparison.baseline.environment)
                here, there = map(name_processor, sides)
                if here == there:
                    here, there = map(describe_machine, sides)
                told = f"{here} does {format_ratio(ratio)} the images/s of {there}, {over}."
            else:
                told = f"{describe_difference(comparison, slowdown)} on the same machine, {over}, in this file."
            ends = bounds(slowdown)
            if ends is None:
                told += " Single processes have no interval: nobody knows how much of that is luck."
            elif ends[0] <= 0 <= ends[1]:
                told += " The two cannot be told apart."
            if comparison.kind is Kind.SAME_MACHINE and (side := busier(comparison.baseline, comparison.contender)):
                told += f" The machine was busier under {names[side.name]}."
            yield about, told


def side_by_side(sources: Sequence[Source], comparisons: Sequence[Comparison]) -> Section:
    """What is in several of the files; the first one is what the others are compared with."""
    words, shown = [], []
    for comparison in comparisons:
        common = tuple(row for row in comparison.rows if row.baseline is not None and row.contender is not None)
        if left_out := len(comparison.rows) - len(common):
            what = format_count(left_out, "scenario")
            files = f"{comparison.baseline.name} and {comparison.contender.name}"
            words.append(clean_text(f"{what} in only one of {files}: see All numbers."))
        if common:
            shown.append(dataclasses.replace(comparison, rows=common))
    matrix = _matrix(sources) if len(sources) >= _SEVERAL else []
    drawn = (_draw_ratios(f"ratio{place}", comparison) for place, comparison in enumerate(shown))
    return Section(
        key="compared",
        title="Side by side",
        words=tuple(words),
        pictures=tuple(picture for picture in drawn if picture is not None),
        tables=(*matrix, *comparison_tables(shown)),
    )


def _short(comparison: Comparison) -> dict[str, str]:
    return short_names([comparison.baseline.name, comparison.contender.name])


def _draw_ratios(key: str, comparison: Comparison) -> Picture | None:
    """Draw the ratio of every common scenario with its interval, and their mean at the top."""
    rows = [row for row in comparison.common if throughput_ratio(row.slowdown) is not None]
    if len(rows) < 2:  # noqa: PLR2004  # a single ratio compares nothing
        return None
    names = _short(comparison)
    one, other = (clean_text(names[side.name]) for side in (comparison.contender, comparison.baseline))
    mean = throughput_ratio(comparison.slowdown)
    assert mean is not None
    label = f"mean of {format_count(len(comparison.averaged), 'scenario')}"
    plotted = [PlottedRow(label, [Point(mean.value, 0, f"{label}: {format_estimate(mean)}", mean.lower, mean.upper)])]
    plotted += [_plot(row, rows) for row in rows[: _MOST_ROWS - 1]]
    more = "" if len(rows) < _MOST_ROWS else f" Shown: the first {_MOST_ROWS - 1} of {len(rows)} scenarios."
    return charts.draw_rows(
        key,
        plotted,
        title=f"{one} over {other}: ratio of images/s",
        subject=f"{one} over {other}",
        x=Axis(title=f"times as fast as {other}", logarithmic=True),
        reference=1.0,
        caption=f"Right of the line {one} is faster. An interval that crosses the line shows no difference; a mark "
        f"without one is of a single process.{more} 95 % intervals over processes and sessions.",
    )


def _plot(row: ComparedRow, rows: Sequence[ComparedRow]) -> PlottedRow:
    scenarios = [each.scenario for each in rows]
    axes = [axis for axis in SHOWN_AXES if varies(axis, scenarios)]
    label = clean_text(", ".join(filter(None, (_of_axis(axis.heading.title, axis.value(row)) for axis in axes))))
    label = label or full_setting(row.scenario)
    if len({each.recipe for each in rows if each.scenario == row.scenario}) > 1:
        label = f"{label}, {format_count(row.recipe.epochs, 'epoch')}"
    ratio = throughput_ratio(row.slowdown)
    assert ratio is not None
    return PlottedRow(label, [Point(ratio.value, 0, f"{label}: {format_estimate(ratio)}", ratio.lower, ratio.upper)])


def _of_axis(title: str, value: object) -> str:
    if value is None:
        return ""
    return str(value) if title in {"network", "contexts", "framework", "loop"} else f"{title} {value}"


def _matrix(sources: Sequence[Source]) -> list[Table]:
    """A row per scenario, a column per file; one table per recipe."""
    found: dict[Recipe, dict[Scenario, dict[str, Measures]]] = {}
    for source in sources:
        for row, measures in measured(source.summary.rows):
            found.setdefault(row.recipe, {}).setdefault(row.scenario, {})[source.name] = measures
    names = short_names([source.name for source in sources])
    headings = (
        heading_of("scenario", "scenario"),
        *(
            dataclasses.replace(heading_of(name, f"{short}\nimages/s ±"), number=True, interval=True)
            for name, short in names.items()
        ),
    )
    made = []
    for recipe, scenarios in found.items():
        shared = {scenario: by_file for scenario, by_file in scenarios.items() if len(by_file) > 1}
        rows = [
            TableRow(cells=(*cells_of([scenario.name]), *_in_each(by_file, names)))
            for scenario, by_file in shared.items()
        ]
        if rows:
            of_recipe = [
                row for source in sources for row in source.summary.rows if row.recipe == recipe and row.measures
            ]
            in_turns = all(row.in_turns for row in of_recipe)
            words = describe_recipe(recipe, sources[0].summary.dataset.train_samples, in_turns=in_turns)
            made.append(Table(title=f"images/s by file: {words}", headings=headings, rows=tuple(rows)))
    return made


def _in_each(by_file: dict[str, Measures], names: Iterable[str]) -> Iterable[Cell]:
    best = max(by_file, key=lambda name: by_file[name].throughput.value)
    for name in names:
        measures = by_file.get(name)
        if measures is None:
            yield Cell(raw=None, text="")
            continue
        text = units.significant(measures.throughput.value)
        mark = FASTEST if name == best else ""
        yield Cell(raw=measures.throughput, text=text, detail=plus_minus(measures.throughput), mark=mark)

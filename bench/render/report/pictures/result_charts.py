"""What was measured of one network under one recipe -> pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.analysis import accuracy, series
from bench.analysis.headline import Source
from bench.analysis.series import Curve
from bench.analysis.summary import Row
from bench.render import units
from bench.render.model.document import Picture
from bench.render.model.words.captions import format_n
from bench.render.model.words.labels import full_setting, labels_of, short_names
from bench.render.phrases import clean_text, format_count, format_estimate
from bench.render.report.pictures import charts
from bench.render.report.pictures.charts import MOST_CURVES, Axis, Plotted, PlottedRow, Point
from bench.render.report.pictures.chosen_rows import (
    MeasuredRow,
    fairly,
    labelled,
    places_of,
    point_of,
    say_more,
    under_roof,
    value_axis,
)
from bench.scenarios.scenario import Scenario, tutorial_setting
from bench.stats.intervals import Estimate
from mnist_core.devices import DeviceKind
from mnist_core.recipe import Recipe

#: Rows of a picture with a row per scenario; the table has all of them.
_MOST_ROWS: Final = 16
#: A bar alone, or a setting beside nothing, compares nothing.
_FEWEST: Final = 2


def draw_network(key: str, network: str, recipe: Recipe, rows: Sequence[MeasuredRow]) -> tuple[Picture, ...]:
    """Every picture that there is something to show in. `rows`: of that network and recipe, at least one."""
    ordered = sorted(rows, key=lambda each: -each.measures.throughput.value)
    drawn = _Network(key=key, network=network, recipe=recipe, rows=ordered)
    made = (
        drawn.speedups(),
        drawn.throughput(),
        drawn.over_batch_sizes(),
        drawn.scaling(),
        drawn.learning(over_seconds=True),
        drawn.learning(over_seconds=False),
        drawn.time_to_accuracy(),
        drawn.roofline(),
        drawn.first_steps(),
    )
    return tuple(picture for picture in made if picture is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network:
    """The pictures of one network; None where there is nothing to show."""

    key: str
    network: str
    recipe: Recipe
    #: The fastest first.
    rows: Sequence[MeasuredRow]

    @property
    def sources(self) -> Sequence[Source]:
        return list({each.source.name: each.source for each in self.rows}.values())

    def speedups(self) -> Picture | None:
        others = [each for each in self.rows if not each.row.is_baseline]
        found = [(each, ratio) for each in others if (ratio := each.measures.speedup) is not None]
        if not found:
            return None
        shown = labelled(sorted(found, key=lambda pair: -pair[1].value), _MOST_ROWS)
        sizes = {each.row.scenario.batch_size for _label, each, _ratio in shown}
        fewer = " A larger batch makes fewer updates, and learns less in an epoch." if len(sizes) > 1 else ""
        compared = [each.row.scenario for _label, each, _ratio in shown]
        setting = full_setting(tutorial_setting(self.network), among=compared)
        return charts.draw_rows(
            f"{self.key}-speedup",
            self._rows(shown, "times as fast"),
            title="Speed-up over the tutorial's own setting",
            subject=self.network,
            x=Axis(title="times as fast", logarithmic=True),
            reference=1.0,
            legend=self._file_names,
            caption=f"Right of the line is faster than {setting} in the same "
            f"file; an interval that crosses it shows no difference.{fewer}"
            f"{say_more(len(found), len(shown), 'setting')}"
            f"{self._intervals(ratio.n for _label, _each, ratio in shown)}",
        )

    def throughput(self) -> Picture | None:
        """Draw throughputs, but for a single file with speed-ups, which are the same picture in another unit."""
        one_file = len(self.sources) == 1
        if len(self.rows) < _FEWEST or (one_file and any(each.row.is_baseline for each in self.rows)):
            return None
        shown = labelled([(each, each.measures.throughput) for each in self.rows], _MOST_ROWS)
        return charts.draw_rows(
            f"{self.key}-throughput",
            self._rows(shown, "images/s"),
            title="Images per second",
            subject=self.network,
            x=value_axis("images/s", [speed.value for _label, _each, speed in shown]),
            legend=self._file_names,
            caption="The fastest stands at the top. Where an interval reaches another's mark, their order may be luck."
            f"{say_more(len(self.rows), len(shown), 'setting')}"
            f"{self._intervals(each.measures.n for _label, each, _speed in shown)}",
        )

    def over_batch_sizes(self) -> Picture | None:
        found = self._curves(series.over_batch_sizes)
        if not found:
            return None
        lines = self._lines(found, "batch_size", lambda x: f"batch {x}", "images/s")
        values = [point.y for line in lines for point in line.points]
        return charts.draw_lines(
            f"{self.key}-batch",
            lines,
            title="Throughput over batch size",
            subject=self.network,
            x=Axis(title="images per update", logarithmic=True),
            y=value_axis("images/s", values),
            marks=places_of(lines),
            caption="What still rises gains from larger batches: a step costs more than its images. What is flat has "
            f"found the machine's limit.{say_more(len(found), len(lines), 'curve')}{self._intervals_of(found)}",
        )

    def scaling(self) -> Picture | None:
        found = self._curves(series.over_contexts)
        if not found:
            return None
        lines = self._lines(found, "contexts", lambda x: format_count(x, "context"), "times one")
        counts = places_of(lines)
        shown = [curve.scenario for _source, curve in found[: len(lines)]]
        # A second context gets a part of what the first alone had.
        shares_cores = [each.cpu_threads is None and each.devices[0].kind is DeviceKind.CPU for each in shown]
        references, words = [], []
        if not all(shares_cores):
            references.append(Plotted("perfect: as many times as contexts", [Point(x, x, "") for x in counts]))
            words.append("Each context brings a device or threads of its own: twice as many could be twice as fast.")
        if any(shares_cores):
            references.append(Plotted("the same cores for all contexts", [Point(x, 1, "") for x in counts]))
            words.append(
                "CPU contexts with the default threads divide the cores among them: more than 1 means that one context "
                "left cores idle, less that sharing costs."
            )
        return charts.draw_lines(
            f"{self.key}-scaling",
            lines,
            title="Scaling over contexts",
            subject=self.network,
            x=Axis(title="contexts"),
            y=Axis(title="throughput over that of one context", from_zero=True),
            marks=counts,
            references=references,
            caption=f"{' '.join(words)}{say_more(len(found), len(lines), 'curve')}{self._intervals_of(found)}",
        )

    def learning(self, *, over_seconds: bool) -> Picture | None:
        found = [
            (source, curve)
            for source in self.sources
            for curve in series.learning_curves(source.summary)
            if (curve.scenario.network, curve.recipe) == (self.network, self.recipe)
        ]
        if not found:
            return None
        fastest_first = sorted(found, key=lambda pair: pair[1].reached[-1].seconds)
        shown = fairly(fastest_first, MOST_CURVES, lambda pair: pair[0])
        label = labels_of((source.name, curve.scenario) for source, curve in shown)
        lines = [
            Plotted(
                (name := label.of(source.name, curve.scenario)),
                [
                    Point(
                        each.seconds if over_seconds else number,
                        each.mean,
                        f"{name}: accuracy {units.accuracy(each.mean)} after epoch {number}, "
                        f"{units.seconds(each.seconds)} of training, n = {curve.n}",
                        each.least if curve.n > 1 else None,
                        each.greatest if curve.n > 1 else None,
                    )
                    for number, each in enumerate(curve.reached, start=1)
                ],
            )
            for source, curve in shown
        ]
        words = []
        if over_seconds:
            words.append("Seconds are those of the epochs, evaluation excluded: higher and further left learns faster.")
        elif len(lines) > 1:
            words.append("Settings of the same batch size should lie on each other: they train the same.")
        if any(curve.n > 1 for _source, curve in shown):
            words.append("Bars are the least and the greatest of the processes.")
        xs = [point.x for line in lines for point in line.points]
        target = accuracy.target(self.network)
        references = []
        if target is not None:
            references = [Plotted(f"target {target:g}", [Point(min(xs), target, ""), Point(max(xs), target, "")])]
            words.append(f"The grey line is the accuracy that the tutorial promises, {target:g}.")
        return charts.draw_lines(
            f"{self.key}-{'seconds' if over_seconds else 'epochs'}",
            lines,
            title="Accuracy over time" if over_seconds else "Accuracy over epochs",
            subject=self.network,
            x=Axis(title="seconds of training", logarithmic=charts.decades(xs))
            if over_seconds
            else Axis(title="epochs", whole=True),
            y=Axis(title="test accuracy"),
            references=references,
            caption=f"{' '.join(words)}{say_more(len(found), len(lines), 'curve')}"
            f"{self._intervals(curve.n for _source, curve in shown)}",
        )

    def time_to_accuracy(self) -> Picture | None:
        found = [
            (each, seconds) for each in self.rows if (seconds := each.measures.time_to_accuracy_seconds) is not None
        ]
        if len(found) < _FEWEST:
            return None
        shown = labelled(sorted(found, key=lambda pair: pair[1]), _MOST_ROWS)
        return charts.draw_rows(
            f"{self.key}-target",
            [
                PlottedRow(
                    label, [Point(seconds, 0, f"{label}: {units.seconds(seconds)}, median of n = {each.measures.n}")]
                )
                for label, each, seconds in shown
            ],
            title=f"Time to an accuracy of {accuracy.target(self.network):g}",
            subject=self.network,
            x=Axis(title="seconds", from_zero=True),
            bars=True,
            caption="Up to the end of the first epoch that reached it, evaluation excluded; the shortest bar is the "
            f"quickest.{say_more(len(found), len(shown), 'setting')}"
            f" Medians, {format_n(each.measures.n for _label, each, _seconds in shown)}.",
        )

    def roofline(self) -> Picture | None:
        """After Williams, Waterman and Patterson, CACM 52(4), 2009; under the roofs that `Measures.bound` goes by."""
        found = [(each, place) for each in self.rows if (place := under_roof(each.measures)) is not None]
        if not found:
            return None
        shown = labelled(found, MOST_CURVES, first=lambda pair: pair[0].row.is_baseline)
        places = [place for _label, _each, place in shown]
        lines = [
            Plotted(
                label,
                [
                    Point(
                        place.intensity,
                        place.achieved.value,
                        f"{label}: {format_estimate(place.achieved, 'GFLOP/s')}, "
                        f"{units.share(place.achieved.value / place.ceiling)} of the ceiling, "
                        f"{units.significant(place.intensity)} operations per byte",
                        place.achieved.lower,
                        place.achieved.upper,
                    )
                ],
                joined=False,
            )
            for label, _each, place in shown
        ]
        low = min(place.intensity for place in places) / 10
        high = max(place.intensity for place in places) * 3
        roofs = dict.fromkeys((place.where, place.ceiling, place.bandwidth / 1e9) for place in places)
        references = [
            Plotted(
                f"{where}: {units.significant(ceiling)} GFLOP/s, {units.significant(bandwidth)} GB/s",
                [
                    Point(x, min(ceiling, bandwidth * x), "")
                    for x in sorted({low, min(max(low, ceiling / bandwidth), high), high})
                ],
            )
            for where, ceiling, bandwidth in roofs
        ]
        return charts.draw_lines(
            f"{self.key}-roofline",
            lines,
            title="Roofline",
            subject=self.network,
            x=Axis(title="operations per byte that a step must move", logarithmic=True),
            y=Axis(title="GFLOP/s", logarithmic=True),
            references=references[: charts.MOST_REFERENCES],
            caption="Each grey roof is the best that was measured here with so many threads: sums of arrays as large "
            "as what a step touches on its slope, matrix products on its flat part. The distance to it is what a "
            f"setting leaves unused.{say_more(len(found), len(lines), 'setting')}"
            f"{self._intervals(place.achieved.n for place in places)}",
        )

    def first_steps(self) -> Picture | None:
        shown = labelled([(each, each.measures) for each in self.rows], _MOST_ROWS)
        bars = []
        for label, _each, measures in shown:
            step, first = measures.update_microseconds.value / 1e6, measures.first_step_seconds
            tip = f"{label}: {units.seconds(step)} a step, {units.seconds(first)} to the first update, n = {measures.n}"
            bars.append(PlottedRow(label, [Point(step, 0, tip), Point(first, 0, tip)]))
        return charts.draw_rows(
            f"{self.key}-first",
            bars,
            title="First step against steady state",
            subject=self.network,
            x=Axis(title="seconds", logarithmic=True),
            legend=("every step", "once: from building the network to the first update"),
            caption="The square is paid once, the circle at every step: what is built or compiled for faster steps "
            f"must train for long enough to pay. Medians, {format_n(measures.n for _label, _each, measures in shown)}."
            f"{say_more(len(self.rows), len(shown), 'setting')}",
        )

    @property
    def _file_names(self) -> tuple[str, ...]:
        """Files by their short names, where there are several: each has a sign and a colour of its own."""
        names = [source.name for source in self._ordered_sources]
        return tuple(clean_text(name) for name in short_names(names).values()) if self._by_file else ()

    @property
    def _ordered_sources(self) -> Sequence[Source]:
        return sorted(self.sources, key=lambda source: source.name)

    @property
    def _by_file(self) -> bool:
        return 1 < len(self.sources) <= MOST_CURVES

    def _rows(self, shown: Sequence[tuple[str, MeasuredRow, Estimate]], unit: str) -> list[PlottedRow]:
        """Make a row for each scenario: with several files a point for each of them, in the order of the legend."""
        if not self._by_file:
            return [PlottedRow(label, [point_of(value, label, unit)]) for label, _each, value in shown]
        by_scenario: dict[Scenario, dict[str, Estimate]] = {}
        for _label, each, value in shown:
            by_scenario.setdefault(each.row.scenario, {})[each.source.name] = value
        labels = labels_of(("", scenario) for scenario in by_scenario)
        rows = []
        for scenario, values in by_scenario.items():
            label = labels.of("", scenario)
            points = [
                None if (its := values.get(source.name)) is None else point_of(its, f"{label}, {name}", unit)
                for source, name in zip(self._ordered_sources, self._file_names, strict=True)
            ]
            rows.append(PlottedRow(label, points))
        return rows

    def _curves(self, make: Callable[[Sequence[Row]], list[Curve]]) -> list[tuple[Source, Curve]]:
        found = [
            (source, curve)
            for source in self.sources
            for curve in make([each.row for each in self.rows if each.source is source])
        ]
        return sorted(found, key=lambda pair: -max(estimate.value for _x, estimate in pair[1].points))

    def _lines(
        self, found: Sequence[tuple[Source, Curve]], along: str, place: Callable[[int], str], unit: str
    ) -> list[Plotted]:
        shown = fairly(found, MOST_CURVES, lambda pair: pair[0])
        labels = labels_of((each.source.name, each.row.scenario) for each in self.rows)
        made = []
        for source, curve in shown:
            name = labels.of(source.name, curve.scenario, without=along)
            points = [
                Point(x, speed.value, f"{name}, {place(x)}: {format_estimate(speed, unit)}", speed.lower, speed.upper)
                for x, speed in curve.points
            ]
            made.append(Plotted(name, points))
        return made

    def _intervals(self, counts: Iterable[int]) -> str:
        """What an interval, and the lack of one, means here."""
        ns = sorted({*counts})
        in_turns = all(each.row.in_turns for each in self.rows)
        if ns == [1]:
            return f" One {'block' if in_turns else 'process each'} (n = 1): no intervals."
        alone = "; a mark without an interval is a single process" if ns[0] == 1 else ""
        return f" 95 % intervals over {'blocks' if in_turns else 'processes'}, {format_n(ns)}{alone}."

    def _intervals_of(self, found: Sequence[tuple[Source, Curve]]) -> str:
        return self._intervals(estimate.n for _source, curve in found for _x, estimate in curve.points)

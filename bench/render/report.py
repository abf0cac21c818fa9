"""Result files, gates and profiles -> one story: the answer first, then machines, pictures, tables, failures.

What is said is made here, once, for a page and for Markdown alike; `html` and `export` write it down.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bench import accuracy, curves
from bench.answers import Answer, Source, answers, is_level
from bench.breakdown import Breakdown, Part
from bench.compare import compare, index
from bench.curves import Curve, LearningCurve, measured
from bench.decide import BlockEvidence, Conclusion, GateRow, evidence_of
from bench.fingerprint import MACHINE_FACTS, SOFTWARE_FACTS, fact_words
from bench.gate_record import GateFile
from bench.profile_record import ProfileFile
from bench.render import pictures, units
from bench.render.columns import MAIN_AXES, SHOWN_AXES, Heading
from bench.render.comparisons import comparison_tables
from bench.render.gates import gate_table
from bench.render.pictures import MOST_CURVES, Axis, Bar, Line, Point
from bench.render.profiles import profile_tables
from bench.render.story import Picture, Report, Section
from bench.render.tables import (
    FAILED,
    INVALID,
    OTHER,
    Cell,
    Table,
    TableRow,
    Tone,
    clean,
    count_words,
    machine_words,
    recipe_words,
    setting_words,
    tables,
)
from bench.render.words import change_words, ends, estimate_words
from bench.scenario import Framework, Scenario, tutorial_setting
from bench.stats import Estimate
from bench.summary import Measures, Row, axis_value
from bench.verdict import Verdict
from mnist_core.recipe import Recipe

#: Rows of a picture with a row per scenario; the table has all of them.
_MOST_ROWS: Final = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """A gate's file, as its user calls it, and what it came to."""

    name: str
    file: GateFile
    conclusion: Conclusion


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A profile's file, as its user calls it, and where the epoch went."""

    name: str
    file: ProfileFile
    breakdown: Breakdown


def make_report(sources: Sequence[Source], gates: Sequence[Gate] = (), profiles: Sequence[Profile] = ()) -> Report:
    """Of at least one file of any kind."""
    names = [*(s.name for s in sources), *(g.name for g in gates), *(p.name for p in profiles)]
    sections = [
        *([_machines(sources)] if len(sources) > 1 else []),
        *_networks(sources),
        *([_side_by_side(sources)] if len(sources) > 1 else []),
        *([_everything(sources)] if sources else []),
        *([_machines(sources)] if len(sources) == 1 else []),
        *([_failures(sources)] if any(_troubles(source) for source in sources) else []),
        *(_gate(place, gate) for place, gate in enumerate(gates)),
        *([_profiles(profiles)] if profiles else []),
    ]
    return Report(
        title=clean(f"mnist-bench: {', '.join(names[:3])}{' and more' if len(names) > 3 else ''}"),  # noqa: PLR2004
        short=tuple((clean(about), clean(text)) for about, text in (*_short(sources), *map(_gate_sentence, gates))),
        sections=tuple(section for section in sections if section.words or section.pictures or section.tables),
    )


# --- the answer


def _short(sources: Sequence[Source]) -> Iterable[tuple[str, str]]:
    several = len(sources) > 1
    found = answers(sources)
    if sources and not found:
        yield "nothing", "was measured that carries a rank."
    for answer in found:
        yield answer.network, _sentence(answer, several=several)
        if answer.gpu_against_cpu is not None:
            against = answer.gpu_against_cpu
            gpu, cpu = _setting(against.gpu.scenario), _setting(against.cpu.scenario)
            times = _ratio_words(against.ratio)
            yield (
                answer.network,
                f"the fastest GPU setting ({gpu}) does {times} what the fastest on the CPU ({cpu}) does.",
            )
    for source in sources:
        if count := len(_troubles(source)):
            what = count_words(count, "scenario")
            yield source.name, f"{what} failed or gave a result that is not believed; see Failures."


def _sentence(answer: Answer, *, several: bool) -> str:
    speed = estimate_words(answer.measures.throughput, "images/s")
    accuracy = f"accuracy {units.accuracy(answer.measures.final_accuracy)}"
    rank = f"is the fastest of {answer.ranked}" if answer.ranked > 1 else "was measured"
    text = f"{_setting(answer.fastest.scenario)} {rank}: {speed} ({_recipe(answer)}, {accuracy})."
    if several:
        text = f"on {machine_words(answer.source.environment)} ({answer.source.name}), {text}"
    if answer.fastest.is_baseline and answer.ranked > 1:
        return f"{text} That is the tutorial's own setting: nothing else was measured to be faster."
    if answer.tutorial is None or answer.speedup is None:
        return text
    if is_level(answer.speedup):
        return f"{text} The tutorial's own setting cannot be told from it: {_ratio_words(answer.speedup)}."
    tutorial = estimate_words(answer.tutorial.throughput, "images/s")
    return (
        f"{text} The tutorial's own setting reaches {tutorial}: the fastest does {_ratio_words(answer.speedup)} that "
        "(an interval that does not know of the choice)."
    )


def _recipe(answer: Answer) -> str:
    return recipe_words(answer.fastest.recipe, answer.source.result_set.dataset.train_samples)


def _setting(scenario: Scenario) -> str:
    """All that is worth saying of one scenario of a network."""
    tutorial = tutorial_setting(scenario.network)
    shown = [
        axis
        for axis in SHOWN_AXES
        if axis.heading.name in MAIN_AXES
        or axis_value(scenario, axis.heading.name) != axis_value(tutorial, axis.heading.name)
    ]
    words = setting_words(scenario, shown)
    return words if scenario.framework is Framework.MXNET else f"{scenario.framework}, {words}"


def _ratio_words(ratio: Estimate) -> str:
    """4.68 times [4.35, 5.04]."""
    return f"{units.factor(ratio.value)} {ends(ratio)}".rstrip()


# --- machines


def _machines(sources: Sequence[Source]) -> Section:
    rows = []
    for name, fact in {**MACHINE_FACTS, **SOFTWARE_FACTS}.items():
        values = [fact(source.environment) for source in sources]
        if all(value in (None, ()) for value in values):
            continue
        differs = len({*values}) > 1
        cells = [Cell(raw=name, text=name)]
        words = [clean(fact_words(value)) for value in values]
        cells += [Cell(raw=text, text=text) for text in words]
        rows.append(
            TableRow(cells=tuple(cells), mark=OTHER if differs else "", tone=Tone.BAD if differs else Tone.PLAIN)
        )
    headings = [_heading("fact", "fact")] + [
        _heading(f"file{place}", source.name) for place, source in enumerate(sources)
    ]
    return Section(
        key="machines",
        title="Machines" if len(sources) > 1 else "The machine",
        words=((f"What differs is marked {OTHER}; everything else is the same.",) if len(sources) > 1 else ()),
        tables=(
            Table(
                title="machine and software",
                caption=(),
                facts={},
                headings=tuple(headings),
                rows=tuple(rows),
                notes=(),
            ),
        ),
    )


def _heading(name: str, title: str) -> Heading:
    return Heading(
        name=name, key=name, title=clean(title), number=False, priority=0, data=True, interval=False, explanation=""
    )


# --- one section of pictures per network


@dataclass(frozen=True, slots=True)
class _Labels:
    """What tells the scenarios of a picture apart, and nothing else."""

    sources: bool
    axes: tuple[str, ...]
    recipes: bool

    def of(self, source: Source, scenario: Scenario, recipe: Recipe | None, without: str = "") -> str:
        axes = [axis for axis in SHOWN_AXES if axis.heading.name in self.axes and axis.heading.name != without]
        words = [setting_words(scenario, axes)]
        if "framework" in self.axes and without != "framework":
            words.insert(0, str(scenario.framework))
        if self.recipes and recipe is not None:
            words.append(recipe_words(recipe, source.result_set.dataset.train_samples))
        if self.sources:
            words.append(source.name)
        return clean(", ".join(filter(None, words)) or scenario.network)


def _labels(rows: Sequence[tuple[Source, Row]]) -> _Labels:
    scenarios = [row.scenario for _source, row in rows]
    varying = tuple(
        axis.heading.name
        for axis in SHOWN_AXES
        if axis.heading.name != "network" and len({axis_value(each, axis.heading.name) for each in scenarios}) > 1
    )
    return _Labels(
        sources=len({source.name for source, _row in rows}) > 1,
        axes=varying,
        recipes=len({row.recipe for _source, row in rows}) > 1,
    )


def _networks(sources: Sequence[Source]) -> Iterable[Section]:
    networks = dict.fromkeys(row.scenario.network for source in sources for row in source.summary.rows)
    for place, network in enumerate(networks):
        rows = [
            (source, row, measures)
            for source in sources
            for row, measures in measured(source.summary.rows)
            if row.scenario.network == network
        ]
        if not rows:
            continue
        rows.sort(key=lambda each: -each[2].throughput.value)
        labels = _labels([(source, row) for source, row, _measures in rows])
        drawn = _Network(key=f"n{place}", network=network, sources=sources, rows=rows, labels=labels)
        made = (
            drawn.throughput(),
            drawn.over_batch_sizes(),
            drawn.speedups(),
            drawn.scaling(),
            drawn.learning(over_seconds=False),
            drawn.learning(over_seconds=True),
            drawn.time_to_accuracy(),
            drawn.roofline(),
            drawn.first_steps(),
        )
        yield Section(
            key=f"network{place}",
            title=clean(f"The {network} in pictures"),
            words=(_HOW_TO_READ,),
            pictures=tuple(picture for picture in made if picture is not None),
        )


_HOW_TO_READ: Final = (
    "Every mark tells its numbers when it is pointed at; the tables below hold all of them. Intervals are 95 % t "
    "intervals over processes; a mark without one is a single process."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Network:
    """The pictures of one network; None where there is nothing to show."""

    key: str
    network: str
    sources: Sequence[Source]
    #: The fastest first.
    rows: Sequence[tuple[Source, Row, Measures]]
    labels: _Labels

    def throughput(self) -> Picture | None:
        if len(self.rows) < 2:  # noqa: PLR2004  # nothing to compare
            return None
        shown = self.rows[:_MOST_ROWS]
        bars = [
            Bar(
                self._label(source, row),
                [_point(measures.throughput, self._label(source, row), "images/s")],
            )
            for source, row, measures in shown
        ]
        return self._rows_picture(
            "throughput",
            "Images per second",
            bars,
            x=_value_axis("images/s", [row.points[0].x for row in bars]),
            caption="The fastest setting stands at the top. Where an interval reaches another's mark, their order may "
            "be luck."
            f"{self._fewer(len(shown))}",
        )

    def over_batch_sizes(self) -> Picture | None:
        found = self._curves(curves.over_batch_sizes)
        if not found:
            return None
        lines = [
            Line(
                self.labels.of(source, curve.scenario, curve.recipe, without="batch_size"),
                [_curve_point(x, estimate, f"batch {x}: ", "images/s") for x, estimate in curve.points],
            )
            for source, curve in found[:MOST_CURVES]
        ]
        values = [point.y for line in lines for point in line.points]
        sizes = sorted({int(point.x) for line in lines for point in line.points})
        return self._lines_picture(
            "batch",
            "Throughput over batch size",
            lines,
            x=Axis(title="images per update", logarithmic=True),
            y=_value_axis("images/s", values),
            marks=sizes,
            caption="A curve that still rises says that a step costs more than its images: larger batches pay. One "
            f"that is flat has found the machine's limit.{_more(len(found), len(lines), 'curve')}",
        )

    def scaling(self) -> Picture | None:
        found = self._curves(curves.over_contexts)
        if not found:
            return None
        lines = [
            Line(
                self.labels.of(source, curve.scenario, curve.recipe, without="contexts"),
                [_curve_point(x, estimate, f"{x} contexts: ", "times one") for x, estimate in curve.points],
            )
            for source, curve in found[:MOST_CURVES]
        ]
        counts = sorted({int(point.x) for line in lines for point in line.points})
        ideal = Line("as many times as fast as there are contexts", [Point(x, x, "") for x in counts])
        return self._lines_picture(
            "scaling",
            "Scaling over contexts",
            lines,
            x=Axis(title="contexts"),
            y=Axis(title="throughput over that of one context", from_zero=True),
            marks=counts,
            references=[ideal],
            caption="The dotted line is perfect scaling. CPU contexts are virtual and share the same cores, so that no "
            f"curve of them can follow it.{_more(len(found), len(lines), 'curve')}",
        )

    def speedups(self) -> Picture | None:
        found = [
            (source, row, measures.speedup)
            for source, row, measures in self.rows
            if measures.speedup is not None and not row.is_baseline
        ]
        if not found:
            return None
        shown = sorted(found, key=lambda each: -each[2].value)[:_MOST_ROWS]
        bars = [
            Bar(self._label(source, row), [_point(ratio, self._label(source, row), "times the tutorial's setting")])
            for source, row, ratio in shown
        ]
        values = [row.points[0].x for row in bars]
        return self._rows_picture(
            "speedup",
            "Speed-up over the tutorial's own setting",
            bars,
            x=Axis(title="times as fast", logarithmic=pictures.decades(values) or min(values) < 1),
            reference=1.0,
            caption="Right of the dotted line is faster than cpu(0),cpu(1), batch 100, hybridize off under the same "
            f"recipe; an interval that crosses it shows nothing.{_more(len(found), len(shown), 'setting')}",
        )

    def learning(self, *, over_seconds: bool) -> Picture | None:
        found = self._learning()
        if not found:
            return None
        lines, target = [], None
        for source, curve in found[:MOST_CURVES]:
            label = self.labels.of(source, curve.scenario, curve.recipe)
            target = accuracy.target(curve.scenario.network)
            lines.append(
                Line(
                    label,
                    [
                        Point(
                            each.seconds if over_seconds else number,
                            each.mean,
                            f"{label}: accuracy {units.accuracy(each.mean)} after epoch {number}, "
                            f"{units.seconds(each.seconds)} of training, n = {curve.n}",
                            each.least if curve.n > 1 else None,
                            each.greatest if curve.n > 1 else None,
                        )
                        for number, each in enumerate(curve.reached, start=1)
                    ],
                )
            )
        xs = [point.x for line in lines for point in line.points]
        references = []
        if target is not None:
            references = [Line(f"target {target:g}", [Point(min(xs), target, ""), Point(max(xs), target, "")])]
        spans = pictures.decades(xs)
        return self._lines_picture(
            "seconds" if over_seconds else "epochs",
            "Accuracy over time" if over_seconds else "Accuracy over epochs",
            lines,
            x=Axis(title="seconds of training", logarithmic=spans)
            if over_seconds
            else Axis(title="epochs", whole=True),
            y=Axis(title="test accuracy"),
            references=references,
            caption=(
                "Time is that of the epoch windows, evaluation excluded: what is higher further left learns faster."
                if over_seconds
                else "Settings of the same batch size should lie on each other: they train the same. Bars are the "
                "least and the greatest of the processes."
            )
            + _more(len(found), len(lines), "curve"),
        )

    def time_to_accuracy(self) -> Picture | None:
        found = [
            (source, row, measures, measures.time_to_accuracy_seconds)
            for source, row, measures in self.rows
            if measures.time_to_accuracy_seconds is not None
        ]
        if not found:
            return None
        shown = sorted(found, key=lambda each: each[3])[:_MOST_ROWS]
        bars = [
            Bar(
                self._label(source, row),
                [
                    Point(
                        seconds, 0, f"{self._label(source, row)}: {units.seconds(seconds)}, median of n = {measures.n}"
                    )
                ],
            )
            for source, row, measures, seconds in shown
        ]
        return self._rows_picture(
            "target",
            "Time to the target accuracy",
            bars,
            x=Axis(title="seconds", from_zero=True),
            bars=True,
            caption="Epoch windows up to the first epoch that reached the tutorial's target, evaluation excluded; the "
            f"shortest bar is the quickest.{_more(len(found), len(shown), 'setting')}",
        )

    def roofline(self) -> Picture | None:
        found = [
            (source, row, measures)
            for source, row, measures in self.rows
            if measures.roof is not None
            and measures.achieved_gflop_per_second is not None
            and measures.bytes_per_second is not None
            and measures.ceiling_gflop_per_second is not None
        ]
        if not found:
            return None
        lines = []
        intensities = []
        for source, row, measures in found[:MOST_CURVES]:
            assert measures.achieved_gflop_per_second is not None
            assert measures.bytes_per_second is not None
            intensity = measures.achieved_gflop_per_second.value / (measures.bytes_per_second.value / 1e9)
            intensities.append(intensity)
            label = self._label(source, row)
            share = (
                "" if measures.utilisation is None else f", {units.share(measures.utilisation.value)} of the ceiling"
            )
            tip = (
                f"{label}: {estimate_words(measures.achieved_gflop_per_second, 'GFLOP/s')}{share}, "
                f"{units.significant(intensity)} operations per byte"
            )
            achieved = measures.achieved_gflop_per_second
            lines.append(
                Line(label, [Point(intensity, achieved.value, tip, achieved.lower, achieved.upper)], joined=False)
            )
        low, high = min(intensities) / 30, max(intensities) * 3
        references = []
        roofs = dict.fromkeys(
            (measures.roof.bandwidth_bytes_per_second / 1e9, measures.ceiling_gflop_per_second)
            for _source, _row, measures in found
            if measures.roof is not None and measures.ceiling_gflop_per_second is not None
        )
        for bandwidth, ceiling in roofs:
            corner = ceiling / bandwidth
            xs = sorted({low, *([corner] if low < corner < high else []), high})
            name = f"{units.significant(ceiling)} GFLOP/s, {units.significant(bandwidth)} GB/s from memory"
            references.append(Line(name, [Point(x, min(ceiling, bandwidth * x), "") for x in xs]))
        return self._lines_picture(
            "roofline",
            "Roofline",
            lines,
            x=Axis(title="operations per byte that a step must move", logarithmic=True),
            y=Axis(title="GFLOP/s", logarithmic=True),
            references=references[:3],
            caption="The dotted roof is the best that was measured here: memory on its slope, matrix products on its "
            "flat part. The distance to the roof is what a setting leaves unused (after Williams, Waterman and "
            f"Patterson, 2009).{_more(len(found), len(lines), 'setting')}",
        )

    def first_steps(self) -> Picture | None:
        shown = self.rows[:_MOST_ROWS]
        bars = []
        for source, row, measures in shown:
            step = measures.update_microseconds.value / 1e6
            label = self._label(source, row)
            bars.append(
                Bar(
                    label,
                    [
                        Point(step, 0, f"{label}: {units.seconds(step)} a step, n = {measures.n}"),
                        Point(
                            measures.first_step_seconds,
                            0,
                            f"{label}: {units.seconds(measures.first_step_seconds)} to the first update, median of "
                            f"n = {measures.n}",
                        ),
                    ],
                )
            )
        return self._rows_picture(
            "first",
            "First step against steady state",
            bars,
            x=Axis(title="seconds", logarithmic=True),
            legend=("a step, once it runs", "from building the network to the first update"),
            caption="The further apart the two marks, the longer a training must be before what is built or compiled "
            f"at its start has paid.{self._fewer(len(shown))}",
        )

    def _label(self, source: Source, row: Row) -> str:
        return self.labels.of(source, row.scenario, row.recipe)

    def _curves(self, make: Callable[[Sequence[Row]], list[Curve]]) -> list[tuple[Source, Curve]]:
        found = [
            (source, curve)
            for source in self.sources
            for curve in make([row for row in source.summary.rows if row.scenario.network == self.network])
        ]
        return sorted(found, key=lambda pair: -max(estimate.value for _x, estimate in pair[1].points))

    def _learning(self) -> list[tuple[Source, LearningCurve]]:
        found = [
            (source, curve)
            for source in self.sources
            for curve in curves.learning_curves(source.result_set)
            if curve.scenario.network == self.network
        ]
        return sorted(found, key=lambda pair: pair[1].reached[-1].seconds)

    def _fewer(self, shown: int) -> str:
        return _more(len(self.rows), shown, "setting")

    def _rows_picture(
        self,
        key: str,
        title: str,
        rows: Sequence[Bar],
        *,
        x: Axis,
        caption: str,
        reference: float | None = None,
        bars: bool = False,
        legend: Sequence[str] = (),
    ) -> Picture:
        alternative = f"{title}, {self.network}. " + "; ".join(point.tip for row in rows for point in row.points)
        svg = pictures.draw_rows(
            f"{self.key}-{key}", rows, x=x, alternative=alternative, reference=reference, bars=bars, legend=legend
        )
        return Picture(key=f"{self.key}-{key}", title=title, caption=caption, alternative=alternative, svg=svg)

    def _lines_picture(
        self,
        key: str,
        title: str,
        lines: Sequence[Line],
        *,
        x: Axis,
        y: Axis,
        caption: str,
        references: Sequence[Line] = (),
        marks: Sequence[float] | None = None,
    ) -> Picture:
        told = "; ".join(f"{line.label}: {', '.join(point.tip for point in line.points)}" for line in lines)
        alternative = f"{title}, {self.network}. {told}"
        svg = pictures.draw_lines(
            f"{self.key}-{key}", lines, x=x, y=y, alternative=alternative, references=references, marks=marks
        )
        return Picture(key=f"{self.key}-{key}", title=title, caption=caption, alternative=alternative, svg=svg)


def _point(estimate: Estimate, label: str, unit: str) -> Point:
    """Of a row: its value lies along x."""
    return Point(estimate.value, 0, f"{label}: {estimate_words(estimate, unit)}", estimate.lower, estimate.upper)


def _curve_point(x: float, estimate: Estimate, words: str, unit: str) -> Point:
    return Point(x, estimate.value, f"{words}{estimate_words(estimate, unit)}", estimate.lower, estimate.upper)


def _value_axis(title: str, values: Sequence[float]) -> Axis:
    wide = pictures.decades(values)
    return Axis(title=title, logarithmic=wide, from_zero=not wide)


def _more(count: int, shown: int, noun: str) -> str:
    return f" Shown: the first {shown} of {count_words(count, noun)}." if count > shown else ""


# --- tables


def _side_by_side(sources: Sequence[Source]) -> Section:
    first, *others = [index(source.name, source.result_set) for source in sources]
    comparisons = [compare(first, other) for other in others]
    return Section(key="compared", title="Side by side", tables=tuple(comparison_tables(comparisons)))


def _everything(sources: Sequence[Source]) -> Section:
    made = []
    for source in sources:
        own = tables([source.result_set])
        if len(sources) > 1:
            own = [dataclasses.replace(table, title=clean(f"{source.name}: {table.title}")) for table in own]
        made += own
    return Section(key="tables", title="All numbers", tables=tuple(made))


def _troubles(source: Source) -> list[Row]:
    return [row for row in source.summary.rows if row.failures or row.invalid is not None]


def _failures(sources: Sequence[Source]) -> Section:
    rows = []
    for source in sources:
        for row in _troubles(source):
            reasons = [(str(each.reason), each.detail, each.count) for each in row.failures]
            if row.invalid is not None:
                reasons.append(("invalid", row.invalid, 0 if row.measures is None else row.measures.n))
            for reason, detail, count in reasons:
                texts = (source.name, row.scenario.name, reason, f"{count} of {row.planned}", detail)
                rows.append(
                    TableRow(
                        cells=tuple(Cell(raw=text, text=clean(text.replace("\n", " "))) for text in texts),
                        mark=INVALID if reason == "invalid" else FAILED,
                        tone=Tone.BAD,
                    )
                )
    titles = ("file", "scenario", "reason", "processes", "what happened")
    return Section(
        key="failures",
        title="Failures",
        words=("These carry no rank, however fast they were.",),
        tables=(
            Table(
                title="failed, or not believed",
                caption=(),
                facts={},
                headings=tuple(_heading(title, title) for title in titles),
                rows=tuple(rows),
                notes=(),
            ),
        ),
    )


# --- gates and profiles


def _gate_sentence(gate: Gate) -> tuple[str, str]:
    regressed = [row.scenario.name for row in gate.conclusion.rows if row.verdict is Verdict.REGRESSED]
    which = f": {', '.join(regressed)}" if regressed else ""
    return gate.name, f"the gate's verdict is {gate.conclusion.verdict}{which}."


def _gate(place: int, gate: Gate) -> Section:
    evidence = evidence_of(gate.file.plan, gate.file.blocks)
    made = [
        _blocks(f"g{place}-{number}", row, evidence)
        for number, row in enumerate(gate.conclusion.rows)
        if any(row.scenario in block.rows for block in evidence)
    ]
    return Section(
        key=f"gate{place}",
        title=clean(f"Gate: {gate.name}"),
        pictures=tuple(made),
        tables=(gate_table(gate.file, gate.conclusion),),
    )


def _blocks(key: str, row: GateRow, evidence: Sequence[BlockEvidence]) -> Picture:
    """Each block's effect beside its control."""
    name = clean(row.scenario.name)
    effects, controls = [], []
    for number, block in enumerate(evidence, start=1):
        if row.scenario not in block.rows:
            continue
        found = block.rows[row.scenario]
        where = f"block {number}" + ("" if block.void is None else " (void)") + f", {block.phase}"
        effects.append(_percent_point(number, found.effect, f"{where}: contender's time per image"))
        controls.append(_percent_point(number, found.control, f"{where}: the same side against itself"))
    lines = [Line("contender against baseline", effects, joined=False), Line("control", controls, joined=False)]
    span = (1, max(len(evidence), 2))
    threshold = 100 * row.threshold
    references = [
        Line("no change", [Point(x, 0, "") for x in span]),
        Line(f"no harm below {units.percentage(row.threshold)}", [Point(x, threshold, "") for x in span]),
    ]
    told = "; ".join(point.tip for point in effects)
    verdict = "" if row.ratio is None else f" Over all blocks: {change_words(row.ratio)}, n = {row.n}."
    title = f"{name}: {row.verdict}"
    return Picture(
        key=key,
        title=title,
        caption="Each block compares four processes that took turns; above the upper line is slower than the margin. "
        f"The control must scatter around zero.{verdict}",
        alternative=f"{title}. {told}",
        svg=pictures.draw_lines(
            key,
            lines,
            x=Axis(title="block", whole=True),
            y=Axis(title="% more time per image"),
            references=references,
            alternative=f"{title}. {told}",
        ),
    )


def _percent_point(x: float, logarithm: float, words: str) -> Point:
    percent = 100 * math.expm1(logarithm)
    return Point(x, percent, f"{words} {percent:+.1f} %")


def _part_words(part: Part, steps: int, epoch_seconds: float) -> str:
    share, microseconds = max(part.seconds, 0.0) / epoch_seconds, part.seconds / steps * 1e6
    return f"{part.phase}: {units.share(share)} of the epoch, {units.significant(microseconds)} µs per step"


def _profiles(profiles: Sequence[Profile]) -> Section:
    wholes = []
    for profile in profiles:
        steps, epoch = profile.file.phases.steps, profile.breakdown.epoch_seconds
        wholes.append(
            (
                clean(f"{profile.file.scenario.name} ({profile.name})"),
                [
                    (str(part.phase), part.seconds / epoch, _part_words(part, steps, epoch))
                    for part in profile.breakdown.parts
                ],
            )
        )
    alternative = "Where an epoch goes. " + "; ".join(
        f"{label}: {', '.join(tip for _part, _share, tip in parts)}" for label, parts in wholes
    )
    picture = Picture(
        key="phases",
        title="Where an epoch goes",
        caption="Each bar is an epoch; a part is what the epoch takes longer for that phase. The parts are measured "
        "each for itself, so that they need not end at 100 %.",
        alternative=alternative,
        svg=pictures.draw_parts("phases", wholes, alternative=alternative),
    )
    return Section(
        key="profiles",
        title="Where an epoch goes",
        pictures=(picture,),
        tables=tuple(table for profile in profiles for table in profile_tables(profile.file, profile.breakdown)),
    )

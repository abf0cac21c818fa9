"""Result files, gates and profiles -> one story: the answer first, then machines, pictures, tables, failures.

What is said is made here, once, for a page and for Markdown alike; `html` and `export` write it down.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.analysis.comparison import compare
from bench.analysis.entries import index
from bench.analysis.headline import Source
from bench.analysis.series import measured
from bench.analysis.summary import Measures
from bench.experiments.gate.decision import Conclusion
from bench.experiments.gate.evidence import evidence_of
from bench.experiments.profile.breakdown import Breakdown
from bench.machine.fingerprint import MACHINE_FACTS, SOFTWARE_FACTS, format_fact
from bench.records.gate import GateFile
from bench.records.profile import ProfileFile
from bench.render import units
from bench.render.model.captions import describe_recipe
from bench.render.model.columns import Heading
from bench.render.model.document import Report, Section
from bench.render.model.labels import short_names
from bench.render.model.marks import FAILED, FASTEST, INVALID, OTHER, Tone
from bench.render.model.table import Cell, Table, TableRow, clean_pairs
from bench.render.phrases import clean_text, format_count, one_line, plus_minus
from bench.render.report import charts
from bench.render.report.gate_charts import draw_gate, gate_sentences
from bench.render.report.headline import short
from bench.render.report.result_charts import MeasuredRow, draw_network
from bench.render.views.comparisons import comparison_tables
from bench.render.views.gates import gate_table
from bench.render.views.profiles import profile_tables
from bench.render.views.results import result_tables
from bench.scenarios.scenario import Scenario
from mnist_core.recipe import Recipe

#: Number of files from which ratios to the first one no longer show them side by side.
_SEVERAL = 3


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
    """Assemble the report of one or more files of any kind."""
    names = [*(s.name for s in sources), *(g.name for g in gates), *(p.name for p in profiles)]
    sections = [
        *(section for place, gate in enumerate(gates) for section in _gate(place, gate)),
        *([_machines(sources), _side_by_side(sources)] if len(sources) > 1 else []),
        *_networks(sources),
        *([_everything(sources)] if sources else []),
        *([_machines(sources)] if len(sources) == 1 else []),
        *_failures(sources),
        *([_profiles(profiles)] if profiles else []),
    ]
    of_gates = [(gate.name, text) for gate in gates for text in gate_sentences(gate.file, gate.conclusion)]
    return Report(
        title=clean_text(f"mnist-bench: {', '.join(names[:3])}{' and more' if len(names) > 3 else ''}"),  # noqa: PLR2004
        short=clean_pairs((*of_gates, *short(sources))),
        sections=tuple(section for section in sections if section.words or section.pictures or section.tables),
    )


# --- machines


def _machines(sources: Sequence[Source]) -> Section:
    rows = []
    for name, fact in {**MACHINE_FACTS, **SOFTWARE_FACTS}.items():
        values = [fact(source.environment) for source in sources]
        if all(value in (None, ()) for value in values):
            continue
        differs = len({*values}) > 1
        words = [name, *(clean_text(format_fact(value)) for value in values)]
        tone = Tone.PLAIN if differs or len(sources) == 1 else Tone.DIM
        rows.append(TableRow(cells=_cells(words), mark=OTHER if differs else "", tone=tone))
    rows.sort(key=lambda row: not row.mark)
    files = (_heading(f"file{place}", source.name) for place, source in enumerate(sources))
    return Section(
        key="machines",
        title="Machines" if len(sources) > 1 else "The machine",
        words=((f"What differs stands first, marked {OTHER}; the rest is the same.",) if len(sources) > 1 else ()),
        tables=(Table(title="machine and software", headings=(_heading("fact", "fact"), *files), rows=tuple(rows)),),
    )


def _heading(name: str, title: str) -> Heading:
    return Heading(name=name, key=name, title=clean_text(title), number=False, priority=0)


def _cells(texts: Iterable[str]) -> tuple[Cell, ...]:
    return tuple(Cell(raw=text, text=clean_text(one_line(text))) for text in texts)


# --- pictures


def _networks(sources: Sequence[Source]) -> Iterable[Section]:
    """A section for each network and recipe: only what trained on the same images the same way is in one picture."""
    found: dict[tuple[str, Recipe], list[MeasuredRow]] = {}
    for source in sources:
        for row, measures in measured(source.summary.rows):
            found.setdefault((row.scenario.network, row.recipe), []).append(MeasuredRow(source, row, measures))
    networks = {network: place for place, network in enumerate(dict.fromkeys(network for network, _recipe in found))}
    most_first = sorted(found.items(), key=lambda item: (networks[item[0][0]], -len(item[1])))
    for place, ((network, recipe), rows) in enumerate(most_first):
        first = rows[0]
        words = describe_recipe(recipe, first.source.summary.dataset.train_samples, in_turns=first.row.in_turns)
        yield Section(
            key=f"pictures{place}",
            title=clean_text(f"{network} in pictures: {words}"),
            words=(_HOW_TO_READ,) if place == 0 else (),
            pictures=draw_network(f"n{place}", network, recipe, rows),
        )


_HOW_TO_READ = (
    "Below each picture are its numbers; a mark also tells its own when it is pointed at. The tables further down have "
    "all of them."
)


# --- tables


def _side_by_side(sources: Sequence[Source]) -> Section:
    """What is in several of the files; the first one is what the others are compared with."""
    first, *others = [index(source.name, source.summary) for source in sources]
    words, comparisons = [], []
    for other in others:
        comparison = compare(first, other)
        common = tuple(row for row in comparison.rows if row.baseline is not None and row.contender is not None)
        left_out = len(comparison.rows) - len(common)
        if left_out:
            what = format_count(left_out, "scenario")
            words.append(clean_text(f"{what} in only one of {first.name} and {other.name}: see All numbers."))
        if common:
            comparisons.append(dataclasses.replace(comparison, rows=common))
    matrix = _matrix(sources) if len(sources) >= _SEVERAL else []
    return Section(
        key="compared",
        title="Side by side",
        words=tuple(words),
        tables=(*matrix, *comparison_tables(comparisons)),
    )


def _matrix(sources: Sequence[Source]) -> list[Table]:
    """A row per scenario, a column per file; one table per recipe."""
    found: dict[Recipe, dict[Scenario, dict[str, Measures]]] = {}
    for source in sources:
        for row, measures in measured(source.summary.rows):
            found.setdefault(row.recipe, {}).setdefault(row.scenario, {})[source.name] = measures
    names = short_names([source.name for source in sources])
    headings = (
        _heading("scenario", "scenario"),
        *(
            dataclasses.replace(_heading(name, f"{short}\nimages/s ±"), number=True, interval=True)
            for name, short in names.items()
        ),
    )
    made = []
    for recipe, scenarios in found.items():
        shared = {scenario: by_file for scenario, by_file in scenarios.items() if len(by_file) > 1}
        rows = [
            TableRow(cells=(*_cells([scenario.name]), *_in_each(by_file, names)))
            for scenario, by_file in shared.items()
        ]
        if rows:
            of_recipe = [
                row for source in sources for row in source.summary.rows if row.recipe == recipe and row.measures
            ]
            in_turns = all(row.in_turns for row in of_recipe)
            words = describe_recipe(recipe, sources[0].summary.dataset.train_samples, in_turns=in_turns)
            title = f"images/s by file: {words}"
            made.append(Table(title=title, headings=headings, rows=tuple(rows)))
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


def _everything(sources: Sequence[Source]) -> Section:
    made = []
    for source in sources:
        own = result_tables([source.summary])
        if len(sources) > 1:
            own = [dataclasses.replace(table, title=clean_text(f"{source.name}: {table.title}")) for table in own]
        made += own
    return Section(key="tables", title="All numbers", tables=tuple(made))


def _failures(sources: Sequence[Source]) -> list[Section]:
    rows = []
    for source in sources:
        for row in source.summary.rows:
            reasons = [(str(each.reason), each.detail, each.count) for each in row.failures]
            if row.invalid is not None:
                reasons.append(("invalid", row.invalid, 0 if row.measures is None else row.measures.n))
            for reason, detail, count in reasons:
                recipe = describe_recipe(row.recipe, source.summary.dataset.train_samples, in_turns=row.in_turns)
                ranked = "by the others" if row.measures is not None and row.invalid is None else "no"
                processes = f"{count} of {row.planned}"
                texts = (source.name, row.scenario.name, recipe, reason, processes, ranked, detail)
                rows.append(TableRow(cells=_cells(texts), mark=INVALID if reason == "invalid" else FAILED))
    if not rows:
        return []
    titles = ("file", "scenario", "training", "reason", "processes", "ranked", "what happened")
    headings = tuple(_heading(title, title) for title in titles)
    words = "A scenario that is not believed, or of which every process failed, carries no rank, however fast it was."
    table = Table(title="failed, or not believed", headings=headings, rows=tuple(rows))
    return [Section(key="failures", title="Failures", words=(words,), tables=(table,))]


# --- gates and profiles


def _gate(place: int, gate: Gate) -> Iterable[Section]:
    title = clean_text(f"Gate: {gate.name}")
    yield Section(key=f"gate{place}", title=title, tables=(gate_table(gate.file, gate.conclusion),))
    yield Section(
        key=f"blocks{place}",
        title=f"{title}, block by block",
        pictures=draw_gate(f"g{place}", gate.conclusion, evidence_of(gate.file.plan, gate.file.blocks)),
    )


def _profiles(profiles: Sequence[Profile]) -> Section:
    wholes = []
    for profile in profiles:
        parts = []
        for part in profile.breakdown.parts:
            share = part.seconds / profile.breakdown.epoch_seconds
            step = units.significant(part.seconds / profile.file.phases.steps * 1e6)
            tip = f"{part.phase}: {units.share(max(share, 0.0))} of the epoch, {step} µs per step"
            parts.append((str(part.phase), share, tip))
        wholes.append((clean_text(f"{profile.file.scenario.name} ({profile.name})"), parts))
    picture = charts.draw_parts(
        "phases",
        wholes,
        title="Where an epoch goes",
        caption="Each bar is an epoch; a part is what the epoch takes longer for that phase. The parts are measured "
        "each for itself, so that they need not end at 100 %.",
    )
    return Section(
        key="profiles",
        title="Where an epoch goes",
        pictures=(picture,),
        tables=tuple(table for profile in profiles for table in profile_tables(profile.file, profile.breakdown)),
    )

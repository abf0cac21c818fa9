"""Result files, gates and profiles -> one story: the answer first, then machines, pictures, tables, failures.

What is said is made here, once, for a page and for Markdown alike; `html` and `export` write it down.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.analysis.headline import Source
from bench.analysis.series import measured
from bench.experiments.gate.decision import Conclusion
from bench.experiments.gate.evidence import evidence_of
from bench.experiments.profile.breakdown import Breakdown
from bench.records.gate import GateFile
from bench.records.profile import ProfileFile
from bench.render import units
from bench.render.model.document import Report, Section
from bench.render.model.marks import FAILED, INVALID
from bench.render.model.table import Table, TableRow, clean_pairs
from bench.render.model.words.captions import MeasuredFile, describe_machine, describe_recipe
from bench.render.phrases import clean_text
from bench.render.report.headline import short, troubles
from bench.render.report.machines import cells_of, heading_of, machines_section
from bench.render.report.pictures import charts
from bench.render.report.pictures.chosen_rows import MeasuredRow
from bench.render.report.pictures.gate_charts import draw_gate, gate_sentences
from bench.render.report.pictures.latency_charts import draw_latencies, latency_sentences
from bench.render.report.pictures.rank_charts import draw_ranks, rank_sentences
from bench.render.report.pictures.result_charts import draw_network
from bench.render.report.side_by_side import comparison_sentences, comparisons_of, side_by_side
from bench.render.views.gates import gate_table
from bench.render.views.profiles import profile_tables
from bench.render.views.results import result_tables
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
    comparisons = comparisons_of(sources) if len(sources) > 1 else []
    sections = [
        *(section for place, gate in enumerate(gates) for section in _gate(place, gate)),
        *_failures(sources),
        *([side_by_side(sources, comparisons)] if comparisons else []),
        draw_ranks(sources),
        *_networks(sources),
        draw_latencies(sources),
        *([_everything(sources), machines_section(sources)] if sources else []),
        *([_profiles(profiles)] if profiles else []),
    ]
    of_gates = [(gate.name, text) for gate in gates for text in gate_sentences(gate.file, gate.conclusion)]
    return Report(
        title=clean_text(f"mnist-bench: {', '.join(names[:3])}{' and more' if len(names) > 3 else ''}"),  # noqa: PLR2004
        about=clean_text(_describe_files([*sources, *(gate.file for gate in gates), *(p.file for p in profiles)])),
        short=clean_pairs(
            (
                *of_gates,
                *troubles(sources),
                *comparison_sentences(comparisons),
                *short(sources),
                *rank_sentences(sources),
                *latency_sentences(sources),
            )
        ),
        sections=tuple(section for section in sections if section.words or section.pictures or section.tables),
    )


def _describe_files(files: Sequence[MeasuredFile]) -> str:
    """Name the machines and the days: Imaginary Xeon, 2 usable cores (4 vCPUs); 2026-01-31."""
    machines = list(dict.fromkeys(describe_machine(file.environment) for file in files))
    days = sorted({file.created_at[:10] for file in files})
    when = days[0] if len(days) == 1 else f"{days[0]} to {days[-1]}"
    more = f" and {len(machines) - 2} more" if len(machines) > 2 else ""  # noqa: PLR2004  # those named
    return f"{' and '.join(machines[:2])}{more}; {when}"


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
                rows.append(TableRow(cells=cells_of(texts), mark=INVALID if reason == "invalid" else FAILED))
    if not rows:
        return []
    titles = ("file", "scenario", "training", "reason", "processes", "ranked", "what happened")
    headings = tuple(heading_of(title, title) for title in titles)
    words = (
        "A scenario that is not believed, or of which every process failed, carries no rank, however fast it was.",
        "`mnist-bench show FILE --verbose` prints the whole output of what failed.",
    )
    table = Table(title="failed, or not believed", headings=headings, rows=tuple(rows))
    return [Section(key="failures", title="Failures", words=words, tables=(table,))]


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

"""What the files of a report were measured on: what differs in full, what is the same folded."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from bench.analysis.headline import Source
from bench.machine.fingerprint import MACHINE_FACTS, SOFTWARE_FACTS, format_fact, same_machine
from bench.render.model.column import Heading
from bench.render.model.document import Section
from bench.render.model.table import Cell, Table, TableRow
from bench.render.model.words.captions import hosts_caption
from bench.render.phrases import clean_text, format_count, one_line


def machines_section(sources: Sequence[Source]) -> Section:
    """Return the facts of each file, and those that all share once, below them."""
    differing, common = [], []
    for name, fact in {**MACHINE_FACTS, **SOFTWARE_FACTS}.items():
        values = [fact(source.environment) for source in sources]
        if all(value in (None, ()) for value in values):
            continue
        words = [clean_text(format_fact(value)) for value in values]
        if len({*values}) > 1:
            differing.append(TableRow(cells=cells_of([name, *words])))
        else:
            common.append(TableRow(cells=cells_of([name, words[0]])))
    is_one_machine = all(same_machine(sources[0].environment, source.environment) for source in sources[1:])
    columns = [heading_of("fact", "fact"), *(heading_of(f"file{n}", each.name) for n, each in enumerate(sources))]
    value = heading_of("value", "on all" if len(sources) > 1 else sources[0].name)
    shared = Table(title="machine and software", headings=(columns[0], value), rows=tuple(common), is_facts=True)
    hosts = tuple(
        clean_text(f"{source.name}: {text}") for source in sources for _, text in hosts_caption(source.summary.hosts)
    )
    if len(sources) == 1:
        return Section(key="machines", title="The machine", words=hosts, tables=(shared,))
    own = Table(title="what differs", headings=tuple(columns), rows=tuple(differing), is_facts=True)
    same = f"{format_count(len(common), 'fact')} that {'is' if len(common) == 1 else 'are'} the same"
    return Section(
        key="machines",
        title="The machine and its files" if is_one_machine else "Machines",
        words=(*hosts, *(() if differing else ("Nothing that is recorded of machine and software differs.",))),
        tables=(own,) if differing else (),
        folded=dataclasses.replace(shared, title=same),
    )


def heading_of(name: str, title: str) -> Heading:
    """Return the heading of a column of words."""
    return Heading(name=name, key=name, title=clean_text(title), number=False, priority=0)


def cells_of(texts: Iterable[str]) -> tuple[Cell, ...]:
    """Return cells of words."""
    return tuple(Cell(raw=text, text=clean_text(one_line(text))) for text in texts)

"""Findings about machines as tables: this one, which `formats.doctor` prints for people, and the hosts of a cluster."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

from bench.experiments.doctor.checks import Finding, Level
from bench.experiments.preflight.ask import HostAnswer, Link, Preflight
from bench.experiments.preflight.checks import Fault, Subject
from bench.machine.fingerprint import MACHINE_FACTS, SOFTWARE_FACTS, format_fact
from bench.records.environment import Environment
from bench.render import units
from bench.render.model.column import Column, make_column
from bench.render.model.marks import INVALID, LEVEL, NOT_RUN, OPEN, REFUSED, Tone
from bench.render.model.table import Fact, Table, make_table
from bench.render.phrases import clean_text, shorten_hash

MARK_OF_LEVEL: Final = {Level.GOOD: LEVEL, Level.NOTE: NOT_RUN, Level.WARNING: INVALID, Level.UNKNOWN: OPEN}
_MEGA: Final = 1e6
_TONES: Final = {Level.GOOD: Tone.PLAIN, Level.NOTE: Tone.PLAIN, Level.WARNING: Tone.BAD, Level.UNKNOWN: Tone.DIM}

_COLUMNS: Final[Sequence[Column[Finding]]] = (
    make_column("check", number=False, priority=0),
    make_column("level", lambda finding: str(finding.level), number=False, priority=0),
    make_column("seen", number=False, priority=0),
    make_column("advice", lambda finding: finding.advice or None, number=False, priority=0),
)

_FACT_COLUMNS: Final[Sequence[Column[tuple[str, str]]]] = (
    make_column("fact", lambda pair: pair[0], number=False, priority=0),
    make_column("value", lambda pair: pair[1], number=False, priority=0),
)


def doctor_tables(environment: Environment, findings: Sequence[Finding]) -> list[Table]:
    """Return the machine's facts, and what the checks found."""
    facts: dict[str, Fact] = {"captured_at": environment.captured_at}
    return [
        make_table("environment: machine and software", _FACT_COLUMNS, facts_of(environment), facts=facts),
        make_table(
            "environment: what a benchmark should know",
            _COLUMNS,
            findings,
            facts=facts,
            tone=lambda finding: _TONES[finding.level],
        ),
    ]


def facts_of(environment: Environment) -> list[tuple[str, str]]:
    """Return the facts of machine and software that are known, by their usual names, as (name, text)."""
    facts = ((name, fact(environment)) for name, fact in {**MACHINE_FACTS, **SOFTWARE_FACTS}.items())
    return [(name, clean_text(format_fact(value))) for name, value in facts if value not in (None, ())]


# --- hosts ------------------------------------------------------------------------------------------------------------


def _fact(name: str) -> Callable[[HostAnswer], str | int | None]:
    return lambda answer: None if answer.facts is None else getattr(answer.facts, name)


def _of_interface(name: str) -> Callable[[HostAnswer], str | int | None]:
    return lambda answer: None if answer.interface is None else getattr(answer.interface, name)


def _versions(answer: HostAnswer) -> str | None:
    found = (each.facts.framework_versions for each in answer.pythons if each.facts is not None)
    return ", ".join(f"{name} {version}" for each in found for name, version in each.items()) or None


def _code(answer: HostAnswer) -> str | None:
    facts = answer.facts
    return None if facts is None else f"{facts.mnist_bench_version} {shorten_hash(facts.source_digest)}"


def _data(answer: HostAnswer) -> str | None:
    facts = answer.facts
    return None if facts is None or facts.data_digest is None else shorten_hash(facts.data_digest)


def _network(answer: HostAnswer) -> str | None:
    if answer.facts is None:
        return None
    return f"not {', '.join(answer.unreached)}" if answer.unreached else "all"


def _host_name(answer: HostAnswer) -> str | None:
    return None if answer.facts is None else next(iter(answer.facts.host_name_addresses), "nothing")


def _bit_rate(number: float) -> str:
    return f"{units.significant(number / _MEGA)} Mbit/s"


def _clock(number: float) -> str:
    return f"{'-' if number < 0 else '+'}{units.seconds(abs(number))}"


_HOST_COLUMNS: Final[Sequence[Column[HostAnswer]]] = (
    make_column("label", title="host", number=False, priority=0),
    make_column(str(Subject.ADDRESS), lambda answer: answer.host.address, number=False, priority=0),
    make_column("slots", lambda answer: answer.host.slots, priority=6, explanation="ranks that it takes at most"),
    make_column(
        str(Subject.REACHABLE),
        lambda answer: "yes" if all(each.fault is None for each in answer.pythons) else "no",
        number=False,
        priority=0,
        explanation="whether a worker was started there and answered",
    ),
    make_column(
        "python",
        _fact("python"),
        title="Python",
        number=False,
        priority=4,
    ),
    make_column(str(Subject.FRAMEWORK), _versions, number=False, priority=1),
    make_column(
        str(Subject.CODE),
        _code,
        number=False,
        priority=1,
        explanation="release of mnist-bench, and the SHA-256 of its source",
    ),
    make_column(str(Subject.DATA), _data, number=False, priority=1, explanation="digest of the four files"),
    make_column(
        "host_processor_model_name",
        _fact("host_processor_model_name"),
        title="processor",
        number=False,
        priority=9,
    ),
    make_column(
        "usable_core_count",
        _fact("usable_core_count"),
        title="usable\ncores",
        priority=2,
    ),
    make_column(
        "interface",
        _of_interface("name"),
        number=False,
        priority=3,
        explanation="the one with the host's address",
    ),
    make_column(
        "bits_per_second",
        _of_interface("bits_per_second"),
        _bit_rate,
        title="link\nspeed",
        priority=5,
        explanation="as the interface's driver tells it",
    ),
    make_column(
        "mtu_bytes",
        _of_interface("mtu_bytes"),
        title="MTU",
        priority=7,
        explanation="bytes of a packet, at most",
    ),
    make_column(
        "driver",
        _of_interface("driver"),
        number=False,
        priority=8,
        explanation="of the interface",
    ),
    make_column(
        str(Subject.NETWORK),
        _network,
        title="reaches",
        number=False,
        priority=2,
        explanation="the other hosts to which TCP connections from there were made",
    ),
    make_column(
        "round_trip_seconds",
        unit=units.seconds,
        title="command\nround trip",
        priority=3,
        explanation="median of small messages through the pipe of commands, which no training uses",
    ),
    make_column(
        "clock_offset_seconds",
        unit=_clock,
        title="clock",
        priority=6,
        explanation="by how much it is ahead of this machine's, give or take half a round trip; no result needs it",
    ),
    make_column(
        "host_name",
        _host_name,
        title="own name\nleads to",
        number=False,
        priority=3,
        explanation="where the host's own name resolves to; no rank needs it",
    ),
)

_LINK_COLUMNS: Final[Sequence[Column[Link]]] = (
    make_column("sender", title="from", number=False, priority=0),
    make_column("receiver", title="to", number=False, priority=0),
    make_column(
        "round_trip_seconds",
        unit=units.seconds,
        title="round trip",
        priority=0,
        explanation="median of eight bytes each way, plain TCP",
    ),
    make_column(
        "bytes_per_second",
        unit=lambda number: units.significant(number / _MEGA),
        title="MB/s",
        priority=0,
        explanation="of one TCP stream of some tenths of a second, millions of bytes per second",
    ),
    make_column("fault", number=False, priority=1),
)


def hosts_tables(seen: Preflight, faults: Sequence[Fault], remarks: Sequence[str]) -> list[Table]:
    """Return the hosts with what is wrong with them, and the links between them if they were measured.

    No terminal is too narrow for a column in which something is wrong.
    """
    table = make_table(
        "hosts, before anything is measured",
        _HOST_COLUMNS,
        seen.hosts,
        notes=[*((f"{REFUSED} {fault.label}", fault.text) for fault in faults), *(("note", each) for each in remarks)],
    )
    wrong = {(fault.label, str(fault.subject)) for fault in faults}
    rows = [
        dataclasses.replace(
            row,
            cells=tuple(
                dataclasses.replace(cell, mark=REFUSED) if (answer.label, column.heading.name) in wrong else cell
                for cell, column in zip(row.cells, _HOST_COLUMNS, strict=True)
            ),
        )
        for row, answer in zip(table.rows, seen.hosts, strict=True)
    ]
    subjects = {subject for _label, subject in wrong}
    headings = tuple(
        dataclasses.replace(heading, priority=0) if heading.name in subjects else heading for heading in table.headings
    )
    links = make_table("network between the hosts, by plain TCP", _LINK_COLUMNS, seen.links)
    return [dataclasses.replace(table, headings=headings, rows=tuple(rows)), *([links] if seen.links else [])]

"""What stands above the tables of a comparison: its two sides, what they differ in, and what the machine did."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from bench.analysis.across.comparison import Comparison, Kind
from bench.analysis.across.entries import ComparedFile, SessionSpread, busier, partners_in
from bench.analysis.scaling import gradient_exchanges, sharing_of
from bench.machine.fingerprint import Difference
from bench.render import units
from bench.render.model.resource_columns import describe_energy, format_price
from bench.render.model.words import captions
from bench.render.model.words.rank_words import name_engine
from bench.render.phrases import with_arrows
from bench.scenarios.selection import Reference


def describe_reference(comparison: Comparison, reference: Reference) -> str:
    """Say what each row is compared with: the scenario that was meant, or one that differs in the axes alone."""
    if not reference.names_one:
        return f"{reference}: for each row, the one that differs from it only there"
    names = "; ".join(dict.fromkeys(key[0].name for key in partners_in(comparison.baseline, reference).values()))
    luck = "" if reference.matches else "; chosen for being the fastest, it looks a little faster than it is"
    return f"{names} ({reference}){luck}" if luck else names


def side_lines(comparison: Comparison) -> list[tuple[str, str]]:
    """Name the files and their machines, both machines where there are two."""
    baseline, contender = comparison.baseline, comparison.contender
    if comparison.kind is Kind.HARDWARE:
        return [
            line
            for name, side in (("baseline", baseline), ("contender", contender))
            for line in (
                (name, describe_file(side)),
                ("on", captions.describe_machine(side.environment)),
                ("with", captions.describe_versions(side.environment)),
            )
        ]
    within = comparison.kind is Kind.WITHIN
    files = [("file", baseline)] if within else [("baseline", baseline), ("contender", contender)]
    return [
        *((name, describe_file(side)) for name, side in files),
        ("machine", captions.describe_machine(contender.environment)),
        ("software", captions.describe_versions(contender.environment)),
    ]


def resource_lines(comparison: Comparison) -> list[tuple[str, str]]:
    """Say what the joules of both sides count, or why there are none, and at what prices they are reckoned."""
    sides = (comparison.baseline, comparison.contender)
    energies = [
        describe_energy([entry.energy for entry in side.entries.values()], side.environment.energy) for side in sides
    ]
    prices = [format_price(side.price, side.hosts) for side in sides]
    return [(name, _of_sides(words)) for name, words in (("energy", energies), ("price", prices)) if any(words)]


def _of_sides(words: Sequence[str]) -> str:
    """Say what holds for both sides once, and else for each that has it."""
    if len({*words}) == 1:
        return words[0]
    return "; ".join(f"{side}: {text}" for side, text in zip(("baseline", "contender"), words, strict=True) if text)


def difference_lines(comparison: Comparison) -> list[tuple[str, str]]:
    """Say in what machines and software differ, and whether one file is a copy of the other."""
    if comparison.kind is Kind.WITHIN:
        return []
    machine, software = comparison.machine_differences, comparison.software_differences
    lines = [("differs", _format_differences(machine or software))]
    if machine and software:
        lines.append(("besides", _format_differences(software)))
    if comparison.is_copy:
        lines.append(("note", "both files hold the same measurements: one is a copy of the other"))
    return lines


def health_lines(comparison: Comparison) -> list[tuple[str, str]]:
    """Say what the machine did beside either side, and under which one it was clearly busier."""
    baseline, contender = comparison.baseline, comparison.contender
    if comparison.kind is Kind.WITHIN:
        return captions.health_caption(contender.health)
    told = [captions.describe_health(side.health) or "not recorded" for side in (baseline, contender)]
    if told == ["not recorded"] * 2:
        return []
    lines = [("health", f"of the baseline: {told[0]} (medians)"), ("", f"of the contender: {told[1]}")]
    side = busier(baseline, contender)
    if side is not None:
        name = "baseline" if side is baseline else "contender"
        one, other = (contender, baseline) if side is contender else (baseline, contender)
        lines.append(
            ("note", f"the machine was busier under the {name}: {captions.contrast_health(one.health, other.health)}")
        )
    return lines


def exchange_lines(comparison: Comparison) -> list[tuple[str, str]]:
    """Say how long the engines that both sides have took for the gradients of a network."""
    if comparison.kind is Kind.WITHIN:
        return []
    baseline, contender = comparison.baseline, comparison.contender
    told = [
        f"{name_engine(after.curve, sharing_of(after.curve, contender.hosts))}: {after.size_bytes:,} bytes in "
        f"{units.seconds(before.seconds)} -> {units.seconds(after.seconds)}"
        for before, after in gradient_exchanges(baseline.exchanges, contender.exchanges)
    ]
    return [("exchange" if place == 0 else "", with_arrows(text)) for place, text in enumerate(told)]


def _format_differences(differences: Iterable[Difference]) -> str:
    return with_arrows("; ".join(map(str, differences))) or "nothing that is recorded"


def describe_sessions(spread: SessionSpread) -> str:
    """Say how much sessions of the same code differ, and how that is known."""
    return (
        f"the same code differs by {units.percentage(math.expm1(spread.sd))} from one session to another (standard "
        f"deviation; {spread.source}): part of every interval"
    )


def describe_file(side: ComparedFile) -> str:
    """Name a result file of a comparison."""
    return f"{side.name}, suite {side.suite}, {side.created_at}"

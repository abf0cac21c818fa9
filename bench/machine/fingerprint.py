"""Which machine a result is from, and what else was different: the fields that must match, as data.

The *class* of a machine is what another one of the same kind would share: the facts that decide how fast it can be and
that stay as they are from one day to the next. No clock reading, no load, no bogomips, no kernel version, no cache size
(hypervisors make those up). The *same machine* is the same class and the same installation.

Software is not the machine: another NumPy is what a comparison is often about, so it is named and compared.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from bench.records.environment import Accelerator, Environment, Software

Fact = str | int | float | tuple[str, ...] | None
_GIB: Final = 1024**3
_HZ_PER_MHZ: Final = 1e6
#: Hexadecimal digits of a SHA-256 in a file name or a table. Two of 2^16 machine classes hardly ever share them.
_SHORT: Final = 8
#: Characters of a processor's name in a file name; no real one is longer without its decoration.
_SLUG_LENGTH: Final = 48
#: What vendors add to a processor's name that names nothing: (R), (TM), CPU, the nominal clock.
_DECORATION: Final = re.compile(r"\((?:r|tm|c)\)|\bcpu\b|@.*$")
#: Version of the digest: raised with any change of `MACHINE_FACTS`, so that no old digest gets a new meaning.
_FINGERPRINT_VERSION: Final = 1

#: What makes a machine's class, by the names people know. Memory is in whole GiB: the kernel keeps some for itself, and
#: another one keeps some more.
MACHINE_FACTS: Final[Mapping[str, Callable[[Environment], Fact]]] = {
    "processor": lambda e: e.host_processor_model_name,
    "architecture": lambda e: e.architecture,
    "sockets": lambda e: e.host_processors_per_node,
    "cores": lambda e: e.host_processor_core_count,
    "vCPUs": lambda e: e.host_processor_vcpu_count,
    "usable cores": lambda e: e.usable_core_count,
    "usable vCPUs": lambda e: e.usable_vcpu_count,
    "CPU quota": lambda e: e.cgroup_cpu_quota,
    "instruction sets": lambda e: e.host_processor_instruction_sets,
    "memory in GiB": lambda e: round(e.host_memory_capacity_bytes / _GIB),
    "accelerators": lambda e: e.accelerators_per_node,
    "accelerator models": lambda e: tuple(sorted(e.accelerator_model_names)),
    "virtualization": lambda e: e.virtualization,
    "kinds of core": lambda e: tuple(f"{count} {kind}" for kind, count in sorted(e.usable_core_kinds.items())),
}
#: Facts that only some machines have: absent from the class of all others, whose digest they leave as it was.
_RARE_FACTS: Final = frozenset({"kinds of core"})


def _of_software(fact: Callable[[Software], Fact]) -> Callable[[Environment], Fact]:
    return lambda e: None if e.software is None else fact(e.software)


def _thread_pools(software: Software) -> tuple[str, ...]:
    """Name the libraries with their versions. How many threads they got is a fact of each run."""
    return tuple(sorted({" ".join(filter(None, (p.internal_api, p.version))) for p in software.thread_pools}))


def _source(environment: Environment) -> str | None:
    if environment.git_commit is None:
        return None
    changes = f" {environment.source_digest[:_SHORT]}" if environment.source_digest else ""
    return environment.git_commit[:_SHORT] + (f" with changes{changes}" if environment.git_dirty else "")


def _of_cards(fact: Callable[[Accelerator], Fact]) -> Callable[[Environment], Fact]:
    """Return what tells a fact of each card that programs see, in their order, as far as drivers tell it."""
    return lambda e: tuple(format_fact(told) for card in e.accelerators if (told := fact(card)) is not None)


def _cards(environment: Environment) -> tuple[str, ...]:
    """Name each card as programs do: gpu(0) NVIDIA A10 GPU-8932f937-…."""
    models = itertools.chain(environment.accelerator_model_names, itertools.repeat(""))
    return tuple(
        " ".join(filter(None, (f"gpu({index})", model, card.uuid)))
        for index, (model, card) in enumerate(zip(models, environment.accelerators, strict=False))
    )


def _clocks(card: Accelerator) -> str | None:
    """Name both highest clocks: 1410 / 1215."""
    clocks = (card.max_clock_hz, card.max_memory_clock_hz)
    return None if None in clocks else " / ".join(f"{clock / _HZ_PER_MHZ:.0f}" for clock in clocks if clock is not None)


def _power(card: Accelerator) -> str | None:
    """Name the limit, and the usual one where it is another: 250 of 300."""
    limit, default = card.power_limit_watts, card.default_power_limit_watts
    if limit is None or default in {None, limit}:
        return None if limit is None else f"{limit:g}"
    return f"{limit:g} of {default:g}"


def _pcie(card: Accelerator) -> str | None:
    """Name the link: generation 4, 8 of 16 lanes."""
    if card.pcie_generation is None or card.pcie_lanes is None:
        return None
    narrowed = "" if card.max_pcie_lanes in {None, card.pcie_lanes} else f" of {card.max_pcie_lanes}"
    return f"generation {card.pcie_generation}, {card.pcie_lanes}{narrowed} lanes"


def _switch(is_on: bool | None) -> str | None:  # noqa: FBT001  # a fact that is told or not
    return None if is_on is None else ("on" if is_on else "off")


#: What may differ on one machine, and is then said. What is installed or set follows by its own name.
SOFTWARE_FACTS: Final[Mapping[str, Callable[[Environment], Fact]]] = {
    "framework": _of_software(lambda s: s.framework),
    "framework version": _of_software(lambda s: s.framework_version),
    "framework features": _of_software(lambda s: s.framework_features),
    "numpy": _of_software(lambda s: s.numpy),
    "Python": _of_software(lambda s: s.python),
    "thread pools": _of_software(_thread_pools),
    "mnist-bench": lambda e: e.mnist_bench_version,
    "source": _source,
    "accelerator driver": lambda e: e.accelerator_driver,
    "cards": _cards,
    "compute capabilities": _of_cards(lambda card: card.compute_capability),
    "power limits in W": _of_cards(_power),
    "highest clocks in MHz": _of_cards(_clocks),
    "ECC of cards": _of_cards(lambda card: _switch(card.ecc)),
    "persistence mode": _of_cards(lambda card: _switch(card.persistence_mode)),
    "PCIe": _of_cards(_pcie),
    "operating system": lambda e: e.operating_system,
    "kernel": lambda e: e.kernel,
    "libc": lambda e: e.libc,
    "memory limit in bytes": lambda e: e.cgroup_memory_limit_bytes,
    "scaling governor": lambda e: e.scaling_governor,
    "turbo": lambda e: _switch(e.turbo),
}


_FROM_WORKERS: Final = frozenset(
    {"framework", "framework version", "framework features", "numpy", "Python", "thread pools"}
)
#: What workers really loaded is among the facts, and rich only draws tables.
_OF_NO_INTEREST: Final = frozenset({"numpy", "mxnet", "rich"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A fact that two results do not share, in words."""

    name: str
    baseline: str
    contender: str
    #: The fact is a list, and these are what only one side has; "" for nothing.
    of_lists: bool = False

    def __str__(self) -> str:
        if not self.of_lists:
            return f"{self.name} {self.baseline} -> {self.contender}"
        parts = [("without", self.baseline), ("with", self.contender)]
        return f"{self.name} {', '.join(f'{word} {text}' for word, text in parts if text)}"


def machine_class(environment: Environment) -> dict[str, Fact]:
    """Return what another machine of the same kind would share, by the names people know."""
    facts = {name: fact(environment) for name, fact in MACHINE_FACTS.items()}
    return {name: fact for name, fact in facts.items() if fact or name not in _RARE_FACTS}


def class_digest(environment: Environment) -> str:
    """Return the SHA-256 of the machine's class, in hexadecimal: equal for machines of one kind, on any day."""
    document = [_FINGERPRINT_VERSION, *machine_class(environment).items()]
    return hashlib.sha256(msgspec.json.encode(document)).hexdigest()


def class_slug(environment: Environment) -> str:
    """Return a file name for a machine's class, e.g. intel-xeon-processor-2-cores-1a2b3c4d."""
    name = _DECORATION.sub(" ", (environment.host_processor_model_name or environment.architecture).lower())
    words = re.sub("[^a-z0-9]+", "-", name).strip("-")[:_SLUG_LENGTH].strip("-") or "unnamed"
    cores = environment.usable_core_count
    return f"{words}-{cores}-{'core' if cores == 1 else 'cores'}-{class_digest(environment)[:_SHORT]}"


def same_machine(one: Environment, other: Environment) -> bool:
    """Tell whether class and installation are the same; a machine without an identity is the same as no other."""
    return one.host_hash is not None and one.host_hash == other.host_hash and machine_class(one) == machine_class(other)


def machine_differences(baseline: Environment, contender: Environment) -> tuple[Difference, ...]:
    """Return what keeps two results from being of one machine; empty exactly for `same_machine`."""
    found = _differences(MACHINE_FACTS, machine_class(baseline), machine_class(contender))
    if baseline.host_hash is None or baseline.host_hash != contender.host_hash:
        hosts = ("unknown" if e.host_hash is None else e.host_hash[:_SHORT] for e in (baseline, contender))
        found.append(Difference(name="host", baseline=next(hosts), contender=next(hosts)))
    return tuple(found)


def software_differences(baseline: Environment, contender: Environment) -> tuple[Difference, ...]:
    """Return what else may explain a difference: versions, the source's commit, settings. Empty where nothing differs.

    A side whose software is unknown (no run of it finished) differs in none of it, and a framework that only one side
    has is not compared.
    """
    known = baseline.software is not None and contender.software is not None
    facts = [name for name in SOFTWARE_FACTS if known or name not in _FROM_WORKERS]
    before, after = (
        {name: SOFTWARE_FACTS[name](environment) for name in facts} for environment in (baseline, contender)
    )
    peers_before, peers_after = (
        {s.framework: f"{s.framework_version} with numpy {s.numpy}, Python {s.python}" for s in environment.peers}
        for environment in (baseline, contender)
    )
    packages = sorted((baseline.packages.keys() | contender.packages.keys()) - _OF_NO_INTEREST)
    return (
        *_differences(facts, before, after),
        *_differences([name for name in peers_before if name in peers_after], peers_before, peers_after),
        *_differences(packages, baseline.packages, contender.packages),
        *_differences(
            sorted(baseline.variables.keys() | contender.variables.keys()), baseline.variables, contender.variables
        ),
    )


def _differences(names: Iterable[str], baseline: Mapping[str, Fact], contender: Mapping[str, Fact]) -> list[Difference]:
    return [
        difference(name, baseline.get(name), contender.get(name))
        for name in names
        if baseline.get(name) != contender.get(name)
    ]


def difference(name: str, baseline: Fact, contender: Fact) -> Difference:
    """Return the difference of two facts; of two lists only what one has and the other lacks."""
    if isinstance(baseline, tuple) and isinstance(contender, tuple) and {*baseline} != {*contender}:
        return Difference(
            name=name,
            baseline=", ".join(each for each in baseline if each not in contender),
            contender=", ".join(each for each in contender if each not in baseline),
            of_lists=True,
        )
    return Difference(name=name, baseline=format_fact(baseline), contender=format_fact(contender))


def format_fact(fact: Fact) -> str:
    """Return a fact as people read it; "none" for an absent one."""
    if isinstance(fact, tuple):
        return ", ".join(fact) or "none"
    return "none" if fact is None else f"{fact:g}" if isinstance(fact, float) else str(fact)

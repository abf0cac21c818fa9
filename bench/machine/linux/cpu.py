"""Facts about the processor, from the kernel's files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import cpuinfo
import psutil

from bench.machine.linux.system_files import ROOT, ask_or_none, parse_count, read_text

CPUS: Final = "sys/devices/system/cpu"
#: Linux can be built for 8192 CPUs at most; a list that names more than this is none.
_CPU_LIMIT: Final = 1 << 16

#: What decides the speed of a matrix product, the oldest first.
_INSTRUCTION_SETS: Final = (
    *("sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni"),
    *("avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("neon", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "svei8mm", "svebf16", "sve2", "sme"),
)

#: The values of DNNL_MAX_CPU_ISA below AVX-512, for which MXNet's oneDNN looks, written like this. It ignores others.
_WITHOUT_AVX512: Final = {"AVX2": 8, "AVX2_VNNI": 8, "AVX": 1, "SSE41": 1}


def parse_cpu_list(text: str) -> frozenset[int]:
    """Parse the kernel's notation of a set of CPUs, e.g. "0-3,8"; empty where the text is anything else."""
    cpus: set[int] = set()
    for part in text.split(","):
        bounds = re.fullmatch("([0-9]{1,9})(?:-([0-9]{1,9}))?", part)
        if bounds is None:
            return frozenset()
        first, last = int(bounds[1]), int(bounds[2] or bounds[1])
        if not first <= last < _CPU_LIMIT:
            return frozenset()
        cpus.update(range(first, last + 1))
    return frozenset(cpus)


def online_cpus(root: Path) -> frozenset[int]:
    return parse_cpu_list(read_text(root / CPUS / "online")) or frozenset(range(psutil.cpu_count() or 0))


def usable_cpus(root: Path) -> frozenset[int]:
    """Return the logical CPUs that this process may run on; never empty."""
    allowed = re.search(r"^Cpus_allowed_list:\s*(\S+)$", read_text(root / "proc/self/status"), re.MULTILINE)
    online = online_cpus(root)
    listed = parse_cpu_list(allowed[1]) if allowed else frozenset[int]()
    # The kernel may list CPUs that could be plugged in.
    told = listed & online or listed
    return told or frozenset(ask_or_none(lambda: psutil.Process().cpu_affinity()) or online or {0})


def read_of_each(root: Path, cpus: Iterable[int], fact: str) -> list[str]:
    return [read_text(root / CPUS / f"cpu{cpu}" / fact) for cpu in cpus]


def core_count(root: Path, cpus: Iterable[int]) -> int | None:
    """Count the physical cores behind these CPUs; None where the kernel does not tell for one of them."""
    cores = {parse_cpu_list(siblings) for siblings in read_of_each(root, cpus, "topology/thread_siblings_list")}
    return len(cores) if cores and all(cores) else None


def core_kinds(root: Path, cpus: frozenset[int]) -> dict[str, int]:
    """Count the cores of each kind behind these CPUs, as Intel names them or by ARM's capacity; {} for one kind."""
    kinds = {
        folder.parent.name: parse_cpu_list(read_text(folder)) for folder in sorted(root.glob("sys/devices/cpu_*/cpus"))
    }
    if not kinds:
        capacities = dict(zip(cpus, read_of_each(root, cpus, "cpu_capacity"), strict=True))
        kinds = {
            f"capacity {told}": frozenset(cpu for cpu in cpus if capacities[cpu] == told)
            for told in sorted({*capacities.values()} - {""})
        }
    if len(kinds) < 2:  # noqa: PLR2004  # all are alike
        return {}
    usable = {kind: of_kind & cpus for kind, of_kind in kinds.items()}
    return {kind: core_count(root, own) or len(own) for kind, own in usable.items() if own}


def socket_count(root: Path, cpus: Iterable[int]) -> int | None:
    packages = {parse_count(package) for package in read_of_each(root, cpus, "topology/physical_package_id")}
    return len(packages - {None}) or None  # the kernel's -1 is no answer


def max_frequency_hz(root: Path, cpus: Iterable[int]) -> int | None:
    """Return the maximum frequency of the fastest of these CPUs, as the frequency driver tells it."""
    kilohertz = max(parse_count(told) or 0 for told in read_of_each(root, cpus, "cpufreq/cpuinfo_max_freq"))
    return kilohertz * 1000 or ask_or_none(lambda: round(psutil.cpu_freq().max * 1e6)) or None


def caches_bytes(folder: Path) -> dict[str, int]:
    """Return the size of one cache of each kind that a CPU has."""
    suffixes, sizes = {"Data": "d", "Instruction": "i", "Unified": ""}, {}
    for index in range(8):
        level, kind, size = (read_text(folder / f"index{index}" / fact) for fact in ("level", "type", "size"))
        size_bytes = parse_size(size)
        if parse_count(level) and kind in suffixes and size_bytes:
            sizes[f"L{level}{suffixes[kind]}"] = size_bytes
    return sizes


def parse_size(text: str) -> int | None:
    """Parse the kernel's notation of a cache's size, e.g. "512K", as bytes; None where the text is anything else."""
    size = re.fullmatch("([0-9]{1,9})([KMG]?)", text)
    return int(size[1]) * 1024 ** " KMG".index(size[2] or " ") if size else None


def has_turbo(root: Path) -> bool | None:
    """Tell whether cores may exceed their nominal frequency. Intel's driver can forbid it, the others allow it."""
    no_turbo = {"0": True, "1": False}.get(read_text(root / CPUS / "intel_pstate/no_turbo"))
    return no_turbo if no_turbo is not None else {"0": False, "1": True}.get(read_text(root / CPUS / "cpufreq/boost"))


class Processor(NamedTuple):
    model_name: str | None
    flags: list[str]


def describe_processor(root: Path) -> Processor:
    """Read /proc/cpuinfo, and ask py-cpuinfo, which starts processes, only for what that leaves open."""
    name, flags = parse_cpuinfo(read_text(root / "proc/cpuinfo"))
    asked: Mapping[str, Any] = {} if name and flags else ask_or_none(cpuinfo.get_cpu_info) or {}
    return Processor(name or asked.get("brand_raw") or None, flags or asked.get("flags") or [])


def parse_cpuinfo(text: str) -> Processor:
    """Parse the first processor of /proc/cpuinfo."""
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    facts = {key.strip(): " ".join(value.split()) for key, _, value in lines}
    return Processor(facts.get("model name") or None, (facts.get("flags") or facts.get("Features", "")).split())


def instruction_sets(flags: Iterable[str]) -> tuple[str, ...]:
    """Return the flags that matter here, by Linux's names but for "neon", which Linux calls asimd on 64 bits."""
    bare = {"neon" if flag == "asimd" else flag.replace("_", "") for flag in flags}
    return tuple(name for name in _INSTRUCTION_SETS if name.replace("_", "") in bare)


def vector_floats(root: Path = ROOT, variables: Mapping[str, str] = os.environ) -> int:
    """Return how many floats the kernels of MXNet's oneDNN for training convolutions take at once; 1: there are none.

    They are made for AVX-512 and AVX2. The user may forbid the first, or both.
    """
    flags = describe_processor(root).flags
    widest = 16 if "avx512f" in flags else 8 if "avx2" in flags else 1
    return min(widest, _WITHOUT_AVX512.get(variables.get("DNNL_MAX_CPU_ISA", ""), widest))

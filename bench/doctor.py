"""What a machine does to a benchmark, and what helps. Pure: `environment` and `pair` have looked."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.pair import Pair
from bench.record import Environment
from mnist_core.devices import Probe


class Level(str, enum.Enum):
    """How much a finding matters."""

    #: As a benchmark wants it.
    GOOD = "good"
    #: Worth knowing: numbers are right, and mean what it says.
    NOTE = "note"
    #: Numbers will be worse than they need be, or of something else than intended.
    WARNING = "warning"
    #: This machine does not tell.
    UNKNOWN = "unknown"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at."""

    #: What was looked at; the same words on every machine.
    check: str
    level: Level
    #: What was seen.
    seen: str
    #: What to do about it; "" where nothing has to be done.
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """Everything that is looked at; None: this machine does not tell."""

    environment: Environment
    #: Why no framework could be asked; None: one answered.
    framework_error: str | None
    #: Each NVIDIA device as the framework finds it.
    gpus: tuple[Probe, ...]
    #: What else uses one of them, by device.
    gpu_processes: tuple[str, ...] | None
    #: Runnable tasks over the last minute, of the whole machine.
    load_average: float | None
    available_memory_bytes: int | None
    swap_used_bytes: int | None
    #: Times the processor slowed itself for heat since it was started.
    throttle_count: int | None
    #: Of the last seconds.
    steal_fraction: float | None
    #: The same code against itself; None: not measured.
    pair: Pair | None
    #: Why it gave nothing.
    pair_error: str | None = None


#: A running task for every second CPU takes turns with the one that is measured.
_MOST_LOAD: Final = 0.5
_MOST_STEAL: Final = 0.01
#: A suite's largest process, and room for the file cache.
_LEAST_MEMORY_BYTES: Final = 2 << 30
_SWAP_BYTES: Final = 64 << 20
#: What the gate tolerates: a machine on which it cannot be seen decides nothing.
_DETECTABLE: Final = 0.10
_PINNING: Final = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")
_LIMITING: Final = ("OMP_THREAD_LIMIT", "MXNET_OMP_MAX_THREADS", "OMP_MAX_ACTIVE_LEVELS", "OMP_NESTED")
#: Set by every run itself.
_OVERRIDDEN: Final = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "OMP_DYNAMIC",
)
_ONEDNN: Final = "MKLDNN"


def examine(seen: Observations) -> list[Finding]:
    """Every check, in the order of what costs most."""
    return [finding for check in _CHECKS for finding in check(seen)]


def _framework(seen: Observations) -> Iterator[Finding]:
    software = seen.environment.software
    if software is None:
        yield Finding(check="framework", level=Level.WARNING, seen=seen.framework_error or "none")
        return
    yield Finding(check="framework", level=Level.GOOD, seen=f"{software.framework} {software.framework_version}")
    if software.framework == "mxnet":
        has = _ONEDNN in software.framework_features
        yield Finding(
            check="oneDNN",
            level=Level.GOOD if has else Level.WARNING,
            seen="MXNet was built with it" if has else "MXNet was built without it",
            advice=""
            if has
            else "convolutions and tanh are several times slower: install the build from PyPI, '.[cpu]'",
        )
    runtimes = sorted({p.internal_api for p in software.thread_pools if p.user_api == "openmp"})
    versions = sorted({p.version or p.internal_api for p in software.thread_pools if p.user_api == "openmp"})
    several = len(runtimes) > 1
    yield Finding(
        check="OpenMP runtimes",
        level=Level.WARNING if several else Level.GOOD if runtimes else Level.UNKNOWN,
        seen=" and ".join(runtimes) + " in one process" if several else ", ".join(versions) or "none seen",
        advice="each has its own threads, and together they are too many: find what brings the second "
        "(threadpoolctl -i mxnet), often MKL's numpy or another framework"
        if several
        else "",
    )


def _gpus(seen: Observations) -> Iterator[Finding]:
    software, count = seen.environment.software, seen.environment.accelerators_per_node
    is_cuda = software is not None and any(
        feature.lower().startswith("cuda") for feature in software.framework_features
    )
    usable = [probe for probe in seen.gpus if probe.usable]
    for probe in seen.gpus:
        if not probe.usable:
            yield Finding(
                check=str(probe.device),
                level=Level.WARNING if is_cuda else Level.NOTE,
                seen=probe.detail,
                advice="its scenarios will be failures that say so; PyTorch and JAX may be able to use it "
                "(nox -s peers)",
            )
    if is_cuda and not usable:
        yield Finding(
            check="CUDA",
            level=Level.WARNING,
            seen="a CUDA build without a card that it can use",
            advice="the CPU build (pip install '.[cpu]') starts faster and measures the same",
        )
    if seen.gpu_processes:
        yield Finding(
            check="GPU processes",
            level=Level.WARNING,
            seen="; ".join(seen.gpu_processes),
            advice="others compute on the card: end them, or choose another with CUDA_VISIBLE_DEVICES",
        )
    elif count and seen.gpu_processes is None:
        yield Finding(check="GPU processes", level=Level.UNKNOWN, seen="not told")
    elif count:
        yield Finding(check="GPU processes", level=Level.GOOD, seen="none but ours")


def _others(seen: Observations) -> Iterator[Finding]:
    cpus = seen.environment.host_processor_vcpu_count or seen.environment.usable_vcpu_count
    load = seen.load_average
    if load is None:
        yield Finding(check="load", level=Level.UNKNOWN, seen="not told")
    else:
        busy = load > _MOST_LOAD * cpus
        yield Finding(
            check="load",
            level=Level.WARNING if busy else Level.GOOD,
            seen=f"{load:.2f} runnable tasks over the last minute, on {cpus} CPUs",
            advice="something else computes here: end it, or wait" if busy else "",
        )
    steal = seen.steal_fraction
    if steal is None:
        yield Finding(check="steal", level=Level.UNKNOWN, seen="not told, or not waited for")
    else:
        stolen = steal > _MOST_STEAL
        yield Finding(
            check="steal",
            level=Level.WARNING if stolen else Level.GOOD,
            seen=f"the hypervisor gave {_percent(steal)} of the CPUs' time to others",
            advice="neighbours on this host: single runs say little, `mnist-bench gate` takes turns" if stolen else "",
        )


def _clock(seen: Observations) -> Iterator[Finding]:
    environment = seen.environment
    governor = environment.scaling_governor
    if governor is None:
        yield Finding(check="governor", level=Level.UNKNOWN, seen="not told, as in most virtual machines")
    else:
        is_fixed = governor == "performance"
        yield Finding(
            check="governor",
            level=Level.GOOD if is_fixed else Level.WARNING,
            seen=governor,
            advice="" if is_fixed else "short windows begin at a low clock: cpupower frequency-set -g performance",
        )
    if environment.turbo is None:
        yield Finding(check="turbo", level=Level.UNKNOWN, seen="not told")
    else:
        yield Finding(
            check="turbo",
            level=Level.NOTE if environment.turbo else Level.GOOD,
            seen="on: the clock depends on heat and on how many cores work" if environment.turbo else "off",
            advice="for figures that repeat, switch it off" if environment.turbo else "",
        )
    count = seen.throttle_count
    if count is None:
        yield Finding(check="throttling", level=Level.UNKNOWN, seen="not told")
    else:
        yield Finding(
            check="throttling",
            level=Level.WARNING if count else Level.GOOD,
            seen=f"the processor slowed itself for heat {count:,} times since it was started" if count else "never",
            advice="better cooling, or a lower clock that lasts" if count else "",
        )


def _cores(seen: Observations) -> Iterator[Finding]:
    environment = seen.environment
    vcpus, cores = environment.usable_vcpu_count, environment.usable_core_count
    yield Finding(
        check="hyper-threading",
        level=Level.NOTE if vcpus > cores else Level.GOOD,
        seen=f"{vcpus} CPUs on {cores} physical cores" if vcpus > cores else f"a core for each of {vcpus} CPUs",
        advice="contexts share the physical cores as threads; --cpu-threads tries more" if vcpus > cores else "",
    )
    quota = environment.cgroup_cpu_quota
    if quota is not None:
        whole = quota == int(quota)
        yield Finding(
            check="CPU quota",
            level=Level.NOTE if whole else Level.WARNING,
            seen=f"the control group grants {quota:g} CPUs",
            advice="more threads than that are stopped in the middle of a step"
            if whole
            else "whoever uses it up is stopped for the rest of 100 ms, in the middle of a step: give whole CPUs",
        )


def _memory(seen: Observations) -> Iterator[Finding]:
    available, swap = seen.available_memory_bytes, seen.swap_used_bytes
    if available is not None:
        scarce = available < _LEAST_MEMORY_BYTES
        yield Finding(
            check="memory",
            level=Level.WARNING if scarce else Level.GOOD,
            seen=f"{available / 2**30:.1f} GiB available",
            advice="a run takes up to 1.5 GiB, a gate's block four of them at once: end something" if scarce else "",
        )
    if swap is not None:
        swaps = swap > _SWAP_BYTES
        yield Finding(
            check="swap",
            level=Level.WARNING if swaps else Level.GOOD,
            seen=f"{swap / 2**30:.1f} GiB in use" if swaps else "not in use",
            advice="what was swapped out comes back in the middle of a window: free memory, then swapoff -a"
            if swaps
            else "",
        )


def _variables(seen: Observations) -> Iterator[Finding]:
    variables = seen.environment.variables
    pinned = [name for name in _PINNING if name in variables]
    limited = [name for name in _LIMITING if name in variables]
    harmless = [name for name in _OVERRIDDEN if name in variables]
    if pinned:
        yield Finding(
            check="thread variables",
            level=Level.WARNING,
            seen=_assigned(variables, pinned),
            advice="several contexts' threads would be bound to the same cores: unset them",
        )
    if limited:
        yield Finding(
            check="thread variables",
            level=Level.WARNING,
            seen=_assigned(variables, limited),
            advice="a scenario's threads are not what its result says: unset them",
        )
    if not pinned and not limited:
        yield Finding(
            check="thread variables",
            level=Level.GOOD,
            seen=f"{', '.join(harmless)} set, which every run sets for itself" if harmless else "none set",
        )
    engine = [name for name in ("MXNET_ENGINE_TYPE", "MXNET_CPU_WORKER_NTHREADS", "LD_PRELOAD") if name in variables]
    if engine:
        yield Finding(
            check="engine variables",
            level=Level.NOTE,
            seen=_assigned(variables, engine),
            advice="they count for every scenario that does not name an engine, and are in the result file",
        )


def _assigned(variables: Mapping[str, str], names: Sequence[str]) -> str:
    return ", ".join(f"{name}={variables[name]}" for name in names)


def _percent(ratio: float, sign: str = "") -> str:
    return f"{100 * ratio:{sign}.1f} %"


def _pair(seen: Observations) -> Iterator[Finding]:
    pair = seen.pair
    if pair is None:
        failed = seen.pair_error is not None
        level = Level.WARNING if failed else Level.UNKNOWN
        advice = "mnist-bench run --suite smoke --verbose shows what goes wrong" if failed else ""
        yield Finding(check="A/A pair", level=level, seen=seen.pair_error or "not measured", advice=advice)
        return
    coarse = pair.detectable > _DETECTABLE
    yield Finding(
        check="A/A pair",
        level=Level.WARNING if coarse else Level.GOOD,
        seen=f"two processes of the same code in turns for {pair.seconds:.0f} s: "
        f"{_percent(pair.difference, '+')} apart, each comparison ±{_percent(pair.spread)} (n = {pair.n}); "
        f"so many would show a slowdown from {_percent(pair.detectable)} on",
        advice="too noisy for a gate's tolerance of 10 %: end what else runs, or use a quieter machine"
        if coarse
        else "",
    )


_CHECKS: Final[tuple[Callable[[Observations], Iterator[Finding]], ...]] = (
    _framework,
    _gpus,
    _others,
    _clock,
    _cores,
    _memory,
    _variables,
    _pair,
)

"""Judge what this machine does to a benchmark, and say what helps. Pure functions of what was observed."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from bench.experiments.doctor.aa_test import AATest
from bench.records.environment import Environment, ThrottleReason
from bench.worker.environment import WITHHELD, worker_variables
from mnist_core.devices import Device, DeviceKind, Probe


class Level(str, enum.Enum):
    """How much a finding matters."""

    #: As a benchmark needs it.
    GOOD = "good"
    #: Worth knowing when numbers are read, which are right.
    NOTE = "note"
    #: Numbers will be worse than they need to be, or measure something else than intended.
    WARNING = "warning"
    #: This machine does not tell.
    UNKNOWN = "unknown"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check."""

    #: What was checked; the same words on every machine.
    check: str
    level: Level
    #: What was found.
    seen: str
    #: What to do about it; "" if there is nothing to do.
    advice: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """All that the checks look at; None: this machine does not tell."""

    environment: Environment
    #: Why no framework could be loaded; None: one was.
    framework_error: str | None
    #: Each NVIDIA device, as the framework sees it.
    gpus: tuple[Probe, ...]
    #: Other processes on them, one line per device.
    gpu_processes: tuple[str, ...] | None
    #: Runnable tasks of the whole machine, mean over the last minute.
    load_average: float | None
    available_memory_bytes: int | None
    #: Pages that were written to the swap or read from it while the machine was watched.
    swapped_pages: int | None
    #: How often the processor slowed itself for heat meanwhile.
    throttle_count: int | None
    #: Share of the CPUs' time that the hypervisor gave to others in the last seconds.
    steal_fraction: float | None
    #: None: not measured.
    aa_test: AATest | None
    #: Why the A/A test gave nothing; None: it gave a result, or was not run.
    aa_test_error: str | None = None
    #: Other processes that take most of the CPUs, one line each.
    busiest: tuple[str, ...] = ()
    #: Which builds of the frameworks suit the GPUs here, in one line; None: none is here.
    builds: str | None = None


#: Runnable tasks per CPU, at most: with more, they take turns with the process that is measured.
_MOST_LOAD: Final = 0.5
_MOST_STEAL: Final = 0.01
#: The largest process of a suite, and room for the file cache.
_LEAST_MEMORY_BYTES: Final = 2 << 30
#: A MiB of the usual pages: less is the kernel's housekeeping.
_SWAPPED_PAGES: Final = 256
#: Relative slowdown, the gate's tolerance: a machine on which it is not detectable decides nothing.
_DETECTABLE: Final = 0.10
_NOT_WATCHED: Final = "not reported, or not measured"
#: Scaling drivers whose processor chooses its clock itself: their `powersave` follows the load, as `performance` does.
_SELF_CLOCKED: Final = ("intel_pstate", "amd-pstate-epp", "amd_pstate_epp")
#: What such a processor was told to save energy by.
_SAVING: Final = ("power", "balance_power")
_PINNING: Final = ("OMP_PROC_BIND", "OMP_PLACES", "GOMP_CPU_AFFINITY", "KMP_AFFINITY")
_ONEDNN: Final = "MKLDNN"


def examine(seen: Observations) -> list[Finding]:
    """Run every check; the findings come in the order of what costs most."""
    return [finding for check in _CHECKS for finding in check(seen)]


def _judged(check: str, seen: str, *, bad: bool, advice: str, level: Level = Level.WARNING) -> Finding:
    """Return a good finding or, if it is bad, one of this level with the advice."""
    return Finding(check=check, level=level, seen=seen, advice=advice) if bad else _good(check, seen)


def _good(check: str, seen: str) -> Finding:
    return Finding(check=check, level=Level.GOOD, seen=seen)


def _unknown(check: str, seen: str = "not reported") -> Finding:
    return Finding(check=check, level=Level.UNKNOWN, seen=seen)


def _framework(seen: Observations) -> Iterator[Finding]:
    software = seen.environment.software
    if software is None:
        yield Finding(check="framework", level=Level.WARNING, seen=seen.framework_error or "none")
        return
    yield _good("framework", f"{software.framework} {software.framework_version}")
    if software.framework == "mxnet":
        has = _ONEDNN in software.framework_features
        yield _judged(
            "oneDNN",
            f"MXNet was built {'with' if has else 'without'} it",
            bad=not has,
            advice="its kernels for convolutions and matrices are missing: install the build from PyPI, '.[cpu]'",
        )
    pools = [pool for pool in software.thread_pools if pool.user_api == "openmp"]
    runtimes = sorted({pool.internal_api for pool in pools})
    if len(runtimes) > 1:
        yield Finding(
            check="OpenMP runtimes",
            level=Level.WARNING,
            seen=f"{' and '.join(runtimes)} in one process",
            advice="each has its own threads, and together they are too many: find what brings the second "
            "(threadpoolctl -i mxnet), often MKL's numpy or another framework",
        )
    elif pools:
        yield _good("OpenMP runtimes", ", ".join(sorted({pool.version or pool.internal_api for pool in pools})))
    else:
        yield _unknown("OpenMP runtimes", "none seen")


def _gpus(seen: Observations) -> Iterator[Finding]:
    software, count = seen.environment.software, seen.environment.accelerators_per_node
    is_cuda = software is not None and any(
        feature.lower().startswith("cuda") for feature in software.framework_features
    )
    for probe in seen.gpus:
        if not probe.usable:
            yield Finding(
                check=str(probe.device),
                level=Level.WARNING if is_cuda else Level.NOTE,
                seen=probe.detail,
                advice="its scenarios will be failures that say so; PyTorch and JAX may be able to use it "
                "(nox -s peers)",
            )
    if is_cuda and not any(probe.usable for probe in seen.gpus):
        yield Finding(
            check="CUDA",
            level=Level.WARNING,
            seen="a CUDA build without a card that it can use",
            advice="pip install '.[cpu]' in an environment of its own brings the CPU build",
        )
    if seen.builds is not None:
        yield _good("builds for the GPU", f"nox -s peers installs them. {seen.builds}")
    yield from _cards(seen.environment)
    if seen.gpu_processes:
        yield Finding(
            check="GPU processes",
            level=Level.WARNING,
            seen="; ".join(seen.gpu_processes),
            advice="other processes compute on the card: end them, or choose another card with CUDA_VISIBLE_DEVICES",
        )
    elif count:
        check = "GPU processes"
        yield _unknown(check) if seen.gpu_processes is None else _good(check, "only ours")


def _cards(environment: Environment) -> Iterator[Finding]:
    """Judge the state of each card, as far as its driver tells."""
    for index, card in enumerate(environment.accelerators):
        gpu = Device(DeviceKind.GPU, index)
        reasons = ", ".join(str(reason).replace("_", " ") for reason in card.throttle_reasons)
        is_chosen = {*card.throttle_reasons} <= {ThrottleReason.CLOCK_SETTING}
        yield _judged(
            f"{gpu} throttling",
            f"slowed by its {reasons}" if reasons else "none when it was looked at",
            bad=bool(reasons),
            level=Level.NOTE if is_chosen else Level.WARNING,
            advice="nvidia-smi -rgc gives it back its clocks"
            if is_chosen
            else "nvidia-smi -q -d PERFORMANCE,POWER says more: cool it, or raise its power limit with nvidia-smi -pl",
        )
        if card.persistence_mode is not None:
            yield _judged(
                f"{gpu} persistence mode",
                "on" if card.persistence_mode else "off: the driver is loaded anew for each process",
                bad=not card.persistence_mode,
                level=Level.NOTE,
                advice="start-up takes seconds longer: nvidia-smi -pm 1",
            )
        if card.pcie_lanes is not None and card.max_pcie_lanes is not None:
            yield _judged(
                f"{gpu} PCIe",
                f"{card.pcie_lanes} of {card.max_pcie_lanes} lanes",
                bad=card.pcie_lanes < card.max_pcie_lanes,
                level=Level.NOTE,
                advice="batches reach it more slowly than they could: look at how it sits in its slot",
            )


def _load(seen: Observations) -> Iterator[Finding]:
    cpus = seen.environment.host_processor_vcpu_count or seen.environment.usable_vcpu_count
    load = seen.load_average
    if load is None:
        yield _unknown("load")
    else:
        is_ours = seen.environment.usable_vcpu_count >= cpus
        yield _judged(
            "load",
            f"{load:.2f} runnable tasks over the last minute, on {cpus} CPUs{'' if is_ours else ' of the whole host'}",
            bad=load > _MOST_LOAD * cpus,
            level=Level.WARNING if is_ours else Level.NOTE,
            advice=f"something else computes here{_named(seen.busiest)}: end it, or wait"
            if is_ours
            else "others compute on this host: the A/A pair tells what they do to the CPUs that are yours",
        )
    steal = seen.steal_fraction
    if steal is None:
        yield _unknown("steal", _NOT_WATCHED)
    else:
        yield _judged(
            "steal",
            f"the hypervisor gave {_percent(steal)} of the CPUs' time to others",
            bad=steal > _MOST_STEAL,
            advice="neighbours on this host: single runs say little, `mnist-bench gate` takes turns",
        )


def _named(processes: Sequence[str]) -> str:
    return f", such as {', '.join(processes)}" if processes else ""


def _clock(seen: Observations) -> Iterator[Finding]:
    governor, turbo, count = seen.environment.scaling_governor, seen.environment.turbo, seen.throttle_count
    driver, preference = seen.environment.scaling_driver, seen.environment.energy_preference
    if governor is None:
        yield _unknown("governor", "not reported, as in most virtual machines")
    elif governor == "powersave" and driver in _SELF_CLOCKED:
        yield _judged(
            "governor",
            f"powersave of {driver}, which follows the load; energy preference {preference or 'unknown'}",
            bad=preference in _SAVING,
            advice="the processor prefers low clocks: cpupower frequency-set -g performance",
        )
    else:
        yield _judged(
            "governor",
            governor,
            bad=governor != "performance",
            advice="short windows begin at a low clock: cpupower frequency-set -g performance",
        )
    if turbo is None:
        yield _unknown("turbo")
    else:
        yield _judged(
            "turbo",
            "on: the clock depends on heat and on how many cores work" if turbo else "off",
            bad=turbo,
            level=Level.NOTE,
            advice="for figures that repeat, switch it off",
        )
    if count is None:
        yield _unknown("throttling", _NOT_WATCHED)
    else:
        yield _judged(
            "throttling",
            f"the processor slowed itself for heat {count:,} times while it was watched" if count else "none meanwhile",
            bad=count > 0,
            advice="better cooling, or a lower clock that lasts",
        )


def _cores(seen: Observations) -> Iterator[Finding]:
    environment = seen.environment
    vcpus, cores = environment.usable_vcpu_count, environment.usable_core_count
    shared = vcpus > cores
    yield _judged(
        "hyper-threading",
        f"{vcpus} CPUs on {cores} physical cores" if shared else f"a core for each of {vcpus} CPUs",
        bad=shared,
        level=Level.NOTE,
        advice="contexts share the physical cores as threads; --cpu-threads tries more",
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
            else "a process that uses it up is stopped for the rest of 100 ms, amid a step: grant whole CPUs",
        )


def _memory(seen: Observations) -> Iterator[Finding]:
    available, swapped = seen.available_memory_bytes, seen.swapped_pages
    if available is not None:
        yield _judged(
            "memory",
            f"{available / 2**30:.1f} GiB available",
            bad=available < _LEAST_MEMORY_BYTES,
            advice="a gate holds four processes at once, each with its images and its framework: end something",
        )
    if swapped is None:
        yield _unknown("swap", _NOT_WATCHED)
    else:
        yield _judged(
            "swap",
            f"{swapped:,} pages went out or came back while the machine was watched",
            bad=swapped > _SWAPPED_PAGES,
            advice="memory comes back from the disk in the middle of a window: end something that needs memory",
        )


def _energy(seen: Observations) -> Iterator[Finding]:
    energy = seen.environment.energy
    if energy is not None:
        counted = ", ".join(f"{each.domain} by {each.source}" for each in energy.sources)
        level = Level.NOTE if energy.remedy else Level.GOOD if counted else Level.UNKNOWN
        found = "; ".join(filter(None, (counted, energy.reason))) or "not reported"
        yield Finding(check="energy", level=level, seen=found, advice=energy.remedy or "")


def _variables(seen: Observations) -> Iterator[Finding]:
    variables = seen.environment.variables
    pinned = [name for name in _PINNING if name in variables]
    harmless = [name for name in (*worker_variables(1), *WITHHELD) if name in variables]
    if pinned:
        yield Finding(
            check="thread variables",
            level=Level.WARNING,
            seen=_assigned(variables, pinned),
            advice="several contexts' threads would be bound to the same cores: unset them",
        )
    else:
        every = f"{', '.join(harmless)} set, which every run sets or unsets for itself" if harmless else "none set"
        yield _good("thread variables", every)
    engine = [name for name in ("MXNET_CPU_WORKER_NTHREADS", "DNNL_MAX_CPU_ISA", "LD_PRELOAD") if name in variables]
    if engine:
        yield Finding(
            check="engine variables",
            level=Level.NOTE,
            seen=_assigned(variables, engine),
            advice="they count for every scenario, and are in the result file",
        )


def _assigned(variables: Mapping[str, str], names: Sequence[str]) -> str:
    return ", ".join(f"{name}={variables[name]}" for name in names)


def _percent(ratio: float, sign: str = "") -> str:
    return f"{100 * ratio:{sign}.1f} %"


def _aa_test(seen: Observations) -> Iterator[Finding]:
    test = seen.aa_test
    if test is None:
        failed = seen.aa_test_error is not None
        level = Level.WARNING if failed else Level.UNKNOWN
        advice = "mnist-bench run --suite smoke --verbose shows what goes wrong" if failed else ""
        yield Finding(check="A/A pair", level=level, seen=seen.aa_test_error or "not measured", advice=advice)
        return
    yield _judged(
        "A/A pair",
        f"two processes of the same code in turns for {test.seconds:.0f} s: "
        f"{_percent(test.difference, '+')} apart, each comparison ±{_percent(test.spread)} (n = {test.n}); "
        f"{test.n} such comparisons find a slowdown of {_percent(test.detectable)} or more",
        bad=test.detectable > _DETECTABLE,
        advice="too noisy for a gate's tolerance of 10 %: end what else runs, or use a quieter machine",
    )


_CHECKS: Final[tuple[Callable[[Observations], Iterator[Finding]], ...]] = (
    _framework,
    _gpus,
    _load,
    _clock,
    _cores,
    _memory,
    _energy,
    _variables,
    _aa_test,
)

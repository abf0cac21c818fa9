"""Facts about the machines and the software that a result is true of. No host is named."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from bench.enums import StrEnum
from bench.ranges import Count, PositiveCount, PositiveRate, PositiveSeconds, Price, Ratio, Threads, Watts
from bench.records.base import Record, Sha256, Timestamp
from bench.records.energy import EnergySupply
from bench.scenarios.axes import Framework


class ThreadPool(Record, frozen=True):
    """One native library with threads of its own, as threadpoolctl sees it inside the worker."""

    #: "blas" or "openmp"
    user_api: str
    internal_api: str
    version: str | None
    architecture: str | None
    num_threads: Threads


class Software(Record, frozen=True):
    """What the worker's process really loaded."""

    python: str
    framework: str
    framework_version: str
    #: Enabled compile-time features.
    framework_features: tuple[str, ...]
    numpy: str
    thread_pools: tuple[ThreadPool, ...]


class ThrottleReason(StrEnum):
    """The reason why a GPU is slower than its clock would let it be, as its driver names them."""

    POWER_CAP = "power_cap"
    #: Of the processor or of its memory.
    HEAT = "heat"
    #: The board's own protection: heat, or too much current.
    HARDWARE_SLOWDOWN = "hardware_slowdown"
    #: The power supply asked for it.
    POWER_BRAKE = "power_brake"
    #: Too high a voltage would shorten its life.
    RELIABILITY = "reliability"
    BOARD_LIMIT = "board_limit"
    #: It keeps to the clock of the slowest of a group of cards.
    SYNC_BOOST = "sync_boost"
    #: Somebody has set a lower clock.
    CLOCK_SETTING = "clock_setting"


class Accelerator(Record, frozen=True, kw_only=True):
    """A GPU, or the part of a divided one, as CUDA shows it to programs. None: its driver does not tell."""

    #: As nvidia-smi -L writes it: "GPU-8932f937-…", of a part "MIG-…".
    uuid: str | None = None
    #: "8.6"
    compute_capability: str | None = None
    #: Of the multiprocessors and of the memory, at most.
    max_clock_hz: PositiveCount | None = None
    max_memory_clock_hz: PositiveCount | None = None
    #: What it may draw, and what it may draw unless somebody chooses another limit.
    power_limit_watts: Watts | None = None
    default_power_limit_watts: Watts | None = None
    #: Whether its memory corrects errors, which costs bandwidth on some cards.
    ecc: bool | None = None
    #: Whether the driver stays loaded where no program uses the card.
    persistence_mode: bool | None = None
    #: Of its link to the processor: the generation that card and machine can both do, the lanes in use, and those that
    #: both can use.
    pcie_generation: PositiveCount | None = None
    pcie_lanes: PositiveCount | None = None
    max_pcie_lanes: PositiveCount | None = None
    #: What slowed it when it was looked at.
    throttle_reasons: tuple[ThrottleReason, ...] = ()


class Environment(Record, frozen=True):
    """Facts about machine and software, named as MLPerf's system description where it has a name.

    None: this machine does not tell. No user name, no host name, no variable outside an allow-list.
    """

    captured_at: Timestamp
    #: Salted SHA-256 of the host's identity: tells two machines apart, names neither.
    host_hash: str | None
    host_processor_model_name: str | None
    #: Sockets.
    host_processors_per_node: PositiveCount | None
    #: Physical cores of the machine.
    host_processor_core_count: PositiveCount | None
    #: Logical CPUs of the machine.
    host_processor_vcpu_count: PositiveCount | None
    #: Logical CPUs this process may run on: affinity and cgroup quota applied.
    usable_vcpu_count: PositiveCount
    #: Physical cores behind those.
    usable_core_count: PositiveCount
    #: The vector and matrix instructions that decide a kernel's speed, e.g. avx2, avx512f, amx_tile, neon.
    host_processor_instruction_sets: tuple[str, ...]
    host_processor_max_frequency_hz: PositiveCount | None
    host_memory_capacity_bytes: PositiveCount
    #: One cache of each kind that a core sees, e.g. {"L1d": 32768, "L3": 33554432}.
    host_processor_caches_bytes: dict[str, Count]
    accelerators_per_node: Count
    accelerator_model_names: tuple[str, ...]
    accelerator_memory_capacity_bytes: tuple[Count, ...]
    accelerator_driver: str | None
    operating_system: str
    kernel: str
    architecture: str
    libc: str | None
    #: "kvm", "docker", …; None: none seen.
    virtualization: str | None
    #: CPUs the control group may use; None: no limit.
    cgroup_cpu_quota: Ratio | None
    cgroup_memory_limit_bytes: PositiveCount | None
    scaling_governor: str | None
    turbo: bool | None
    mnist_bench_version: str
    #: Commit of mnist-bench's own source; None: it does not run from a git checkout.
    git_commit: str | None
    git_dirty: bool | None
    #: What the workers of the plan's first framework loaded; None until one reported.
    software: Software | None
    #: Installed versions of the packages that measure.
    packages: dict[str, str]
    #: MXNET_*, OMP_*, KMP_*, … as the parent process sees them; an allow-list.
    variables: dict[str, str]
    #: What the workers of the plan's other frameworks loaded, each in an environment of its own.
    peers: tuple[Software, ...] = ()
    #: Who scales the clock, e.g. intel_pstate, and whether it was told to save energy.
    scaling_driver: str | None = None
    energy_preference: str | None = None
    #: Usable physical cores of each kind, where there are several: {"cpu_core": 6, "cpu_atom": 8}.
    usable_core_kinds: dict[str, PositiveCount] = msgspec.field(default_factory=dict)
    #: SHA-256 of the source that measures and is measured; None: not known.
    source_digest: Sha256 | None = None
    #: None: not recorded, as in older files.
    energy: EnergySupply | None = None
    #: More on each accelerator, in the order in which programs see them: the first is gpu(0).
    accelerators: tuple[Accelerator, ...] = ()

    def software_of(self, framework: Framework) -> Software | None:
        """Return what the workers of one framework loaded; None where none of them reported."""
        loaded = (*([self.software] if self.software else []), *self.peers)
        return next((each for each in loaded if each.framework == framework.value), None)


class ClusterHost(Record, frozen=True, kw_only=True):
    """A machine of the hosts file, as it was before anything was measured."""

    #: "n0", "n1", … in the order of the hosts file. Its real name and addresses are in no file.
    label: str
    environment: Environment
    #: Salted SHA-256 of the running kernel's identity: equal for containers and namespaces of one machine.
    kernel_hash: Sha256 | None = None
    #: mnist-bench itself ran there: `health` and `ceilings` are this machine's alone.
    is_here: bool = False
    #: The network interface that training uses.
    interface: str | None = None
    #: None: the driver does not tell, as most virtual ones.
    bits_per_second: PositiveCount | None = None
    mtu_bytes: PositiveCount | None = None
    driver: str | None = None
    #: To the first machine, by plain TCP: the median of eight bytes each way, and one stream; None for itself.
    round_trip_seconds: PositiveSeconds | None = None
    bytes_per_second: PositiveRate | None = None
    #: In the user's currency.
    price_per_hour: Price | None = None


def kernels_of(hosts: Sequence[ClusterHost]) -> tuple[int, ...]:
    """Return for each host the place of the first one that shares its kernel: its own place, if it is a machine.

    Links between hosts that share a kernel are emulated: they say nothing about a network.
    """
    known: dict[str, int] = {}
    identities = [host.kernel_hash or host.environment.host_hash for host in hosts]
    return tuple(
        place if identity is None else known.setdefault(identity, place) for place, identity in enumerate(identities)
    )

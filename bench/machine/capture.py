"""capture(): what this machine and its software are, for the head of a result file.

A fact that the machine does not tell is None; asking for one never raises and changes nothing. Linux is read from
/proc and /sys below `root`, so that a test can lay out any machine; psutil and py-cpuinfo answer where those do not.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from pathlib import Path

import psutil

from bench import SOURCE_ROOT
from bench.machine.energy import find_meters
from bench.machine.gpus.accelerators import describe_accelerators
from bench.machine.linux.cgroup import cpu_quota, limited_to, memory_bytes, memory_limit_bytes
from bench.machine.linux.cpu import (
    CPUS,
    caches_bytes,
    core_count,
    core_kinds,
    describe_processor,
    has_turbo,
    instruction_sets,
    max_frequency_hz,
    online_cpus,
    read_of_each,
    socket_count,
    usable_cpus,
)
from bench.machine.linux.system_files import ROOT, ask_or_none
from bench.machine.linux.virtualization import virtualization
from bench.machine.privacy import host_hash
from bench.machine.software import PACKAGES, installed_versions, read_git, relevant_variables, tree_digest
from bench.records.base import utc_now
from bench.records.environment import Environment, Software


def capture(
    *,
    software: Software | None = None,
    peers: tuple[Software, ...] = (),
    root: Path = ROOT,
    variables: Mapping[str, str] = os.environ,
) -> Environment:
    """Return the facts about this machine; `software` and `peers` are what workers reported. Never raises."""
    online, usable, quota = online_cpus(root), usable_cpus(root), cpu_quota(root)
    processor, gpus, (git_commit, git_dirty) = (
        describe_processor(root),
        describe_accelerators(root, variables),
        read_git(SOURCE_ROOT),
    )
    return Environment(
        captured_at=utc_now(),
        host_hash=host_hash(root),
        host_processor_model_name=processor.model_name,
        host_processors_per_node=socket_count(root, online),
        host_processor_core_count=core_count(root, online)
        or ask_or_none(lambda: psutil.cpu_count(logical=False))
        or None,
        host_processor_vcpu_count=len(online) or None,
        usable_vcpu_count=limited_to(quota, len(usable)),
        usable_core_count=usable_core_count(root),
        host_processor_instruction_sets=instruction_sets(processor.flags),
        host_processor_max_frequency_hz=max_frequency_hz(root, usable),
        host_memory_capacity_bytes=memory_bytes(),
        host_processor_caches_bytes=caches_bytes(root / CPUS / f"cpu{min(usable)}/cache"),
        accelerators_per_node=gpus.quantity,
        accelerator_model_names=gpus.model_names,
        accelerator_memory_capacity_bytes=gpus.memory_bytes,
        accelerator_driver=gpus.driver,
        accelerators=gpus.cards,
        operating_system=_operating_system(),
        kernel=platform.release(),
        architecture=platform.machine(),
        libc=" ".join(ask_or_none(platform.libc_ver) or ()).strip() or None,
        virtualization=virtualization(root),
        cgroup_cpu_quota=quota,
        cgroup_memory_limit_bytes=memory_limit_bytes(root),
        scaling_governor=_told_by_each(root, usable, "scaling_governor"),
        scaling_driver=_told_by_each(root, usable, "scaling_driver"),
        energy_preference=_told_by_each(root, usable, "energy_performance_preference"),
        usable_core_kinds=core_kinds(root, usable),
        turbo=has_turbo(root),
        mnist_bench_version=installed_versions(["mnist-bench"]).get("mnist-bench", "0+unknown"),
        git_commit=git_commit,
        git_dirty=git_dirty,
        source_digest=ask_or_none(lambda: tree_digest(SOURCE_ROOT, "bench", "mnist_core")),
        software=software,
        packages=installed_versions(PACKAGES),
        variables=relevant_variables(variables),
        peers=peers,
        energy=find_meters(root, variables=variables).supply,
    )


def usable_core_count(root: Path = ROOT) -> int:
    """Count the physical cores that this process may use, by its affinity and the control groups' quota: at least 1."""
    usable = usable_cpus(root)
    cores = core_count(root, usable) or ask_or_none(lambda: psutil.cpu_count(logical=False)) or len(usable)
    return limited_to(cpu_quota(root), min(cores, len(usable)))


def _told_by_each(root: Path, cpus: Iterable[int], fact: str) -> str | None:
    """Return what the frequency driver tells of these CPUs, each value once."""
    return ",".join(sorted({*read_of_each(root, cpus, f"cpufreq/{fact}")} - {""})) or None


def _operating_system() -> str:
    release = ask_or_none(platform.freedesktop_os_release) or {}
    return release.get("PRETTY_NAME") or f"{platform.system()} {platform.release()}"

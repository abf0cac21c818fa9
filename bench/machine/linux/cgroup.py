"""Limits of the control groups around this process, and the memory that it may use."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import psutil

from bench.machine.linux.system_files import ROOT, ask_or_none, parse_count, read_text


def parse_cgroups(text: str) -> dict[str, PurePosixPath]:
    """Parse /proc/self/cgroup: controller -> the process's group; "" is version 2, one group for all controllers."""
    lines = re.findall(r"^\d+:([^:\n]*):(/.*)$", text, re.MULTILINE)
    return {name: PurePosixPath(path) for names, path in lines for name in names.split(",")}


def groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the process's own group and every group around it, in both versions' hierarchies; each may limit it."""
    own = parse_cgroups(read_text(root / "proc/self/cgroup"))
    for name, mount in ((controller, controller), ("", ""), ("", "unified")):  # unified: version 2 beside version 1
        group = own.get(name, PurePosixPath("/"))
        if ".." in group.parts:  # outside this process's name space: only its root is in sight
            group = PurePosixPath("/")
        yield from (root / "sys/fs/cgroup" / mount / each.relative_to("/") for each in (group, *group.parents))


def cpu_quota(root: Path) -> float | None:
    """Return the CPUs' worth of time that the tightest control group grants; None: no limit."""
    quotas = (
        parse_quota(read_text(group / "cpu.max"))
        or parse_quota(f"{read_text(group / 'cpu.cfs_quota_us')} {read_text(group / 'cpu.cfs_period_us')}")
        for group in groups(root, "cpu")
    )
    return min((quota for quota in quotas if quota), default=None)


def parse_quota(text: str) -> float | None:
    """Return the CPUs that "quota period" grants; None for "max", -1 and anything else that is no limit."""
    quota, _, period = text.partition(" ")
    microseconds, per = parse_count(quota), parse_count(period)
    return microseconds / per if microseconds and per else None


def memory_limit_bytes(root: Path) -> int | None:
    """Return the memory that the tightest control group grants; None: no limit."""
    files = (group / name for group in groups(root, "memory") for name in ("memory.max", "memory.limit_in_bytes"))
    return min((limit for limit in map(parse_count, map(read_text, files)) if limit), default=None)


def limited_to(quota: float | None, count: int) -> int:
    """Return how many whole CPUs a quota leaves of the count, at least 1."""
    return max(1, count if quota is None else min(count, math.floor(quota)))


def memory_bytes() -> int:
    return ask_or_none(lambda: psutil.virtual_memory().total) or os.sysconf("SC_PAGE_SIZE") * os.sysconf(
        "SC_PHYS_PAGES"
    )


def available_memory_bytes(root: Path = ROOT) -> int | None:
    """Return the memory that this process could get without swapping: the machine's, and what its limits leave."""
    of_machine = ask_or_none(lambda: int(psutil.virtual_memory().available))
    known = [of_machine, *(_left_of_limit(group) for group in groups(root, "memory"))]
    return min((left for left in known if left is not None), default=None)


def _left_of_limit(group: Path) -> int | None:
    """Return what a control group may still take, with the file cache that it would give up; None: no limit."""
    for limit_file, usage_file, prefix in (
        ("memory.max", "memory.current", ""),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    ):
        limit, used = (parse_count(read_text(group / name)) for name in (limit_file, usage_file))
        if limit is not None and used is not None:
            told = re.findall(rf"^{prefix}(?:in)?active_file (\d+)$", read_text(group / "memory.stat"), re.MULTILINE)
            return max(0, limit - used + sum(map(int, told)))
    return None

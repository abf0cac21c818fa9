"""A machine tells of itself: machines laid out as folders, and this one."""

from __future__ import annotations

import getpass
import importlib
import os
import platform
import pwd
import re
import socket
import subprocess
import sys
import time
import types
import uuid
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path, PurePosixPath

import cpuinfo
import msgspec
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import SOURCE_ROOT
from bench.machine import privacy, software
from bench.machine.capture import capture, usable_core_count
from bench.machine.fingerprint import same_machine
from bench.machine.gpus import accelerators as accelerators_module
from bench.machine.gpus.accelerators import Throttling, gpu_processes, read_throttling
from bench.machine.gpus.order import visible_cards
from bench.machine.linux import cgroup
from bench.machine.linux.cgroup import available_memory_bytes
from bench.machine.linux.cpu import parse_cpu_list, parse_cpuinfo, parse_size, vector_floats
from bench.machine.software import describe_software
from bench.records.base import Timestamp, utc_now
from bench.records.environment import Accelerator, Environment, Software, ThrottleReason
from mnist_core.devices import Device, DeviceKind, Probe
from tests.support.records import CARD

Lay = Callable[[Mapping[str, str]], Path]

CPU = "sys/devices/system/cpu"
NO_LIMIT_V1 = "9223372036854771712"


@pytest.fixture
def lay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lay:
    """Lay out a machine: path below the root -> what the file says. Installation, git and py-cpuinfo know nothing."""
    monkeypatch.setattr(software, "version", {}.__getitem__)
    monkeypatch.setattr(cpuinfo, "get_cpu_info", dict)
    monkeypatch.setattr(software, "git_status", lambda _source: "")

    def lay_out(files: Mapping[str, str]) -> Path:
        for name, content in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content + "\n")
        return tmp_path

    return lay_out


def topology(cores: int, *, threads: int = 1, sockets: int = 1) -> dict[str, str]:
    """Return Linux's usual numbering: first every core's first thread, then the second ones."""
    files = {f"{CPU}/online": f"0-{cores * threads - 1}", "proc/self/status": allowed(f"0-{cores * threads - 1}")}
    for cpu in range(cores * threads):
        siblings = ",".join(str(cpu % cores + thread * cores) for thread in range(threads))
        files[f"{CPU}/cpu{cpu}/topology/thread_siblings_list"] = siblings
        files[f"{CPU}/cpu{cpu}/topology/physical_package_id"] = str(cpu % cores * sockets // cores)
    return files


def allowed(cpus: str) -> str:
    return f"Name:\tpython\nCpus_allowed:\tff\nCpus_allowed_list:\t{cpus}\nMems_allowed_list:\t0"


def x86(flags: str, name: str = "Imaginary Xeon 8000") -> dict[str, str]:
    block = f"processor\t: {{}}\nmodel name\t: {name}\nflags\t\t: {flags}\npower management:\n"
    return {"proc/cpuinfo": block.format(0) + "\n" + block.format(1).replace("Imaginary", "Other")}


# CPUs


def test_two_sockets_with_two_threads_per_core(lay: Lay) -> None:
    """Sockets, cores and logical CPUs are three numbers."""
    told = capture(root=lay(topology(8, threads=2, sockets=2)))
    assert told.host_processors_per_node == 2
    assert told.host_processor_core_count == 8
    assert told.host_processor_vcpu_count == 16
    assert (told.usable_vcpu_count, told.usable_core_count) == (16, 8)


@pytest.mark.parametrize(
    ("affinity", "vcpus", "cores"),
    [("0-7", 8, 4), ("0,4", 2, 1), ("0-1,4-5", 4, 2), ("0-3", 4, 4), ("5", 1, 1)],
)
def test_affinity_limits_cpus_and_the_cores_behind_them(lay: Lay, affinity: str, vcpus: int, cores: int) -> None:
    """Two threads of one core are one core; the machine stays as large as it is."""
    root = lay(topology(4, threads=2) | {"proc/self/status": allowed(affinity)})
    told = capture(root=root)
    assert (told.usable_vcpu_count, told.usable_core_count) == (vcpus, cores)
    assert (told.host_processor_vcpu_count, told.host_processor_core_count) == (8, 4)
    assert usable_core_count(root) == cores


def test_cpus_that_are_not_there_do_not_count(lay: Lay) -> None:
    """A container's list may name all CPUs that could be plugged in."""
    root = lay(topology(4, threads=2) | {"proc/self/status": allowed("0-127")})
    told = capture(root=root)
    assert (told.usable_vcpu_count, told.usable_core_count) == (8, 4)


def test_kinds_of_core_are_told_apart(lay: Lay) -> None:
    """On the fast cores and on the economical ones of one processor a result is not of the same machine."""
    kinds = {"sys/devices/cpu_core/cpus": "0-1", "sys/devices/cpu_atom/cpus": "2-3"}
    files = topology(4) | x86("avx2") | kinds
    every, fast, slow = (
        capture(root=lay(files | {"proc/self/status": allowed(cpus)})) for cpus in ("0-3", "0-1", "2-3")
    )
    assert every.usable_core_kinds == {"cpu_atom": 2, "cpu_core": 2}
    assert (fast.usable_core_kinds, slow.usable_core_kinds) == ({"cpu_core": 2}, {"cpu_atom": 2})
    assert not same_machine(fast, slow)


def test_arm_tells_the_kinds_of_core_by_their_capacity(lay: Lay) -> None:
    capacities = {f"{CPU}/cpu{cpu}/cpu_capacity": "1024" if cpu < 2 else "446" for cpu in range(4)}
    assert capture(root=lay(topology(4) | capacities)).usable_core_kinds == {"capacity 1024": 2, "capacity 446": 2}
    assert capture(root=lay(dict.fromkeys(capacities, "1024"))).usable_core_kinds == {}


@pytest.mark.parametrize(("quota", "vcpus", "cores"), [("20000", 1, 1), ("350000", 3, 3), ("600000", 6, 4)])
def test_a_quota_limits_both_in_wholes(lay: Lay, quota: str, vcpus: int, cores: int) -> None:
    """3.5 CPUs run three threads at full speed, and a fifth of one still runs one."""
    told = capture(root=lay(topology(4, threads=2) | {"sys/fs/cgroup/cpu.max": f"{quota} 100000"}))
    assert told.cgroup_cpu_quota == int(quota) / 100_000
    assert (told.usable_vcpu_count, told.usable_core_count) == (vcpus, cores)


def test_without_topology_psutil_counts_the_cores(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """There are never more than usable CPUs, and as many where psutil does not know; sockets stay unknown."""
    root = lay({f"{CPU}/online": "0-7", "proc/self/status": allowed("0-5"), f"{CPU}/cpu0/topology/core_id": "0"})
    counted: list[int | None] = [4, 64, None]
    expected = [(4, 4), (64, 6), (None, 6)]
    for cores, (of_machine, usable) in zip(counted, expected, strict=True):
        monkeypatch.setattr(psutil, "cpu_count", lambda logical=True, cores=cores: 8 if logical else cores)
        told = capture(root=root)
        assert (told.host_processor_core_count, told.usable_core_count) == (of_machine, usable)
        assert told.host_processors_per_node is None


def test_without_status_psutil_tells_the_affinity(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows is such a system."""
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda _self: [0, 4])
    files = topology(4, threads=2)
    del files["proc/self/status"]
    assert usable_core_count(lay(files)) == 1


def test_an_unknown_package_is_no_socket(lay: Lay) -> None:
    """Some ARM kernels say -1."""
    files = topology(2) | {f"{CPU}/cpu{cpu}/topology/physical_package_id": "-1" for cpu in range(2)}
    assert capture(root=lay(files)).host_processors_per_node is None


@given(st.frozensets(st.integers(0, 300), min_size=1))
def test_a_cpu_list_is_read_back(cpus: frozenset[int]) -> None:
    """Any set is, in ranges and single numbers as the kernel writes it."""
    ranges: list[list[int]] = []
    for cpu in sorted(cpus):
        if ranges and cpu == ranges[-1][1] + 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    written = ",".join(f"{first}-{last}" if last > first else str(first) for first, last in ranges)
    assert parse_cpu_list(written) == cpus


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "0,3-1", "1,,2", "1 2", "0-99999999", "1-2-3", "٣", "9" * 5000])
def test_what_is_no_cpu_list_is_empty(text: str) -> None:
    """Half of a list would be a wrong fact; a huge one would fill the memory."""
    assert parse_cpu_list(text) == frozenset()


def test_the_first_processor_names_all(lay: Lay) -> None:
    """It gives model name and flags, without the second block's and without asking py-cpuinfo."""
    told = capture(root=lay(x86("fpu avx2 sse4_2 avx fma avx512_vnni avx512f")))
    assert told.host_processor_model_name == "Imaginary Xeon 8000"
    assert told.host_processor_instruction_sets == ("sse4_2", "avx", "fma", "avx2", "avx512f", "avx512_vnni")


def test_arm_without_a_model_name(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """py-cpuinfo knows how to ask for it; the features are there."""
    monkeypatch.setattr(cpuinfo, "get_cpu_info", lambda: {"brand_raw": "Neoverse-N1", "flags": ["crc32"]})
    root = lay({"proc/cpuinfo": "processor\t: 0\nFeatures\t: fp asimd crc32 asimddp\nCPU implementer\t: 0x41"})
    told = capture(root=root)
    assert told.host_processor_model_name == "Neoverse-N1"
    assert told.host_processor_instruction_sets == ("neon", "asimddp")


def test_a_system_without_proc_cpuinfo(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """py-cpuinfo writes some flags without underscores."""
    told_by_library = {"brand_raw": "Another CPU", "flags": ["avx2", "avx512vnni", "sse4_2"]}
    monkeypatch.setattr(cpuinfo, "get_cpu_info", lambda: told_by_library)
    told = capture(root=lay({}))
    assert told.host_processor_model_name == "Another CPU"
    assert told.host_processor_instruction_sets == ("sse4_2", "avx2", "avx512_vnni")


@pytest.mark.parametrize(
    ("flags", "limit", "floats"),
    [
        ("avx avx2 avx512f avx512bw", None, 16),
        ("avx avx2 avx512f avx512bw", "AVX512_CORE", 16),
        ("avx avx2 avx512f avx512bw", "AVX2", 8),
        ("avx avx2 avx512f avx512bw", "AVX", 1),
        ("avx avx2 avx512f avx512bw", "avx2", 16),
        ("avx avx2", None, 8),
        ("avx avx2", "ALL", 8),
        ("avx", "AVX2", 1),
    ],
)
def test_the_kernels_vector_is_the_processors_unless_the_user_forbids_it(
    lay: Lay, flags: str, limit: str | None, floats: int
) -> None:
    """oneDNN reads the variable in capitals alone; what it does not know, it ignores."""
    variables = {} if limit is None else {"DNNL_MAX_CPU_ISA": limit}
    assert vector_floats(lay(x86(flags)), variables) == floats
    assert capture(root=lay(x86(flags)), variables=variables).variables == variables


def test_a_processor_that_tells_nothing_has_no_kernels(lay: Lay) -> None:
    assert vector_floats(lay({}), {}) == 1


def test_caches_are_one_of_each_kind(lay: Lay) -> None:
    """They are those that the first usable CPU sees; what is no cache is left out."""
    kinds = [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "2M"), ("3", "Unified", "33792K")]
    odd = [("x", "Unified", "1K"), ("4", "Other", "1K"), ("4", "Unified", "many"), ("4", "Unified", "0K")]
    files = {"proc/self/status": allowed("2-3"), f"{CPU}/cpu0/cache/index0/size": "1K"}
    for index, (level, kind, size) in enumerate(kinds + odd):
        folder = f"{CPU}/cpu2/cache/index{index}"
        files |= {f"{folder}/level": level, f"{folder}/type": kind, f"{folder}/size": size}
    expected = {"L1d": 48 * 1024, "L1i": 32 * 1024, "L2": 2 * 1024**2, "L3": 33 * 1024**2}
    assert capture(root=lay(files)).host_processor_caches_bytes == expected


def test_frequency_and_governor_are_the_usable_cpus(lay: Lay) -> None:
    """The frequency is the fastest one's, and all governors are named where they differ. Other CPUs do not count."""
    files = {"proc/self/status": allowed("0-1")}
    for cpu, (kilohertz, governor) in enumerate([("3500000", "powersave"), ("5100000", "performance"), ("9", "other")]):
        files[f"{CPU}/cpu{cpu}/cpufreq/cpuinfo_max_freq"] = kilohertz
        files[f"{CPU}/cpu{cpu}/cpufreq/scaling_governor"] = governor
    told = capture(root=lay(files))
    assert told.host_processor_max_frequency_hz == 5_100_000_000
    assert told.scaling_governor == "performance,powersave"


@pytest.mark.parametrize(
    ("switch", "says", "turbo"),
    [
        ("intel_pstate/no_turbo", "0", True),
        ("intel_pstate/no_turbo", "1", False),
        ("cpufreq/boost", "1", True),
        ("cpufreq/boost", "0", False),
        ("cpufreq/boost", "perhaps", None),
        ("cpufreq/other", "1", None),
    ],
)
def test_turbo(lay: Lay, switch: str, says: str, turbo: bool | None) -> None:  # noqa: FBT001
    """Intel's switch says no, the others' says yes, and without a switch nothing is known."""
    assert capture(root=lay({f"{CPU}/{switch}": says})).turbo is turbo


# Control groups

V1_CPU, V1_MEMORY = "sys/fs/cgroup/cpu", "sys/fs/cgroup/memory"


def v1(group: str, quota: str, memory: str) -> dict[str, str]:
    return {
        f"{V1_CPU}{group}/cpu.cfs_quota_us": quota,
        f"{V1_CPU}{group}/cpu.cfs_period_us": "100000",
        f"{V1_MEMORY}{group}/memory.limit_in_bytes": memory,
    }


def v2(group: str, quota: str, memory: str, mount: str = "sys/fs/cgroup") -> dict[str, str]:
    return {f"{mount}{group}/cpu.max": quota, f"{mount}{group}/memory.max": memory}


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        pytest.param("0::/", v2("", "150000 100000", "1000"), (1.5, 1000), id="v2 in a container"),
        pytest.param("0::/", v2("", "max 100000", "max"), (None, None), id="v2 without a limit"),
        pytest.param(
            "0::/a/b",
            v2("/a/b", "max 100000", "3000") | v2("/a", "200000 100000", "2000") | v2("/c", "1000 100000", "1"),
            (2.0, 2000),
            id="v2: the group around is tighter",
        ),
        pytest.param(
            "0::/a/b",
            v2("/a/b", "50000 50000", "1000") | v2("/a", "200000 100000", "max"),
            (1.0, 1000),
            id="v2: the own group is tighter",
        ),
        pytest.param(
            "0::/../other",
            v2("", "100000 100000", "7") | {"sys/fs/memory.max": "1"},
            (1.0, 7),
            id="v2: the own group is out of sight",
        ),
        pytest.param(
            "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x\n0::/docker/x",
            v1("/docker/x", "250000", "4000") | v1("", "-1", NO_LIMIT_V1),
            (2.5, 4000),
            id="v1 nested",
        ),
        pytest.param(
            "5:memory:/docker/x\n4:cpu,cpuacct:/docker/x",
            v1("", "50000", "4000"),
            (0.5, 4000),
            id="v1: the mount shows the own group as its root",
        ),
        pytest.param("2:memory:/\n1:cpu:/", v1("", "-1", NO_LIMIT_V1), (None, None), id="v1 without a limit"),
        pytest.param(
            "2:memory:/jobs/1\n1:cpu:/\n0::/",
            v1("", "-1", NO_LIMIT_V1) | {f"{V1_MEMORY}/jobs/1/memory.limit_in_bytes": "5000"},
            (None, 5000),
            id="hybrid: limits in version 1",
        ),
        pytest.param(
            "2:memory:/\n1:name=systemd:/a\n0::/a",
            v1("", "-1", NO_LIMIT_V1) | v2("/a", "300000 100000", "6000", "sys/fs/cgroup/unified"),
            (3.0, 6000),
            id="hybrid: limits in version 2",
        ),
        pytest.param("", {}, (None, None), id="no control groups"),
    ],
)
def test_the_tightest_control_group_wins(
    lay: Lay, own: str, files: dict[str, str], expected: tuple[float | None, int | None]
) -> None:
    """It does in both versions and in a mixture, from the process's own group to the root; siblings do not count."""
    told = capture(root=lay({"proc/self/cgroup": own} | files))
    assert (told.cgroup_cpu_quota, told.cgroup_memory_limit_bytes) == expected


@pytest.mark.parametrize(
    "files",
    [
        {
            "proc/self/cgroup": "0::/box",
            "sys/fs/cgroup/box/memory.max": "5000",
            "sys/fs/cgroup/box/memory.current": "4000",
            "sys/fs/cgroup/box/memory.stat": "anon 3000\nactive_file 300\ninactive_file 200",
        },
        {
            "proc/self/cgroup": "4:memory:/box",
            "sys/fs/cgroup/memory/box/memory.limit_in_bytes": "5000",
            "sys/fs/cgroup/memory/box/memory.usage_in_bytes": "4000",
            "sys/fs/cgroup/memory/box/memory.stat": "active_file 1\ntotal_active_file 300\ntotal_inactive_file 200",
        },
    ],
)
def test_available_memory_is_what_the_limit_leaves(lay: Lay, files: dict[str, str]) -> None:
    """In a container the machine's own may be a hundred times as much. The file cache makes room."""
    assert available_memory_bytes(lay(files)) == 1500


def test_without_a_limit_the_machine_says_what_is_available(lay: Lay) -> None:
    files = {
        "proc/self/cgroup": "0::/box",
        "sys/fs/cgroup/box/memory.max": "max",
        "sys/fs/cgroup/box/memory.current": "1",
    }
    assert (available_memory_bytes(lay(files)) or 0) > 1 << 20


_groups = st.lists(st.sampled_from(["cpu", "cpuacct", "memory", "name=systemd"]), min_size=1, unique=True)
_path = st.from_regex("(/[a-c:.-]{1,3}){1,3}|/", fullmatch=True)


@given(names=_groups, path=_path, unified=_path)
def test_groups_are_read_back(names: list[str], path: str, unified: str) -> None:
    """Controllers may share a hierarchy, paths have colons, and version 2's line lacks a controller."""
    read = cgroup.parse_cgroups(f"7:{','.join(names)}:{path}\n3:pids:/x\n0::{unified}")
    expected = dict.fromkeys(names, PurePosixPath(path))
    assert read == expected | {"pids": PurePosixPath("/x"), "": PurePosixPath(unified)}


@given(st.text())
def test_any_text_is_parsed_without_an_error(text: str) -> None:
    """What a kernel of another time writes costs a fact, never the run."""
    cgroup.parse_cgroups(text)
    parse_cpu_list(text)
    parse_cpuinfo(text)
    software.parse_git_status(text)
    quota, size = cgroup.parse_quota(text), parse_size(text)
    assert quota is None or quota > 0
    assert size is None or size >= 0


@given(st.integers(1, 10**15 - 1), st.integers(1, 10**6))
def test_a_quota_is_time_per_period(microseconds: int, period: int) -> None:
    """The result is in CPUs."""
    assert cgroup.parse_quota(f"{microseconds} {period}") == microseconds / period


@pytest.mark.parametrize("text", ["max 100000", "-1 100000", "100000", "100000 0", "0 100000", "1e5 100000", "", " "])
def test_what_is_no_quota_is_no_limit(text: str) -> None:
    """So is what either version writes for "none"."""
    assert cgroup.parse_quota(text) is None


# Machine

HYPERVISOR = x86("fpu hypervisor avx2")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param(x86("fpu avx2"), None, id="bare metal"),
        pytest.param(HYPERVISOR, "virtual machine", id="unnamed"),
        pytest.param(x86("fpu") | {"sys/class/dmi/id/sys_vendor": "QEMU"}, None, id="the flag decides"),
        pytest.param(HYPERVISOR | {"sys/class/dmi/id/sys_vendor": "QEMU"}, "qemu", id="by its vendor"),
        pytest.param(
            HYPERVISOR | {"sys/class/dmi/id/sys_vendor": "Red Hat", "sys/class/dmi/id/product_name": "KVM"},
            "kvm",
            id="by its product",
        ),
        pytest.param(HYPERVISOR | {"sys/hypervisor/type": "xen"}, "xen", id="by its kernel"),
        pytest.param(
            HYPERVISOR | {"proc/sys/kernel/osrelease": "5.15.90.1-microsoft-standard-WSL2"}, "wsl", id="Windows"
        ),
        pytest.param(
            x86("fpu") | {"sys/class/dmi/id/sys_vendor": "Amazon EC2", "sys/class/dmi/id/product_name": "c5.metal"},
            None,
            id="a cloud's bare metal",
        ),
        pytest.param(x86("fpu") | {".dockerenv": ""}, "docker", id="container"),
        pytest.param(HYPERVISOR | {"run/.containerenv": ""}, "podman on virtual machine", id="container on a VM"),
        pytest.param(
            {".dockerenv": "", "proc/self/cgroup": "1:cpu:/kubepods/pod1/docker-x"}, "kubernetes", id="in a pod"
        ),
        pytest.param({"proc/self/cgroup": "0::/lxc/web"}, "lxc", id="container by its group"),
    ],
)
def test_virtualization(lay: Lay, files: dict[str, str], expected: str | None) -> None:
    """Container and hypervisor are each known by their best-known trace."""
    assert capture(root=lay(files)).virtualization == expected


@pytest.mark.parametrize(
    ("vendor", "product", "expected"),
    [
        ("QEMU", "KVM Virtual Machine", "kvm"),
        ("Amazon EC2", "c7g.large", "amazon"),
        ("Amazon EC2", "c7g.metal", None),
        ("Google", "Google Compute Engine", "google"),
        ("Google", "Chromebook", None),
        ("Ampere", "Altra", None),
    ],
)
def test_virtualization_on_arm(lay: Lay, vendor: str, product: str, expected: str | None) -> None:
    """Its processors have no flag for it, so only firmware that says so counts."""
    dmi = {"sys/class/dmi/id/sys_vendor": vendor, "sys/class/dmi/id/product_name": product}
    root = lay({"proc/cpuinfo": "processor : 0\nFeatures : fp asimd"} | dmi)
    assert capture(root=root).virtualization == expected


def test_the_host_is_told_apart_but_not_named(lay: Lay) -> None:
    """The same machine gives the same hash and another one another, and the identity itself is not in it."""
    root = lay({"etc/machine-id": "0123456789abcdef" * 2})
    first, again = capture(root=root).host_hash, capture(root=root).host_hash
    other = capture(root=lay({"etc/machine-id": "f" * 32})).host_hash
    assert first is not None
    assert first == again != other
    assert re.fullmatch("[0-9a-f]{64}", first)


def test_without_an_identity_network_and_name_are_the_host(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that Python drew by lot, for want of a card, does not count: the next process draws another."""
    root = lay({"etc/machine-id": "uninitialized"})

    def hash_of(node: int, host: str) -> str | None:
        monkeypatch.setattr(uuid, "getnode", lambda: node)
        monkeypatch.setattr(socket, "gethostname", lambda: host)
        return capture(root=root).host_hash

    assert hash_of(0x02AA, "one") == hash_of(0x02AA, "one")
    assert len({hash_of(0x02AA, "one"), hash_of(0x02AB, "one"), hash_of(0x02AA, "two")}) == 3
    assert hash_of(0x010000000001, "one") == hash_of(0x010000000002, "one")


# Accelerators


def nvml(**changes: Callable[..., object] | None) -> types.SimpleNamespace:
    """Make a stand-in for nvidia-ml-py on a machine with two GPUs."""

    def refuse(*_arguments: object) -> None:
        raise RuntimeError("Not Supported")

    calls = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetUUID": lambda device: f"GPU-{device}a",
        "nvmlDeviceGetName": lambda device: ["NVIDIA A100", b"NVIDIA T4"][device],
        "nvmlDeviceGetMemoryInfo": lambda device: types.SimpleNamespace(total=(40 + device) * 1024**3),
        "nvmlSystemGetDriverVersion": lambda: "550.54.14",
    }
    return types.SimpleNamespace(**calls | {name: change or refuse for name, change in changes.items()})


def accelerators(
    monkeypatch: pytest.MonkeyPatch, root: Path, module: object, visible: str | None = None
) -> tuple[object, ...]:
    """Return what is told of them where `import pynvml` gives this, and CUDA itself does not start."""
    monkeypatch.setitem(sys.modules, "pynvml", module)
    monkeypatch.setattr(accelerators_module, "see_cards", lambda _visible, _order: None)
    told = capture(root=root, variables={} if visible is None else {"CUDA_VISIBLE_DEVICES": visible})
    return (
        told.accelerators_per_node,
        told.accelerator_model_names,
        told.accelerator_memory_capacity_bytes,
        told.accelerator_driver,
    )


def test_accelerators_as_their_driver_names_them(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old releases give bytes, and the driver is let go again."""
    closed = []
    told = accelerators(monkeypatch, lay({}), nvml(nvmlShutdown=lambda: closed.append(True)))
    assert told == (2, ("NVIDIA A100", "NVIDIA T4"), (40 * 1024**3, 41 * 1024**3), "550.54.14")
    assert closed == [True]


def cuda_shows(monkeypatch: pytest.MonkeyPatch, *uuids: str | None) -> None:
    """Let CUDA show these cards to programs, in this order."""
    cards = [Probe(Device(DeviceKind.GPU, index), uuid=identity) for index, identity in enumerate(uuids)]
    monkeypatch.setattr(accelerators_module, "see_cards", lambda _visible, _order: tuple(cards))


def find_handle(name: str) -> object:
    """Find a card or a part of one by its UUID, as the driver does."""
    return {"GPU-0a": 0, "GPU-1a": 1, "MIG-5f": "part"}[name]


def test_cards_are_those_that_cuda_shows_and_in_its_order(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver counts them by slots and CUDA from the fastest, whichever number a variable has."""
    monkeypatch.setitem(sys.modules, "pynvml", nvml(nvmlDeviceGetHandleByUUID=find_handle))
    cuda_shows(monkeypatch, "1a", "0a")
    told = capture(root=lay({}), variables={"CUDA_VISIBLE_DEVICES": "0,1"})
    assert told.accelerator_model_names == ("NVIDIA T4", "NVIDIA A100")
    assert [card.uuid for card in told.accelerators] == ["GPU-1a", "GPU-0a"]
    cuda_shows(monkeypatch)
    assert capture(root=lay({}), variables={}).accelerators_per_node == 0
    cuda_shows(monkeypatch, "9z")  # the driver knows no such card: what the variables say is the next best
    assert capture(root=lay({}), variables={"CUDA_VISIBLE_DEVICES": "1"}).accelerator_model_names == ("NVIDIA T4",)


def test_a_part_of_a_card_has_its_own_name_and_the_facts_of_the_whole(
    lay: Lay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CUDA shows a single part, and the driver knows of no power limit or link but that of the card."""

    def whole(device: object) -> int:
        assert device == "part"
        return 0

    module = nvml(
        nvmlDeviceGetHandleByUUID=find_handle,
        nvmlDeviceGetUUID=lambda device: "MIG-5f" if device == "part" else f"GPU-{device}a",
        nvmlDeviceGetName=lambda device: "NVIDIA A100 MIG 1g.5gb",
        nvmlDeviceGetMemoryInfo=lambda device: types.SimpleNamespace(total=5 * 1024**3),
        nvmlDeviceGetDeviceHandleFromMigDeviceHandle=whole,
        nvmlDeviceGetPowerManagementLimit={0: 400_000}.__getitem__,
    )
    monkeypatch.setitem(sys.modules, "pynvml", module)
    cuda_shows(monkeypatch, "5f")
    told = capture(root=lay({}), variables={"CUDA_VISIBLE_DEVICES": "MIG-5f"})
    assert told.accelerator_model_names == ("NVIDIA A100 MIG 1g.5gb",)
    assert told.accelerator_memory_capacity_bytes == (5 * 1024**3,)
    assert told.accelerators == (Accelerator(uuid="MIG-5f", power_limit_watts=400.0),)


#: What a driver tells of a card's state: a lower power limit than usual, eight of its lanes, heat and a full power cap.
STATE: dict[str, Callable[..., object]] = {
    "nvmlDeviceGetCudaComputeCapability": lambda _device: (8, 0),
    "nvmlDeviceGetMaxClockInfo": lambda _device, kind: {1: 1410, 2: 1215}[kind],
    "nvmlDeviceGetPowerManagementLimit": lambda _device: 250_000,
    "nvmlDeviceGetPowerManagementDefaultLimit": lambda _device: 400_000,
    "nvmlDeviceGetEccMode": lambda _device: [1, 1],
    "nvmlDeviceGetPersistenceMode": lambda _device: 0,
    "nvmlDeviceGetMaxPcieLinkGeneration": lambda _device: 4,
    "nvmlDeviceGetCurrPcieLinkWidth": lambda _device: 8,
    "nvmlDeviceGetMaxPcieLinkWidth": lambda _device: 16,
    "nvmlDeviceGetCurrentClocksThrottleReasons": lambda _device: 0x1 | 0x4 | 0x40,
}


def test_the_state_of_a_card_is_told(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle card is not slowed; the driver has milliwatts and megahertz."""
    assert accelerators(monkeypatch, lay({}), nvml(**STATE))[0] == 2
    (card, _other) = capture(root=lay({}), variables={}).accelerators
    slowed_by = (ThrottleReason.POWER_CAP, ThrottleReason.HEAT)
    assert card == msgspec.structs.replace(CARD, uuid="GPU-0a", throttle_reasons=slowed_by)
    nothing = dict.fromkeys(STATE, lambda *_arguments: 0)
    del nothing["nvmlDeviceGetCudaComputeCapability"], nothing["nvmlDeviceGetEccMode"]
    accelerators(monkeypatch, lay({}), nvml(**nothing))
    told = capture(root=lay({}), variables={})
    assert told.accelerators[0] == Accelerator(uuid="GPU-0a", persistence_mode=False)
    assert msgspec.json.decode(msgspec.json.encode(told), type=Environment) == told


def test_what_slowed_a_card_meanwhile_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver adds up times, and says what slows a card right now; what did so before alone is not told."""
    times = {0: 5, 1: 7}

    def driver(bits: int) -> types.SimpleNamespace:
        return nvml(
            nvmlDeviceGetCurrentClocksThrottleReasons=lambda _device: bits,
            nvmlDeviceGetViolationStatus=lambda device, policy: types.SimpleNamespace(violationTime=times[policy]),
        )

    monkeypatch.setattr(accelerators_module, "see_cards", lambda _visible, _order: None)
    monkeypatch.setitem(sys.modules, "pynvml", driver(0x4))
    before = read_throttling({})
    monkeypatch.setitem(sys.modules, "pynvml", driver(0x80))
    assert read_throttling({}).since(before) == (ThrottleReason.POWER_BRAKE,)
    times[1] = 8
    assert read_throttling({}).since(before) == (ThrottleReason.HEAT, ThrottleReason.POWER_BRAKE)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert read_throttling({}) == Throttling()
    assert read_throttling({}).since(before) == ()


def test_what_a_driver_does_not_support_is_absent(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is not told where the GPU shares the CPU's, but the GPU is."""
    module = nvml(nvmlDeviceGetMemoryInfo=None, nvmlSystemGetDriverVersion=None)
    assert accelerators(monkeypatch, lay({}), module) == (2, ("NVIDIA A100", "NVIDIA T4"), (), None)


def test_no_driver_or_no_library_is_no_accelerator(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is the usual case of a CPU machine."""
    assert accelerators(monkeypatch, lay({}), nvml(nvmlInit=None)) == (0, (), (), None)
    assert accelerators(monkeypatch, lay({}), None) == (0, (), (), None)  # None: the import raises


def test_only_the_cards_that_programs_see_are_told(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another card under the same name gpu(0) is another machine."""
    assert accelerators(monkeypatch, lay({}), nvml(), "1") == (1, ("NVIDIA T4",), (41 * 1024**3,), "550.54.14")
    assert accelerators(monkeypatch, lay({}), nvml(), "") == (0, (), (), "550.54.14")
    running = types.SimpleNamespace(usedGpuMemory=2**30)
    busy = nvml(nvmlDeviceGetComputeRunningProcesses=lambda device: [running] * device)
    monkeypatch.setitem(sys.modules, "pynvml", busy)
    assert gpu_processes({}) == ("gpu(1): 1.0 GiB by 1",)
    assert gpu_processes({"CUDA_VISIBLE_DEVICES": "1"}) == ("gpu(0): 1.0 GiB by 1",)


@pytest.mark.parametrize(
    ("chosen", "visible"),
    [
        (None, [0, 1, 2]),
        ("", []),
        ("-1", []),
        ("2,0", [2, 0]),
        ("0,7,1", [0]),
        ("GPU-bb, GPU-aa1", [2, 0]),
        ("GPU-a", []),
        ("1gpu2,2ampere", [1, 2]),
        ("0,1,0", []),
        ("GPU-bb,GPU-bb3", []),
        ("NoDevFiles", []),
        ("MIG-GPU-aa1/0/0", [0, 1, 2]),
    ],
)
def test_visible_cards_are_chosen_as_cuda_does(chosen: str | None, visible: list[int]) -> None:
    """They come in the order of the variable; what names no card, or several, ends the list."""
    assert visible_cards(chosen, ["GPU-aa1", "GPU-aa2", "GPU-bb3"]) == visible


def test_a_card_is_named_beside_a_cpu_build(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the GPU builds bring nvidia-ml-py; the kernel's files name the card as well."""
    gpu = "proc/driver/nvidia/gpus/0000:0{}:00.0/information"
    information = "Model: \t\t NVIDIA {}\nIRQ:   \t\t 60\nGPU UUID: \t GPU-{}\nBus Type: \t PCIe"
    root = lay(
        {
            gpu.format(1): information.format("H100 80GB HBM3", "aa"),
            gpu.format(2): information.format("T4", "bb"),
            "sys/module/nvidia/version": "550.54.14",
        }
    )
    assert accelerators(monkeypatch, root, None) == (2, ("NVIDIA H100 80GB HBM3", "NVIDIA T4"), (), "550.54.14")
    assert accelerators(monkeypatch, root, None, "GPU-bb") == (1, ("NVIDIA T4",), (), "550.54.14")


# Software


def test_software_is_what_this_process_has_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thread pools have no paths, and a library that does not tell its threads is left out."""
    threadpoolctl = importlib.import_module("threadpoolctl")
    pool = {"user_api": "blas", "internal_api": "openblas", "prefix": "lib", "filepath": "/home/me/lib.so"}
    pools = [pool | {"num_threads": 3, "version": "0.3", "architecture": "Zen"}, pool | {"num_threads": None}]
    monkeypatch.setattr(threadpoolctl, "threadpool_info", lambda: [*pools, pool | {"num_threads": 1, "version": None}])
    monkeypatch.setitem(sys.modules, "numpy", types.SimpleNamespace(__version__="1.99"))
    loaded = describe_software("mxnet", "1.9.1", ["OPENMP", "BLAS_OPEN"])
    assert (loaded.framework, loaded.framework_version, loaded.numpy) == ("mxnet", "1.9.1", "1.99")
    assert loaded.framework_features == ("OPENMP", "BLAS_OPEN")
    assert [(pool.num_threads, pool.version, pool.architecture) for pool in loaded.thread_pools] == [
        (3, "0.3", "Zen"),
        (1, None, None),
    ]
    assert b"/home/me" not in msgspec.json.encode(loaded)
    assert msgspec.json.decode(msgspec.json.encode(loaded), type=Software) == loaded


def test_packages_are_those_installed(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have their own names, a CUDA build's included; what is not there is not listed."""
    installed = {"mxnet-cu117": "1.9.1", "numpy": "1.26.4", "mnist-bench": "9.8.7", "requests": "2"}
    monkeypatch.setattr(software, "version", installed.__getitem__)
    told = capture(root=lay({}))
    assert told.packages == {"mxnet-cu117": "1.9.1", "numpy": "1.26.4"}
    assert told.mnist_bench_version == "9.8.7"


class TestGit:
    @staticmethod
    def git(folder: Path, *arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
        finished = subprocess.run(
            ["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True
        )
        return finished.stdout.strip()

    @pytest.fixture
    def checkout(self, tmp_path: Path) -> Path:
        folder = tmp_path / "checkout"
        folder.mkdir()
        self.git(folder, "init")
        (folder / "file").write_text("1")
        self.git(folder, "add", "file")
        self.git(folder, "commit", "-m", "first")
        return folder

    def test_a_checkout_tells_its_commit(self, checkout: Path) -> None:
        """Untracked files cannot be imported by tracked ones, so they make nothing dirty; a changed file does."""
        commit = self.git(checkout, "rev-parse", "HEAD")
        (checkout / "untracked").write_text("2")
        assert software.read_git(checkout) == (commit, False)
        (checkout / "file").write_text("2")
        assert software.read_git(checkout) == (commit, True)

    def test_a_hook_of_another_repository(self, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Its GIT_DIR does not change what this source is."""
        commit = self.git(checkout, "rev-parse", "HEAD")
        monkeypatch.setenv("GIT_DIR", str(checkout.parent / "none"))
        assert software.read_git(checkout) == (commit, False)

    def test_no_commit_is_told_where_there_is_none(self, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """It may lie below a checkout, have no commit, be no repository, or git may be missing or refuse."""
        (checkout / "site-packages").mkdir()
        assert software.read_git(checkout / "site-packages") == (None, None)
        fresh = checkout.parent / "fresh"
        fresh.mkdir()
        self.git(fresh, "init")
        assert software.read_git(fresh) == (None, None)
        (checkout.parent / ".git").write_text("gitdir: nowhere")
        assert software.read_git(checkout.parent) == (None, None)
        with monkeypatch.context() as patched:
            patched.setenv("PATH", "")
            assert software.read_git(checkout) == (None, None)
        monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own way to test safe.directory
        assert software.read_git(checkout) == (None, None)

    def test_the_commit_is_known_where_git_looks_for_changes_too_long(
        self, checkout: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On a slow file system a resumed file was told of another commit."""

        def slow(_source: Path) -> str:
            raise subprocess.TimeoutExpired("git", 2.0)

        monkeypatch.setattr(software, "git_status", slow)
        assert software.read_git(checkout) == (self.git(checkout, "rev-parse", "HEAD"), None)

    def test_a_hanging_git_is_given_up(self, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A file system that does not answer costs the commit, not the run."""
        slow = checkout.parent / "bin"
        slow.mkdir()
        (slow / "git").write_text("#!/bin/sh\nexec sleep 60\n")
        (slow / "git").chmod(0o755)
        monkeypatch.setenv("PATH", f"{slow}:{os.environ['PATH']}")
        monkeypatch.setattr(software, "GIT_SECONDS", 0.1)
        begin = time.monotonic()
        assert software.read_git(checkout) == (None, None)
        assert time.monotonic() - begin < 5


# Privacy

USER, HOST, HOME = "quetzalcoatl", "xochimilco.example.org", "/srv/people/quetzalcoatl"


@pytest.fixture
def _someone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the machine a user and a name that are in no word of ours."""
    monkeypatch.setattr(getpass, "getuser", lambda: USER)
    monkeypatch.setattr(socket, "gethostname", lambda: HOST)
    monkeypatch.setenv("HOME", HOME)


@pytest.mark.usefixtures("_someone")
def test_nobody_is_named() -> None:
    """No name is in what is told of this machine, nor in values of variables that hold a path."""
    variables = {
        "MXNET_HOME": f"{HOME}/.mxnet",
        "OMP_TOOL_LIBRARIES": f"/scratch/{USER}_libs/x.so",
        "MXNET_GLUON_REPO": f"http://{USER}:secret@{HOST}/models",
        "MALLOC_TRACE": "/var/log/xochimilco.log",
        "LD_PRELOAD": f"{HOME}/lib/libjemalloc.so.2 /opt/libtcmalloc.so",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "PATH": f"{HOME}/bin",
        "HOSTNAME": HOST,
        "USER": USER,
    }
    told = capture(variables=variables)
    assert told.variables == {
        "LD_PRELOAD": "libjemalloc.so.2:libtcmalloc.so",
        "MALLOC_TRACE": "/var/log/<host>.log",
        "MXNET_GLUON_REPO": "http://<host>/models",
        "MXNET_HOME": "~/.mxnet",
        "OMP_TOOL_LIBRARIES": "/scratch/<user>_libs/x.so",
    }
    encoded = msgspec.json.encode(told).decode()
    for private in (USER, "xochimilco", HOME, "secret"):
        assert private not in encoded


def test_this_machine_and_its_user_are_not_named() -> None:
    """Their real names do not occur as words: a host called "vm" may well be on a kvm.

    The home is the one on record: $HOME may be any folder, such as /sys, which is named for good reason.
    """
    encoded = msgspec.json.encode(capture(variables=os.environ)).decode()
    user = psutil.Process().username()
    for private in (socket.gethostname(), getpass.getuser(), user, pwd.getpwnam(user).pw_dir):
        assert re.search(rf"(?<!\w){re.escape(private)}(?!\w)", encoded) is None


@pytest.mark.parametrize(
    ("name", "recorded"),
    [
        *((name, True) for name in ("OMP_NUM_THREADS", "KMP_AFFINITY", "GOMP_SPINCOUNT", "MXNET_ENGINE_TYPE")),
        *((name, True) for name in ("MKL_VERBOSE", "MKLDNN_VERBOSE", "DNNL_VERBOSE", "ONEDNN_MAX_CPU_ISA")),
        *((name, True) for name in ("OPENBLAS_CORETYPE", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES")),
        *((name, True) for name in ("MALLOC_ARENA_MAX", "LD_PRELOAD")),
        *((name, False) for name in ("LD_LIBRARY_PATH", "MY_OMP_X", "CUDA_HOME", "DMLC_ROLE", "NVIDIA_KEY", "OMP")),
    ],
)
def test_variables_are_an_allow_list(lay: Lay, name: str, recorded: bool) -> None:  # noqa: FBT001
    """What is not known to change a measurement is not read."""
    assert capture(root=lay({}), variables={name: "4"}).variables == ({name: "4"} if recorded else {})


@pytest.mark.parametrize(
    ("value", "home", "expected"),
    [
        ("/home/al/x:/home/al", "/home/al", "~/x:~"),
        ("/home/alice/x", "/home/al", "/home/alice/x"),
        ("true,al,/al/", "/home/al", "true,<user>,/<user>/"),
        ("hosting node17.lan and node17", "/", "hosting <host> and <host>"),
        ("/opt/x/", "/", "/opt/x/"),
    ],
)
def test_redaction(value: str, home: str, expected: str) -> None:
    """The longest name goes first, a short one only as a word, and a home that is the root belongs to all users."""
    names = {"node17": "<host>", "node17.lan": "<host>", "al": "<user>", "": "<host>"}
    assert privacy.redact(value, PurePosixPath(home), names) == expected


# All of it


def test_this_machine_is_told_and_read_back() -> None:
    """A real machine gives a record that a strict reader takes, and the facts no machine can lack."""
    told = capture(software=describe_software("mxnet", "1.9.1", ()))
    assert msgspec.json.decode(msgspec.json.encode(told), type=Environment) == told
    assert told.host_hash == capture().host_hash
    assert 1 <= told.usable_core_count <= told.usable_vcpu_count <= (os.cpu_count() or 1)
    assert told.usable_core_count == usable_core_count()
    assert told.host_memory_capacity_bytes == psutil.virtual_memory().total


def test_nothing_is_changed(tmp_path: Path) -> None:
    """Neither import nor capture sets a variable, writes a file or leaves a process: they would be measured too."""
    code = (
        "import os; before = dict(os.environ)\n"
        "import psutil; from bench.machine.capture import capture\n"
        "capture()\n"
        "print(before == dict(os.environ), psutil.Process().children(), os.listdir())"
    )
    clean = {name: value for name, value in os.environ.items() if name != "KMP_DUPLICATE_LIB_OK"}
    clean["PYTHONPATH"] = str(SOURCE_ROOT)
    said = subprocess.check_output([sys.executable, "-B", "-c", code], cwd=tmp_path, env=clean, text=True)
    assert said == "True [] []\n"


def test_an_empty_machine_is_still_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a single file, and with libraries that raise, what is left is a valid record."""

    def refuse(*_arguments: object, **_keywords: object) -> None:
        raise PermissionError(13, "Permission denied")

    for name in ("cpu_freq", "virtual_memory", "Process"):
        monkeypatch.setattr(psutil, name, refuse)
    monkeypatch.setattr(psutil, "cpu_count", lambda **_keywords: None)
    for module, name in [(socket, "gethostname"), (getpass, "getuser"), (cpuinfo, "get_cpu_info"), (Path, "home")]:
        monkeypatch.setattr(module, name, refuse)
    for module, name in [(software, "version"), (software, "run_git")]:
        monkeypatch.setattr(module, name, refuse)
    for name in ("libc_ver", "freedesktop_os_release"):
        monkeypatch.setattr(platform, name, refuse)
    told = capture(root=tmp_path)
    assert msgspec.json.decode(msgspec.json.encode(told), type=Environment) == told
    assert (told.usable_vcpu_count, told.usable_core_count) == (1, 1)
    absent = ("host_hash", "host_processor_model_name", "host_processor_vcpu_count", "libc", "turbo", "git_commit")
    assert [getattr(told, name) for name in absent] == [None] * len(absent)


def read_by_capture(root: Path, monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Return every file that it asks for."""
    seen: set[Path] = set()
    really_open = Path.open

    def listen(path: Path, *arguments: str) -> object:
        seen.add(path)
        return really_open(path, *arguments)  # type: ignore[call-overload]

    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", listen)
        capture(root=root)
    return {path for path in seen if path.is_relative_to(root)}


@pytest.mark.parametrize(
    "garbage",
    [b"", b"\0\xff\xfe:\n", b"9" * 40, b"0", b"-1", b"a: b\n\n:::\n", b"flags : \xc3\x28", b"\n" * 10, b"1:/:/\n0::/"],
)
def test_garbage_in_every_file(lay: Lay, monkeypatch: pytest.MonkeyPatch, garbage: bytes) -> None:
    """It costs facts, never the record."""
    root = lay({"proc/self/status": allowed("0-3"), "proc/self/cgroup": "2:cpu,memory:/a\n0::/a/b"})
    files = read_by_capture(root, monkeypatch)
    assert len(files) > 40
    for path in files - {root / "proc/self/status", root / "proc/self/cgroup"}:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(garbage)
    for _ in range(2):  # first with those two files in order, then without
        told = capture(root=root)
        assert msgspec.json.decode(msgspec.json.encode(told), type=Environment) == told
        (root / "proc/self/status").write_bytes(garbage)
        (root / "proc/self/cgroup").write_bytes(garbage)


def test_files_that_may_not_be_read(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """They count as missing, and so do folders in their places."""

    def refuse(*_arguments: object, **_keywords: object) -> None:
        raise PermissionError(13, "Permission denied")

    root = lay({"proc/cpuinfo/folder/file": ""} | topology(2))
    assert capture(root=root).host_processor_model_name is None
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", refuse)
        told = capture(root=root)
    assert told.host_processors_per_node is None
    assert msgspec.json.decode(msgspec.json.encode(told), type=Environment) == told


def test_a_value_that_is_no_text(lay: Lay) -> None:
    """A variable may hold any bytes; the record is JSON."""
    told = capture(root=lay({}), variables={"OMP_X": "a\udcff", "MXNET_\udcfe": "1"})
    assert told.variables == {"OMP_X": "a?", "MXNET_?": "1"}
    assert msgspec.json.decode(msgspec.json.encode(told), type=Environment) == told


def test_the_time_is_a_timestamp() -> None:
    """It is that of now, in UTC."""
    told = msgspec.convert(utc_now(), Timestamp)
    assert abs(datetime.fromisoformat(told.replace("Z", "+00:00")) - datetime.now(timezone.utc)) < timedelta(minutes=1)

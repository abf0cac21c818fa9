"""capture(): what this machine and its software are, for the head of a result file.

A fact that the machine does not tell is None; asking for one never raises and changes nothing. Linux is read from
/proc and /sys below `root`, so that a test can lay out any machine; psutil and py-cpuinfo answer where those do not.
"""

from __future__ import annotations

import functools
import getpass
import hashlib
import importlib
import math
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path, PurePath, PurePosixPath
from typing import Any, Final, NamedTuple, TypeVar

import cpuinfo
import psutil

from bench import SOURCE_ROOT
from bench.records.base import utc_now
from bench.records.environment import Environment, Software, ThreadPool

T = TypeVar("T")

_ROOT: Final = Path("/")


_CPUS: Final = "sys/devices/system/cpu"

#: Not secret: it keeps the hash from being compared with other programs' hashes of the same identity.
_SALT: Final = "mnist-bench/1:"

#: Linux can be built for 8192 CPUs at most; a list that names more than this is none.
_CPU_LIMIT: Final = 1 << 16

#: A fact stands at the start of its file: the first CPU's block of /proc/cpuinfo, all flags included, is below 8 KiB.
_READ_BYTES: Final = 1 << 16

#: `git status` of this source takes milliseconds; a file system that needs longer than this is not worth the wait.
_GIT_SECONDS: Final = 2.0

#: What decides the speed of a matrix product, the oldest first.
_INSTRUCTION_SETS: Final = (
    *("sse4_2", "avx", "f16c", "fma", "avx2", "avx_vnni"),
    *("avx512f", "avx512dq", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16", "avx512_fp16"),
    *("amx_tile", "amx_int8", "amx_bf16", "amx_fp16"),
    *("neon", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "svei8mm", "svebf16", "sve2", "sme"),
)

_VARIABLES: Final = re.compile(
    "(MXNET|OMP|KMP|GOMP|MKL|MKLDNN|DNNL|ONEDNN|OPENBLAS|GOTO|BLIS|MALLOC|TORCH|TORCHINDUCTOR|PYTORCH|JAX|XLA)_.*"
    "|CUDA_(VISIBLE_DEVICES|DEVICE_ORDER|LAUNCH_BLOCKING)|NVIDIA_(VISIBLE_DEVICES|TF32_OVERRIDE)"
    "|NUMEXPR_NUM_THREADS|LD_PRELOAD"
)

#: MXNet is retired: there will be no further ones.
_MXNET_CUDA: Final = ("80", "90", "91", "92", "100", "101", "102", "110", "112", "113", "114", "115", "116", "117")

_PACKAGES: Final = (
    *("mxnet", "mxnet-mkl", "mxnet-native", *(f"mxnet-cu{cuda}{mkl}" for cuda in _MXNET_CUDA for mkl in ("", "mkl"))),
    *("numpy", "scipy", "msgspec", "psutil", "threadpoolctl", "rich"),
)

#: Looked for, in this order, in what firmware and kernel call the machine.
_HYPERVISORS: Final = (
    *("wsl", "amazon", "google", "microsoft", "vmware", "virtualbox"),
    *("parallels", "xen", "kvm", "qemu"),
)

#: Firmware that surely names a virtual machine, for processors that have no flag for it.
_VIRTUAL_FIRMWARE: Final = re.compile("virtual|kvm|qemu|compute engine|amazon ec2(?!.*metal)")

#: Looked for, in this order, in the names of the control groups: Kubernetes' contain the others'.
_CONTAINERS: Final = {"kubepods": "kubernetes", "docker": "docker", "libpod": "podman", "lxc": "lxc"}


def capture(
    *,
    software: Software | None = None,
    peers: tuple[Software, ...] = (),
    root: Path = _ROOT,
    variables: Mapping[str, str] = os.environ,
) -> Environment:
    """The facts about this machine; `software` and `peers` are what workers reported. Never raises."""
    online, usable, quota = _online_cpus(root), _usable_cpus(root), _cpu_quota(root)
    processor, accelerators, (git_commit, git_dirty) = _processor(root), _accelerators(), _git(SOURCE_ROOT)
    return Environment(
        captured_at=utc_now(),
        host_hash=_host_hash(root),
        host_processor_model_name=processor.model_name,
        host_processors_per_node=_socket_count(root, online),
        host_processor_core_count=_core_count(root, online) or _told(lambda: psutil.cpu_count(logical=False)) or None,
        host_processor_vcpu_count=len(online) or None,
        usable_vcpu_count=_within(quota, len(usable)),
        usable_core_count=usable_core_count(root),
        host_processor_instruction_sets=instruction_sets(processor.flags),
        host_processor_max_frequency_hz=_max_frequency_hz(root, usable),
        host_memory_capacity_bytes=_memory_bytes(),
        host_processor_caches_bytes=_caches(root / _CPUS / f"cpu{min(usable)}/cache"),
        accelerators_per_node=accelerators.quantity,
        accelerator_model_names=accelerators.model_names,
        accelerator_memory_capacity_bytes=accelerators.memory_bytes,
        accelerator_driver=accelerators.driver,
        operating_system=_operating_system(),
        kernel=platform.release(),
        architecture=platform.machine(),
        libc=" ".join(_told(platform.libc_ver) or ()).strip() or None,
        virtualization=_virtualization(root),
        cgroup_cpu_quota=quota,
        cgroup_memory_limit_bytes=_memory_limit_bytes(root),
        scaling_governor=",".join(sorted({*_of_each(root, usable, "cpufreq/scaling_governor")} - {""})) or None,
        turbo=_turbo(root),
        mnist_bench_version=_installed(["mnist-bench"]).get("mnist-bench", "0+unknown"),
        git_commit=git_commit,
        git_dirty=git_dirty,
        software=software,
        packages=_installed(_PACKAGES),
        variables=_relevant(variables),
        peers=peers,
    )


def usable_core_count(root: Path = _ROOT) -> int:
    """Physical cores that this process may really use: affinity and the control groups' quota applied, at least 1."""
    usable = _usable_cpus(root)
    cores = _core_count(root, usable) or _told(lambda: psutil.cpu_count(logical=False)) or len(usable)
    return _within(_cpu_quota(root), min(cores, len(usable)))


def describe_software(framework: str, framework_version: str, features: Iterable[str]) -> Software:
    """What the calling process has loaded. Call it after importing the framework, which brings its thread pools."""
    threadpoolctl = importlib.import_module("threadpoolctl")  # here: the import sets KMP_DUPLICATE_LIB_OK
    told = ("user_api", "internal_api", "version", "architecture", "num_threads")
    return Software(
        python=platform.python_version(),
        framework=framework,
        framework_version=framework_version,
        framework_features=tuple(features),
        numpy=getattr(sys.modules.get("numpy"), "__version__", None) or version("numpy"),
        thread_pools=tuple(
            sorted(  # they are told in the order of their addresses, which changes from process to process
                (
                    ThreadPool(**{key: pool.get(key) for key in told})
                    for pool in threadpoolctl.threadpool_info()
                    if pool["num_threads"]  # else the library does not tell
                ),
                key=repr,
            )
        ),
    )


def _told(ask: Callable[[], T]) -> T | None:
    """The answer, or None where this machine has none: no fact about it is worth a crash."""
    try:
        return ask()
    except Exception:  # noqa: BLE001
        return None


def _text(path: Path) -> str:
    """What the file says; "" where it says nothing."""
    try:
        with path.open("rb") as file:
            return file.read(_READ_BYTES).decode(errors="replace").strip()
    except OSError:
        return ""


def _number(text: str) -> int | None:
    """A count of up to 15 digits: version 1 of control groups writes "no limit" as a longer one."""
    return int(text) if re.fullmatch("[0-9]{1,15}", text) else None


def parse_cpu_list(text: str) -> frozenset[int]:
    """The kernel's notation of a set of CPUs, e.g. "0-3,8"; empty where the text is anything else."""
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


def _online_cpus(root: Path) -> frozenset[int]:
    return parse_cpu_list(_text(root / _CPUS / "online")) or frozenset(range(psutil.cpu_count() or 0))


def _usable_cpus(root: Path) -> frozenset[int]:
    """The logical CPUs this process may run on; never empty."""
    allowed = re.search(r"^Cpus_allowed_list:\s*(\S+)$", _text(root / "proc/self/status"), re.MULTILINE)
    told = parse_cpu_list(allowed[1]) if allowed else None
    return told or frozenset(_told(lambda: psutil.Process().cpu_affinity()) or _online_cpus(root) or {0})


def _of_each(root: Path, cpus: Iterable[int], fact: str) -> list[str]:
    return [_text(root / _CPUS / f"cpu{cpu}" / fact) for cpu in cpus]


def _core_count(root: Path, cpus: Iterable[int]) -> int | None:
    """Physical cores behind these CPUs; None where the kernel does not tell for one of them."""
    cores = {parse_cpu_list(siblings) for siblings in _of_each(root, cpus, "topology/thread_siblings_list")}
    return len(cores) if cores and all(cores) else None


def _socket_count(root: Path, cpus: Iterable[int]) -> int | None:
    packages = {_number(package) for package in _of_each(root, cpus, "topology/physical_package_id")}
    return len(packages - {None}) or None  # the kernel's -1 is no answer


def _max_frequency_hz(root: Path, cpus: Iterable[int]) -> int | None:
    """Of the fastest of these CPUs, as the frequency driver tells."""
    kilohertz = max(_number(told) or 0 for told in _of_each(root, cpus, "cpufreq/cpuinfo_max_freq"))
    return kilohertz * 1000 or _told(lambda: round(psutil.cpu_freq().max * 1e6)) or None


def _caches(folder: Path) -> dict[str, int]:
    """One cache of each kind that a CPU has."""
    suffixes, sizes = {"Data": "d", "Instruction": "i", "Unified": ""}, {}
    for index in range(8):
        level, kind, size = (_text(folder / f"index{index}" / fact) for fact in ("level", "type", "size"))
        size_bytes = parse_size(size)
        if _number(level) and kind in suffixes and size_bytes:
            sizes[f"L{level}{suffixes[kind]}"] = size_bytes
    return sizes


def parse_size(text: str) -> int | None:
    """Bytes, from the kernel's notation of a cache's size, e.g. "512K"; None where the text is anything else."""
    size = re.fullmatch("([0-9]{1,9})([KMG]?)", text)
    return int(size[1]) * 1024 ** " KMG".index(size[2] or " ") if size else None


def _turbo(root: Path) -> bool | None:
    """Whether cores may exceed their nominal frequency: Intel's driver has a switch against it, the others one for."""
    no_turbo = {"0": True, "1": False}.get(_text(root / _CPUS / "intel_pstate/no_turbo"))
    return no_turbo if no_turbo is not None else {"0": False, "1": True}.get(_text(root / _CPUS / "cpufreq/boost"))


class _Processor(NamedTuple):
    model_name: str | None
    flags: list[str]


def _processor(root: Path) -> _Processor:
    """From /proc/cpuinfo; py-cpuinfo, which starts processes, only for what that leaves open."""
    name, flags = parse_cpuinfo(_text(root / "proc/cpuinfo"))
    asked: Mapping[str, Any] = {} if name and flags else _told(cpuinfo.get_cpu_info) or {}
    return _Processor(name or asked.get("brand_raw") or None, flags or asked.get("flags") or [])


def parse_cpuinfo(text: str) -> _Processor:
    """The first processor of /proc/cpuinfo."""
    lines = (line.partition(":") for line in text.partition("\n\n")[0].splitlines())
    facts = {key.strip(): " ".join(value.split()) for key, _, value in lines}
    return _Processor(facts.get("model name") or None, (facts.get("flags") or facts.get("Features", "")).split())


def instruction_sets(flags: Iterable[str]) -> tuple[str, ...]:
    """Those of the flags that matter here, by Linux's names but for "neon", which it calls asimd on 64 bits."""
    bare = {"neon" if flag == "asimd" else flag.replace("_", "") for flag in flags}
    return tuple(name for name in _INSTRUCTION_SETS if name.replace("_", "") in bare)


def parse_cgroups(text: str) -> dict[str, PurePosixPath]:
    """/proc/self/cgroup: controller -> the process's group; "" is version 2, which has one for all controllers."""
    lines = re.findall(r"^\d+:([^:\n]*):(/.*)$", text, re.MULTILINE)
    return {name: PurePosixPath(path) for names, path in lines for name in names.split(",")}


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The process's own group and every group around it, in both versions' hierarchies; each may limit it."""
    own = parse_cgroups(_text(root / "proc/self/cgroup"))
    for name, mount in ((controller, controller), ("", ""), ("", "unified")):  # unified: version 2 beside version 1
        group = own.get(name, PurePosixPath("/"))
        if ".." in group.parts:  # outside this process's name space: only its root is in sight
            group = PurePosixPath("/")
        yield from (root / "sys/fs/cgroup" / mount / each.relative_to("/") for each in (group, *group.parents))


def _cpu_quota(root: Path) -> float | None:
    """CPUs' worth of time that the tightest control group grants; None: no limit."""
    quotas = (
        parse_quota(_text(group / "cpu.max"))
        or parse_quota(f"{_text(group / 'cpu.cfs_quota_us')} {_text(group / 'cpu.cfs_period_us')}")
        for group in _groups(root, "cpu")
    )
    return min((quota for quota in quotas if quota), default=None)


def parse_quota(text: str) -> float | None:
    """CPUs, from "quota period"; None for "max", -1 and whatever else is no limit."""
    quota, _, period = text.partition(" ")
    microseconds, per = _number(quota), _number(period)
    return microseconds / per if microseconds and per else None


def _memory_limit_bytes(root: Path) -> int | None:
    """What the tightest control group grants; None: no limit."""
    files = (group / name for group in _groups(root, "memory") for name in ("memory.max", "memory.limit_in_bytes"))
    return min((limit for limit in map(_number, map(_text, files)) if limit), default=None)


def _within(quota: float | None, count: int) -> int:
    """What a quota leaves of the count, in wholes; a fraction of one still is one."""
    return max(1, count if quota is None else min(count, math.floor(quota)))


def _memory_bytes() -> int:
    return _told(lambda: psutil.virtual_memory().total) or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _operating_system() -> str:
    release = _told(platform.freedesktop_os_release) or {}
    return release.get("PRETTY_NAME") or f"{platform.system()} {platform.release()}"


def _virtualization(root: Path) -> str | None:
    """The container, the hypervisor, or "container on hypervisor"."""
    return " on ".join(name for name in (_container(root), _hypervisor(root)) if name) or None


def _container(root: Path) -> str | None:
    groups = _text(root / "proc/self/cgroup")
    named = next((name for word, name in _CONTAINERS.items() if word in groups), None)
    markers = {".dockerenv": "docker", "run/.containerenv": "podman"}
    return named or next((name for file, name in markers.items() if os.path.lexists(root / file)), None)


def _hypervisor(root: Path) -> str | None:
    firmware, kernel = (
        " ".join(_text(root / name) for name in names).lower()
        for names in (
            ("sys/class/dmi/id/sys_vendor", "sys/class/dmi/id/product_name"),
            ("sys/hypervisor/type", "proc/sys/kernel/osrelease"),
        )
    )
    if "hypervisor" not in parse_cpuinfo(_text(root / "proc/cpuinfo")).flags and not _is_virtual_arm(root, firmware):
        return None
    return next((word for word in _HYPERVISORS if word in f"{firmware} {kernel}"), "virtual machine")


def _is_virtual_arm(root: Path, firmware: str) -> bool:
    return "Features" in _text(root / "proc/cpuinfo") and bool(_VIRTUAL_FIRMWARE.search(firmware))


def _host_hash(root: Path) -> str | None:
    """Of the installation's own identity, else of the network card's address and the host's name."""
    identity = _text(root / "etc/machine-id")
    if not re.fullmatch("[0-9a-f]{32}", identity):
        identity = _told(_network_identity) or ""
    return hashlib.sha256(f"{_SALT}{identity}".encode()).hexdigest() if identity else None


def _network_identity() -> str:
    node = uuid.getnode()
    is_random = node >> 40 & 1  # the multicast bit: no card was found, and the next process gets another number
    return f"{0 if is_random else node:012x}/{socket.gethostname()}"


class _Accelerators(NamedTuple):
    quantity: int = 0
    model_names: tuple[str, ...] = ()
    memory_bytes: tuple[int, ...] = ()
    driver: str | None = None


def _accelerators() -> _Accelerators:
    """NVIDIA's devices as their driver names them; none without nvidia-ml-py or without a driver."""
    return _told(lambda: _ask_driver(importlib.import_module("pynvml"))) or _Accelerators()


def _ask_driver(nvml: Any) -> _Accelerators:  # noqa: ANN401  # untyped, and optional
    nvml.nvmlInit()
    try:
        devices = [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
        return _Accelerators(
            quantity=len(devices),
            model_names=_told(lambda: tuple(_decoded(nvml.nvmlDeviceGetName(device)) for device in devices)) or (),
            memory_bytes=_told(lambda: tuple(nvml.nvmlDeviceGetMemoryInfo(device).total for device in devices)) or (),
            driver=_told(lambda: _decoded(nvml.nvmlSystemGetDriverVersion())),
        )
    finally:
        nvml.nvmlShutdown()


def gpu_processes() -> tuple[str, ...] | None:
    """What computes on NVIDIA's devices right now, e.g. "gpu(0): 3.1 GiB by 2"; None where nobody can tell."""
    return _told(lambda: _ask_for_processes(importlib.import_module("pynvml")))


def _ask_for_processes(nvml: Any) -> tuple[str, ...]:  # noqa: ANN401  # as above
    nvml.nvmlInit()
    try:
        found = []
        for index in range(nvml.nvmlDeviceGetCount()):
            processes = nvml.nvmlDeviceGetComputeRunningProcesses(nvml.nvmlDeviceGetHandleByIndex(index))
            if processes:
                used = sum(process.usedGpuMemory or 0 for process in processes)
                found.append(f"gpu({index}): {used / 2**30:.1f} GiB by {len(processes)}")
        return tuple(found)
    finally:
        nvml.nvmlShutdown()


def available_memory_bytes() -> int | None:
    """What programs could get without swapping."""
    return _told(lambda: int(psutil.virtual_memory().available))


def swap_used_bytes() -> int | None:
    return _told(lambda: int(psutil.swap_memory().used))


def _decoded(name: str | bytes) -> str:
    """Old releases of nvidia-ml-py give bytes."""
    return name.decode() if isinstance(name, bytes) else name


def _git(source: Path) -> tuple[str | None, bool | None]:
    """Commit and dirtiness, where the source itself is a checkout and not merely installed below one."""
    status = _told(lambda: _git_status(source)) if os.path.lexists(source / ".git") else None
    return parse_git_status(status or "")


def _git_status(source: Path) -> str:
    """What git says without writing its index or waking its file system monitor."""
    # Inside a git hook these would name the repository that is being committed to.
    variables = {name: value for name, value in os.environ.items() if not re.match("GIT_(DIR|WORK_TREE|INDEX)", name)}
    quiet = ("--no-optional-locks", "-c", "core.fsmonitor=false")
    return subprocess.run(
        [shutil.which("git") or "git", "-C", source, *quiet, "status", "--porcelain=v2", "--branch", "-uno"],
        check=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        env=variables,
        timeout=_GIT_SECONDS,
    ).stdout


def parse_git_status(text: str) -> tuple[str | None, bool | None]:
    """Commit and dirtiness from `git status --porcelain=v2 --branch`; neither before the first commit."""
    commit = re.search(r"^# branch\.oid ([0-9a-f]{40,64})$", text, re.MULTILINE)
    return (commit[1], any(not line.startswith("#") for line in text.splitlines())) if commit else (None, None)


def _installed(names: Iterable[str]) -> dict[str, str]:
    found = {name: _told(functools.partial(version, name)) for name in names}
    return {name: number for name, number in found.items() if number}


def _relevant(variables: Mapping[str, str]) -> dict[str, str]:
    """Those of the allow-list, without anyone's name in their values."""
    home, names = _told(Path.home), _private_names()
    values = {name: variables[name] for name in sorted(variables) if _VARIABLES.fullmatch(name)}
    if "LD_PRELOAD" in values:
        values["LD_PRELOAD"] = basenames(values["LD_PRELOAD"])
    return {_encodable(name): redact(_encodable(value), home, names) for name, value in values.items()}


def _encodable(text: str) -> str:
    """Bytes that are no UTF-8 reach us as lone surrogates, which JSON cannot hold."""
    return text.encode(errors="replace").decode()


def basenames(paths: str) -> str:
    """LD_PRELOAD without its directories."""
    return ":".join(PurePath(path).name for path in re.split(r"[:\s]+", paths) if path)


def _private_names() -> dict[str, str]:
    """Who might be named in a value, and what to write instead."""
    users = _told(getpass.getuser), _told(lambda: psutil.Process().username().rpartition("\\")[2])
    host = _told(socket.gethostname) or ""
    return {host: "<host>", host.partition(".")[0]: "<host>"} | {user: "<user>" for user in users if user}


def redact(value: str, home: PurePath | None, names: Mapping[str, str]) -> str:
    """The value without a URL's credentials, "~" for the home directory, each name replaced by what it maps to.

    A name of one or two letters counts only as a word of its own: it would spoil every other value.
    """
    value = re.sub(r"//[^/@\s]+@", "//", value)
    if home is not None and home != PurePath(home.anchor):
        value = re.sub(rf"{re.escape(str(home))}(?!\w)", "~", value)
    longest_first = sorted(filter(None, names), key=len, reverse=True)
    patterns = [rf"\b{re.escape(name)}\b" if len(name) <= 2 else re.escape(name) for name in longest_first]  # noqa: PLR2004
    return re.sub("|".join(patterns), lambda found: names[found[0]], value) if patterns else value

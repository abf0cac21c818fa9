"""What stands between this process and the hardware: containers and hypervisors."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from bench.machine.linux.cpu import parse_cpuinfo
from bench.machine.linux.system_files import read_text

#: Looked for, in this order, in what firmware and kernel call the machine.
_HYPERVISORS: Final = (
    *("wsl", "amazon", "google", "microsoft", "vmware", "virtualbox"),
    *("parallels", "xen", "kvm", "qemu"),
)

#: Firmware that surely names a virtual machine, for processors that have no flag for it.
_VIRTUAL_FIRMWARE: Final = re.compile("virtual|kvm|qemu|compute engine|amazon ec2(?!.*metal)")
#: Looked for, in this order, in the names of the control groups: Kubernetes' contain the others'.
_CONTAINERS: Final = {"kubepods": "kubernetes", "docker": "docker", "libpod": "podman", "lxc": "lxc"}


def virtualization(root: Path) -> str | None:
    """Return the container, the hypervisor, or "container on hypervisor"; None: none seen."""
    return " on ".join(name for name in (_container(root), _hypervisor(root)) if name) or None


def _container(root: Path) -> str | None:
    groups = read_text(root / "proc/self/cgroup")
    named = next((name for word, name in _CONTAINERS.items() if word in groups), None)
    markers = {".dockerenv": "docker", "run/.containerenv": "podman"}
    return named or next((name for file, name in markers.items() if os.path.lexists(root / file)), None)


def _hypervisor(root: Path) -> str | None:
    firmware, kernel = (
        " ".join(read_text(root / name) for name in names).lower()
        for names in (
            ("sys/class/dmi/id/sys_vendor", "sys/class/dmi/id/product_name"),
            ("sys/hypervisor/type", "proc/sys/kernel/osrelease"),
        )
    )
    cpuinfo = read_text(root / "proc/cpuinfo")
    is_virtual_arm = "Features" in cpuinfo and _VIRTUAL_FIRMWARE.search(firmware)
    if "hypervisor" not in parse_cpuinfo(cpuinfo).flags and not is_virtual_arm:
        return None
    return next((word for word in _HYPERVISORS if word in f"{firmware} {kernel}"), "virtual machine")

"""The devices a training can run on: how they are written, which work here, what a GPU needs. Standard library only.

Whether a device works is asked in a child process with a time-out, because a GPU build of MXNet on a card it was not
built for can hang or crash the process that asks. `mnist_core.probe` is that child.

The published GPU build of MXNet, `mxnet-cu117`, brings none of the CUDA libraries that it links against. The extra
`gpu` does, as NVIDIA's PyPI wheels, which unpack to `site-packages/nvidia/*/lib`, where the dynamic loader does not
look. A library that the process has already loaded is found by its name, though, so loading them first makes `import
mxnet` work without `LD_LIBRARY_PATH`.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path


class DeviceError(ValueError):
    """A list of devices that cannot be meant; one line."""


class DeviceKind(str, Enum):
    """The kinds of device that MXNet trains on."""

    CPU = "cpu"
    GPU = "gpu"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True, order=True)
class Device:
    """One of MXNet's contexts, without MXNet. Several CPU devices are virtual: no core belongs to one of them."""

    kind: DeviceKind
    index: int

    def __str__(self) -> str:
        return f"{self.kind}({self.index})"


#: Four digits are more devices than any machine has, and few enough for MXNet's 32-bit index.
_DEVICE = re.compile(r"(cpu|gpu)(?:\(\s*([0-9]{1,4})\s*\))?")
#: What people write instead, for the sake of the hint.
_ALMOST_DEVICE = re.compile(r"([a-z]{3,4})[^\w-]*([0-9]{0,4})\W*", re.IGNORECASE)
#: By their letters in order: whoever writes gup or cup meant one of them, too.
_KINDS_MEANT = {
    "".join(sorted(word)): kind
    for word, kind in (("cpu", DeviceKind.CPU), ("gpu", DeviceKind.GPU), ("cuda", DeviceKind.GPU))
}


def parse_devices(text: str) -> tuple[Device, ...]:
    """Read "gpu(0),gpu(1)". A kind alone means its first device; blanks do not matter. Raises `DeviceError`."""
    devices: list[Device] = []
    for part in text.split(","):
        device = _parse_device(part.strip(), text)
        if device in devices:
            # Gluon keeps a dictionary of parameters by context.
            raise DeviceError(f"{device} is listed twice: a network has one copy of its parameters per device")
        devices.append(device)
    return tuple(devices)


def _parse_device(part: str, text: str) -> Device:
    if not part:
        raise DeviceError(
            f"a device is missing in {text!r}: write one or more of cpu(0), gpu(0), … with commas between"
        )
    if match := _DEVICE.fullmatch(part):
        return Device(DeviceKind(match[1]), int(match[2] or 0))
    if re.fullmatch(r"(cpu|gpu)\(\s*-\s*[0-9]+\s*\)", part):
        raise DeviceError(f"{part!r}: devices are counted from 0")
    if (match := _ALMOST_DEVICE.fullmatch(part)) and (kind := _KINDS_MEANT.get("".join(sorted(match[1].lower())))):
        raise DeviceError(f"unknown device {part!r}: did you mean {Device(kind, int(match[2] or 0))}?")
    raise DeviceError(f"unknown device {part!r}: write cpu(0), cpu(1), … or gpu(0), gpu(1), …")


def format_devices(devices: Iterable[Device]) -> str:
    """The text that `parse_devices` reads back."""
    return ",".join(map(str, devices))


class Unusable(str, Enum):
    """The reason why a device cannot be used for training."""

    NO_FRAMEWORK = "no_framework"
    """MXNet cannot be imported."""
    NO_CUDA_BUILD = "no_cuda_build"
    """The installed MXNet knows no GPU."""
    NO_DRIVER = "no_driver"
    """NVIDIA's driver is missing or too old."""
    NO_SUCH_DEVICE = "no_such_device"
    """Fewer GPUs are visible."""
    UNSUPPORTED_CAPABILITY = "unsupported_capability"
    """The installed MXNet has no machine code for this card."""
    OUT_OF_MEMORY = "out_of_memory"
    WRONG_RESULT = "wrong_result"
    """The device computes, but the result is wrong."""
    HUNG = "hung"
    CRASHED = "crashed"

    def __str__(self) -> str:
        return self.value


#: These say something of one card; every other reason would meet the next card too.
_REASONS_OF_ONE_CARD = frozenset({Unusable.UNSUPPORTED_CAPABILITY, Unusable.OUT_OF_MEMORY, Unusable.WRONG_RESULT})


@dataclass(frozen=True, slots=True)
class Probe:
    """What trying a device out has shown. The facts are those of a GPU, as far as the trial came."""

    device: Device
    #: None: it works.
    reason: Unusable | None = None
    #: One line for people.
    detail: str = "usable"
    gpu_name: str | None = None
    #: "8.6"
    compute_capability: str | None = None
    memory_bytes: int | None = None
    #: Version of NVIDIA's kernel driver, "535.104.05".
    driver: str | None = None
    #: What tells the card, or its part, from all others; without the "GPU-" or "MIG-" that NVIDIA writes before it.
    uuid: str | None = None

    @property
    def usable(self) -> bool:
        """Whether a training may be started on the device."""
        return self.reason is None

    def to_json(self) -> str:
        """The child's reply: one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Probe:
        """Parse what `to_json` wrote. Raise ValueError, TypeError or KeyError for anything else."""
        facts = json.loads(line)
        kind, index = DeviceKind(facts["device"]["kind"]), facts["device"]["index"]
        reason = None if facts["reason"] is None else Unusable(facts["reason"])
        return cls(**{**facts, "device": Device(kind, index), "reason": reason})


#: A GPU build and its libraries are 4 GB of files: 40 s from a cold disk of 100 MB/s, allowed three times over. A
#: machine in order answers in a few seconds.
PROBE_TIMEOUT_SECONDS = 120.0

#: A process stuck inside a driver cannot even be killed: do not wait for it for ever.
_REAP_SECONDS = 5.0


def program(packages: Mapping[str, Path], entry: str) -> str:
    """A program for `python -c` that calls `main` of a module, and takes these packages from their folders.

    It takes nothing from the current folder or from those around the packages, unlike `-m`: a `random.py` there would
    be taken for Python's own.
    """
    located = "".join(
        f"s = u.spec_from_file_location({name!r}, {str(folder / '__init__.py')!r},"
        f" submodule_search_locations=[{str(folder)!r}])\n"
        f"m = sys.modules[{name!r}] = u.module_from_spec(s)\n"
        "s.loader.exec_module(m)\n"
        for name, folder in packages.items()
    )
    return f"import sys\ndel sys.path[0]\nimport importlib.util as u\n{located}from {entry} import main; main()"


def probe(device: Device, *, python: str = sys.executable, timeout_seconds: float = PROBE_TIMEOUT_SECONDS) -> Probe:
    """Try one device out in a child process; never raises for what the child does."""
    try:
        child = run_child(
            [python, "-c", program({"mnist_core": Path(__file__).parent}, "mnist_core.probe"), str(device)],
            timeout_seconds,
        )
    except subprocess.TimeoutExpired:
        return Probe(device, Unusable.HUNG, f"{device} gave no answer within {timeout_seconds:g} s")
    reply = last_line(child.stdout)
    if child.returncode != 0:
        detail = f"the trial of {device} {_ending(child.returncode)}: {last_line(child.stderr)}"
        return Probe(device, Unusable.CRASHED, detail)
    try:
        return Probe.from_json(reply)
    except (ValueError, TypeError, KeyError):
        return Probe(device, Unusable.CRASHED, f"the trial of {device} gave no readable answer: {reply!r:.80}")


def probe_gpus(*, python: str = sys.executable, timeout_seconds: float = PROBE_TIMEOUT_SECONDS) -> tuple[Probe, ...]:
    """Try gpu(0), gpu(1), … out through MXNet; as `probe_row`."""
    return probe_row(functools.partial(probe, python=python, timeout_seconds=timeout_seconds))


def probe_row(try_out: Callable[[Device], Probe]) -> tuple[Probe, ...]:
    """Probe gpu(0), gpu(1), …, up to the first result that ends the row; that one is the last of the tuple."""
    probes: list[Probe] = []
    while not probes or probes[-1].usable or probes[-1].reason in _REASONS_OF_ONE_CARD:
        probes.append(try_out(Device(DeviceKind.GPU, len(probes))))
    return tuple(probes)


def available(*, python: str = sys.executable, timeout_seconds: float = PROBE_TIMEOUT_SECONDS) -> tuple[Device, ...]:
    """What "auto" means: every usable GPU, or else the first CPU device."""
    probes = probe_gpus(python=python, timeout_seconds=timeout_seconds)
    return tuple(p.device for p in probes if p.usable) or (Device(DeviceKind.CPU, 0),)


def run_child(
    command: Sequence[str], timeout_seconds: float, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a command; at the time-out kill its children, too, and never wait for one that cannot be killed.

    Raise `subprocess.TimeoutExpired` then. Without an `environment` it is that of this process.
    """
    lifeline, ours = os.pipe()  # its end tells the child that we are gone, however we went
    try:
        return _run_with(lifeline, command, timeout_seconds, environment)
    finally:
        os.close(lifeline)
        os.close(ours)


def _run_with(
    stdin: int, command: Sequence[str], timeout_seconds: float, environment: Mapping[str, str] | None
) -> subprocess.CompletedProcess[str]:
    child = subprocess.Popen(
        command,
        stdin=stdin,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    try:
        stdout, stderr = child.communicate(timeout=timeout_seconds)
    except BaseException:  # Ctrl-C too: it does not reach a session of its own
        with contextlib.suppress(ProcessLookupError):  # it may have ended meanwhile
            os.killpg(child.pid, signal.SIGKILL)
        for pipe in filter(None, (child.stdout, child.stderr)):
            pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_REAP_SECONDS)
        raise
    return subprocess.CompletedProcess(command, child.returncode, stdout, stderr)


def _ending(returncode: int) -> str:
    return f"was killed by {signal.Signals(-returncode).name}" if returncode < 0 else f"ended with status {returncode}"


def last_line(output: str) -> str:
    """The last line that says something: where a traceback names the error, and after a library's chatter the reply."""
    return next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "")


#: What `readelf -d` finds NEEDED in libmxnet.so of mxnet-cu117 1.9.1, besides the driver. A library stands after
#: those it needs itself: cuSOLVER and cuDNN need cuBLAS.
SONAMES = (
    "libcudart.so.11.0",
    "libnvToolsExt.so.1",
    "libnvrtc.so.11.2",
    "libcublas.so.11",
    "libcusparse.so.11",
    "libcusolver.so.11",
    "libcufft.so.10",
    "libcurand.so.10",
    "libnccl.so.2",
    "libcudnn.so.8",
)

#: Part of NVIDIA's driver, so of the machine: no wheel brings it, and without it the GPU build does not even import.
DRIVER_SONAME = "libcuda.so.1"


def installed_cuda_build() -> str | None:
    """Name of the installed distribution when it is one of the published GPU builds, e.g. "mxnet-cu117"."""
    # The remains of an interrupted `pip uninstall` are a distribution without a name.
    names = (distribution.name or "" for distribution in distributions())
    return next((name for name in names if re.fullmatch(r"mxnet-cu\d+", name)), None)


def preload() -> None:
    """Load what the wheels brought, if a GPU build is installed. What they did not bring is the loader's to find.

    Raises OSError, like `import mxnet` itself, when a library is there and does not load.
    """
    if installed_cuda_build() is not None:
        for path in wheel_libraries():
            ctypes.CDLL(str(path))


def wheel_libraries() -> list[Path]:
    """The files that NVIDIA's wheels brought for `SONAMES`, in that order."""
    spec = find_spec("nvidia")
    roots = [Path(root) for root in (spec and spec.submodule_search_locations) or ()]
    return [path for soname in SONAMES for root in roots for path in root.glob(f"*/lib/{soname}")]


def missing_library(error: BaseException | None) -> str | None:
    """The library that the dynamic loader did not find, if that is what the error says."""
    found = re.match(r"(lib\S+): cannot open shared object file", str(error)) if isinstance(error, OSError) else None
    return found and found[1]

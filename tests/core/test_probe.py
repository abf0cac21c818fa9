from __future__ import annotations

import ctypes
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, TypeAlias, cast

import pytest

from mnist_core import mxnet_border, probe
from mnist_core.devices import Device, DeviceKind, Probe, Unusable
from mnist_core.probe import classify, compute, driver_version, examine, has_machine_code, read_card

pytestmark = pytest.mark.system

CPU = Device(DeviceKind.CPU, 0)
GPU = Device(DeviceKind.GPU, 0)


@pytest.mark.parametrize(
    ("compute_capability", "runs"),
    [
        ("3.7", False),
        ("5.0", True),
        ("5.2", True),
        ("6.1", True),
        ("7.0", True),
        ("7.5", True),
        ("8.0", True),
        ("8.6", True),
        ("8.9", True),
        ("9.0", False),
        ("10.0", False),
        ("12.0", False),
    ],
)
def test_machine_code_runs_within_its_major_version(compute_capability: str, *, runs: bool) -> None:
    """Cards run the code of an equal or lower minor version of their own major; nothing is there for 9.0 and above."""
    assert has_machine_code(compute_capability) == runs


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Check failed: e == cudaSuccess: cudaMalloc retry failed: out of memory", Unusable.OUT_OF_MEMORY),
        ("cuDNN: CUDNN_STATUS_ALLOC_FAILED", Unusable.OUT_OF_MEMORY),
        ("Failed to allocate CPU Memory", Unusable.OUT_OF_MEMORY),
        ("CUDA: no kernel image is available for execution on the device", Unusable.UNSUPPORTED_CAPABILITY),
        ("CUDA: an illegal memory access was encountered", Unusable.CRASHED),
    ],
)
def test_the_reason_is_read_from_the_message(message: str, reason: Unusable) -> None:
    """MXNet has one exception for everything; its text tells memory, machine code and the rest apart."""
    assert classify(message) == reason


#: What `ctypes.byref` makes; typeshed hides its attributes.
Reference: TypeAlias = Any


class FakeDriver:
    """A libcuda with two cards behind the six functions of it that are called."""

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return 0

    def cuDeviceGet(self, handle: Reference, ordinal: int) -> int:  # noqa: N802
        handle._obj.value = ordinal + 7
        return 0 if ordinal < 2 else 101

    def cuDeviceGetAttribute(self, value: Reference, attribute: int, handle: ctypes.c_int) -> int:  # noqa: N802
        value._obj.value = {75: handle.value, 76: 6}[attribute]
        return 0

    def cuDeviceGetName(self, name: ctypes.Array[ctypes.c_char], length: int, handle: ctypes.c_int) -> int:  # noqa: N802
        name.value = b"NVIDIA A10"
        return 0

    def cuDeviceTotalMem_v2(self, size: Reference, handle: ctypes.c_int) -> int:  # noqa: N802
        size._obj.value = 24 << 30
        return 0


def test_a_card_is_described_by_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Name, capability and memory are those of the card that CUDA numbers so; memory is not cut to 32 bits."""
    monkeypatch.setattr(probe, "driver_version", lambda: "535.104.05")
    device = Device(DeviceKind.GPU, 1)

    card = read_card(device, cast("ctypes.CDLL", FakeDriver()))

    assert card == Probe(
        device,
        gpu_name="NVIDIA A10",
        compute_capability="8.6",
        memory_bytes=24 << 30,
        driver="535.104.05",
    )


def test_an_error_of_the_driver_is_raised() -> None:
    """A call that the driver refuses names itself and the number, instead of leaving zeros as facts."""
    with pytest.raises(OSError, match="cuDeviceGet failed with CUDA error 101"):
        read_card(Device(DeviceKind.GPU, 2), cast("ctypes.CDLL", FakeDriver()))


def test_the_driver_version_is_the_kernels(tmp_path: Path) -> None:
    """The file holds a version and a newline; where there is none the version is unknown."""
    (tmp_path / "version").write_text("535.104.05\n")

    assert driver_version(tmp_path / "version") == "535.104.05"
    assert driver_version(tmp_path / "absent") is None


def test_the_cpu_computes() -> None:
    """The trial computation runs on a real device and finds it usable."""
    assert compute(Probe(CPU), mxnet_border) == Probe(CPU)


def test_wrong_numbers_make_a_device_unusable(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device that answers with other numbers than the known ones is not trusted."""
    monkeypatch.setattr(mxnet_border.nd, "dot", lambda a, b: a)

    assert compute(Probe(CPU), mxnet_border).reason == Unusable.WRONG_RESULT


def test_an_error_while_computing_keeps_the_facts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A full card is reported as such, in one line, with its name."""

    def dot(a: object, b: object) -> None:
        raise mxnet_border.mx.base.MXNetError("Traceback\n  File x.cc, line 1\nMXNetError: cudaMalloc: out of memory")

    monkeypatch.setattr(mxnet_border.nd, "dot", dot)

    assert compute(Probe(CPU, gpu_name="NVIDIA A10"), mxnet_border) == Probe(
        CPU, Unusable.OUT_OF_MEMORY, "cpu(0): MXNetError: cudaMalloc: out of memory", gpu_name="NVIDIA A10"
    )


class FakeMXNetError(Exception):
    pass


def fake_border(*, cuda: bool = True, gpus: int | Exception = 1) -> ModuleType:
    """Make a GPU build of MXNet that sees some cards, or fails to look."""

    def num_gpus() -> int:
        if isinstance(gpus, Exception):
            raise gpus
        return gpus

    fake = SimpleNamespace(
        features=lambda: {"CUDA": cuda},
        mx=SimpleNamespace(context=SimpleNamespace(num_gpus=num_gpus), base=SimpleNamespace(MXNetError=FakeMXNetError)),
    )
    return cast("ModuleType", fake)


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Make the card that the driver shows; change its capability at will. No computation ever reaches it."""
    facts = {"name": "NVIDIA H100", "compute_capability": "9.0"}

    def read_card(device: Device, cuda: object) -> Probe:
        return Probe(device, gpu_name=facts["name"], compute_capability=facts["compute_capability"])

    monkeypatch.setattr(ctypes, "CDLL", lambda soname: None)
    monkeypatch.setattr(probe, "read_card", read_card)
    monkeypatch.setattr(probe, "compute", lambda known, border: known)
    monkeypatch.setattr(probe, "installed_cuda_build", lambda: "mxnet-cu117")
    return facts


@pytest.mark.parametrize(
    ("border", "reason"),
    [
        (fake_border(cuda=False), Unusable.NO_CUDA_BUILD),
        (fake_border(gpus=FakeMXNetError("CUDA driver version is insufficient")), Unusable.NO_DRIVER),
        (fake_border(gpus=0), Unusable.NO_SUCH_DEVICE),
        (fake_border(), Unusable.UNSUPPORTED_CAPABILITY),
    ],
)
def test_the_first_failing_check_is_the_answer(
    border: ModuleType, reason: Unusable, card: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Build, driver, number of cards and machine code are asked in this order."""
    monkeypatch.setitem(sys.modules, "mnist_core.mxnet_border", border)

    assert examine(GPU).reason == reason


def test_an_unsupported_card_is_never_computed_on(card: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """MXNet may hang on it, so the capability alone decides; the detail names card, capability and way out."""
    monkeypatch.setitem(sys.modules, "mnist_core.mxnet_border", fake_border())
    monkeypatch.delattr(probe, "compute")

    detail = examine(GPU).detail

    assert "NVIDIA H100 has compute capability 9.0" in detail
    assert "build MXNet from source" in detail


def test_a_supported_card_is_computed_on(card: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A card with machine code comes through to the computation, whose answer counts."""
    monkeypatch.setitem(sys.modules, "mnist_core.mxnet_border", fake_border())
    card["compute_capability"] = "7.5"

    assert examine(GPU).usable


def test_a_build_from_source_is_trusted_with_any_card(card: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The list of machine code is that of published builds, and one's own may have been made for a newer card."""
    monkeypatch.setitem(sys.modules, "mnist_core.mxnet_border", fake_border())
    monkeypatch.setattr(probe, "installed_cuda_build", lambda: None)

    assert examine(GPU).usable


@pytest.mark.parametrize(
    ("cause", "reason"),
    [
        (OSError("libcuda.so.1: cannot open shared object file: No such file or directory"), Unusable.NO_DRIVER),
        (ModuleNotFoundError(name="mxnet"), Unusable.NO_FRAMEWORK),
    ],
)
def test_a_failed_import_is_an_answer(cause: Exception, reason: Unusable, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GPU build does not import without NVIDIA's driver: that is told apart from no MXNet at all."""

    def import_module(name: str) -> ModuleType:
        raise ImportError("the line for the user") from cause

    monkeypatch.setattr(probe, "import_module", import_module)

    assert examine(CPU) == Probe(CPU, reason, "the line for the user")


def test_the_reply_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The child prints what it found of the device named by its argument, and nothing else."""
    monkeypatch.setattr(sys, "argv", ["probe", "cpu(3)"])

    probe.main()

    assert capsys.readouterr().out == Probe(Device(DeviceKind.CPU, 3)).to_json() + "\n"

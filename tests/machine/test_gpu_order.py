"""CUDA's own order of the cards, asked of a stand-in for the driver's library."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, cast

import pytest

from bench.machine.gpus import order
from bench.machine.gpus.order import list_cards, see_cards
from mnist_core.devices import Device, DeviceKind, Probe

#: What `ctypes.byref` makes; typeshed hides its attributes.
Reference: TypeAlias = Any

IDENTITY = bytes(range(16))
UUID = "00010203-0405-0607-0809-0a0b0c0d0e0f"


class FakeDriver:
    """A libcuda with some cards, or one that does not start."""

    def __init__(self, cards: int = 2, status: int = 0) -> None:
        self.cards, self.status = cards, status

    def cuInit(self, flags: int) -> int:  # noqa: N802
        return self.status

    def cuDeviceGetCount(self, count: Reference) -> int:  # noqa: N802
        count._obj.value = self.cards
        return 0

    def cuDeviceGet(self, handle: Reference, ordinal: int) -> int:  # noqa: N802
        handle._obj.value = ordinal
        return 0

    def cuDeviceGetAttribute(self, value: Reference, attribute: int, handle: ctypes.c_int) -> int:  # noqa: N802
        value._obj.value = {75: 8, 76: 6}[attribute]
        return 0

    def cuDeviceGetName(self, name: ctypes.Array[ctypes.c_char], length: int, handle: ctypes.c_int) -> int:  # noqa: N802
        name.value = f"card {handle.value}".encode()
        return 0

    def cuDeviceTotalMem_v2(self, size: Reference, handle: ctypes.c_int) -> int:  # noqa: N802
        size._obj.value = 24 << 30
        return 0

    def cuDeviceGetUuid(self, identity: ctypes.Array[ctypes.c_char], handle: ctypes.c_int) -> int:  # noqa: N802
        identity.raw = IDENTITY[handle.value :] + IDENTITY[: handle.value]
        return 0


def listed(driver: FakeDriver) -> list[Probe]:
    return list_cards(cast("ctypes.CDLL", driver))


def test_cards_come_in_cudas_order_with_their_identity() -> None:
    first, second = listed(FakeDriver())
    assert (str(first.device), first.gpu_name, first.compute_capability, first.uuid) == (
        "gpu(0)",
        "card 0",
        "8.6",
        UUID,
    )
    assert second.uuid is not None
    assert second.uuid.startswith("01020304-")


def test_no_visible_card_is_no_error() -> None:
    """CUDA says so as it starts, where CUDA_VISIBLE_DEVICES leaves none."""
    assert listed(FakeDriver(cards=0, status=100)) == []


def test_a_cuda_that_does_not_start_is_an_error() -> None:
    """Such as one whose library and kernel module are of two versions."""
    with pytest.raises(OSError, match="error 803"):
        listed(FakeDriver(status=803))


@pytest.fixture
def _nothing_known() -> Iterator[None]:
    see_cards.cache_clear()
    yield
    see_cards.cache_clear()


@pytest.mark.usefixtures("_nothing_known")
@pytest.mark.parametrize("order_variable", [None, "PCI_BUS_ID"])
def test_the_child_sees_what_a_framework_would(monkeypatch: pytest.MonkeyPatch, order_variable: str | None) -> None:
    """It gets both variables as they are meant to be, also where this process has others."""
    environments: list[Mapping[str, str]] = []
    card = Probe(Device(DeviceKind.GPU, 0), gpu_name="NVIDIA A10", uuid=UUID)

    def run_child(
        command: Sequence[str], timeout_seconds: float, environment: Mapping[str, str]
    ) -> subprocess.CompletedProcess[str]:
        environments.append(environment)
        return subprocess.CompletedProcess(command, 0, card.to_json() + "\n", "")

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "FASTEST_FIRST")
    monkeypatch.setattr(order, "run_child", run_child)
    assert see_cards("1", order_variable) == see_cards("1", order_variable) == (card,)
    (environment,) = environments
    assert environment["CUDA_VISIBLE_DEVICES"] == "1"
    assert environment.get("CUDA_DEVICE_ORDER") == order_variable


@pytest.mark.usefixtures("_nothing_known")
@pytest.mark.parametrize(("returncode", "said"), [(1, ""), (0, "no JSON\n"), (0, '{"device": 1}\n')])
def test_a_child_without_an_answer_knows_nothing(monkeypatch: pytest.MonkeyPatch, returncode: int, said: str) -> None:
    monkeypatch.setattr(
        order, "run_child", lambda command, *_rest: subprocess.CompletedProcess(command, returncode, said, "")
    )
    assert see_cards(None, None) is None


@pytest.mark.usefixtures("_nothing_known")
def test_a_driver_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: Sequence[str], timeout_seconds: float, _environment: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout_seconds)

    monkeypatch.setattr(order, "run_child", hang)
    assert see_cards(None, None) is None

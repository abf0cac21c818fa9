"""Counters of energy: machines laid out as folders, and a driver that is made up."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.machine import energy
from bench.machine.energy import Meter, Meters, find_meters, read_meters, readings_between
from bench.records.energy import EnergySource
from mnist_core.devices import parse_devices

INTEL_RANGE = 262_143_328_850
AMD_RANGE = 65_532_610_987
Lay = Callable[[Mapping[str, Mapping[str, object]]], Path]


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    """Lay out zones of powercap: the name of a zone's directory -> its files."""

    def lay_out(zones: Mapping[str, Mapping[str, object]]) -> Path:
        for zone, files in zones.items():
            folder = tmp_path / "sys/class/powercap" / zone
            folder.mkdir(parents=True, exist_ok=True)
            for name, content in files.items():
                (folder / name).write_text(f"{content}\n")
        return tmp_path

    return lay_out


def zone(name: str, microjoules: int = 5_000_000, end: int | None = INTEL_RANGE) -> dict[str, object]:
    return {"name": name, "energy_uj": microjoules} | ({} if end is None else {"max_energy_range_uj": end})


def domains(found: Meters) -> list[str]:
    return [meter.domain for meter in found.meters]


def grown(root: Path, zones: Mapping[str, int], seconds: float = 10.0) -> dict[str, float | None]:
    """Return the joules of a window at whose end the counters of these zones say so much."""
    meters = find_meters(root).meters
    before = read_meters(meters)
    for name, microjoules in zones.items():
        (root / "sys/class/powercap" / name / "energy_uj").write_text(f"{microjoules}\n")
    readings = readings_between(meters, before, read_meters(meters), seconds)
    return {reading.domain: reading.joules for reading in readings}


# Nine trees


def test_a_socket(lay: Lay) -> None:
    """Cores and graphics are inside of the package, and are not counted again."""
    root = lay({"intel-rapl:0": zone("package-0"), "intel-rapl:0:0": zone("core"), "intel-rapl:0:1": zone("uncore")})
    found = find_meters(root)
    assert (domains(found), found.reason, found.remedy) == (["package-0"], None, None)
    assert found.supply.sources[0].source is EnergySource.RAPL
    assert grown(root, {"intel-rapl:0": 1_505_000_000}) == {"package-0": 1500.0}


def test_two_sockets_and_their_memory(lay: Lay) -> None:
    """Zones of memory have the same name: their sockets tell them apart."""
    zones = {
        f"intel-rapl:{socket}{inner}": zone(name)
        for socket in (0, 1)
        for inner, name in (("", f"package-{socket}"), (":0", "dram"))
    }
    root = lay(zones)
    assert domains(find_meters(root)) == ["package-0", "package-0 dram", "package-1", "package-1 dram"]
    assert grown(root, {"intel-rapl:1:0": 25_000_000})["package-1 dram"] == 20.0


def test_the_whole_platform_contains_the_sockets(lay: Lay) -> None:
    root = lay({"intel-rapl:0": zone("package-0"), "intel-rapl:1": zone("psys"), "intel-rapl:1:0": zone("dram")})
    assert domains(find_meters(root)) == ["package-0"]


def test_the_same_zone_twice_counts_once(lay: Lay) -> None:
    """A register in memory is another way to the counter of the package; it counts where it is the only way."""
    root = lay({"intel-rapl-mmio:0": zone("package-0", 1), "intel-rapl:0": zone("package-0", 2)})
    found = find_meters(root)
    assert (domains(found), read_meters(found.meters)) == (["package-0"], [2])


def test_a_register_in_memory_alone(lay: Lay) -> None:
    found = find_meters(lay({"intel-rapl-mmio:0": zone("package-0", 7)}))
    assert (domains(found), read_meters(found.meters)) == (["package-0"], [7])


def test_what_is_for_root_alone_says_what_helps(lay: Lay, monkeypatch: pytest.MonkeyPatch) -> None:
    """One socket of two that cannot be read would make the sum of the other look like that of both."""
    root = lay({"intel-rapl:0": zone("package-0"), "intel-rapl:1": zone("package-1")})
    read = energy._read_count

    def refuse(path: Path) -> int:
        if path.name == "energy_uj" and path.parent.name == "intel-rapl:1":
            raise PermissionError(path)
        return read(path)

    monkeypatch.setattr(energy, "_read_count", refuse)
    found = find_meters(root)
    assert (found.meters, found.reason) == ((), "the counters of RAPL are for root alone")
    assert found.remedy == "sudo chmod a+r /sys/class/powercap/intel-rapl*/energy_uj (until the next boot)"


@pytest.mark.parametrize("end", [INTEL_RANGE, AMD_RANGE])
def test_a_counter_that_begins_anew(lay: Lay, end: int) -> None:
    root = lay({"intel-rapl:0": zone("package-0", end - 1_000_000, end)})
    assert grown(root, {"intel-rapl:0": 2_000_000}) == {"package-0": 3.0}


def test_a_window_that_may_have_passed_the_end_twice(lay: Lay) -> None:
    """AMD's counters end after 65 kJ, which a large socket takes in a few minutes."""
    root = lay({"intel-rapl:0": zone("package-0", 0, AMD_RANGE)})
    assert grown(root, {"intel-rapl:0": 5_000_000_000}, seconds=60.0) == {"package-0": 5000.0}
    assert grown(root, {"intel-rapl:0": 9_000_000_000}, seconds=70.0) == {"package-0": None}


def test_a_counter_that_was_reset_is_no_counter_that_began_anew(lay: Lay) -> None:
    """What it seems to have grown by is more than any socket draws."""
    root = lay({"intel-rapl:0": zone("package-0", 100_000_000_000)})
    assert grown(root, {"intel-rapl:0": 1_000_000}) == {"package-0": None}


def test_a_counter_that_stands_still_says_so(lay: Lay) -> None:
    """Nobody is told that a training took nothing: `analysis.energy` refuses it."""
    assert grown(lay({"intel-rapl:0": zone("package-0")}), {}) == {"package-0": 0.0}


def test_backwards_without_a_range(lay: Lay) -> None:
    root = lay({"intel-rapl:0": zone("package-0", end=None)})
    assert grown(root, {"intel-rapl:0": 6_000_000}) == {"package-0": 1.0}
    assert grown(root, {"intel-rapl:0": 5_000_000}) == {"package-0": None}


def test_a_zone_without_a_name_counts_nobody_knows_what(lay: Lay) -> None:
    root = lay({"intel-rapl:0": {"energy_uj": 1}})
    found = find_meters(root)
    assert (found.meters, found.remedy) == ((), "sudo modprobe intel_rapl_msr")
    assert found.reason == "no RAPL here: /sys/class/powercap has no socket"


# Machines without


@pytest.mark.parametrize("fault", ["is missing", "has no socket"])
def test_a_virtual_machine_has_none(tmp_path: Path, fault: str) -> None:
    """Nothing that its user could load into the kernel helps, whether its kernel knows of powercap or not."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor : 0\nflags : fpu hypervisor\n")
    if fault == "has no socket":
        (tmp_path / "sys/class/powercap").mkdir(parents=True)
    supply = find_meters(tmp_path).supply
    assert supply.sources == ()
    assert supply.reason == (
        f"no RAPL here: /sys/class/powercap {fault}, as in most virtual machines and containers (virtual machine)"
    )
    assert supply.remedy is None


def test_a_system_without_powercap_has_none(tmp_path: Path) -> None:
    supply = find_meters(tmp_path).supply
    assert (supply.reason, supply.remedy) == ("no RAPL here: /sys/class/powercap is missing", None)


def test_a_counter_that_goes_away_has_no_reading(lay: Lay) -> None:
    root = lay({"intel-rapl:0": zone("package-0")})
    meters = find_meters(root).meters
    before = read_meters(meters)
    (root / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    (reading,) = readings_between(meters, before, read_meters(meters), 1.0)
    assert reading.joules is None


# Cards


class NotSupportedError(Exception):
    """NVML_ERROR_NOT_SUPPORTED, code 3."""


class UnknownError(Exception):
    """NVML_ERROR_UNKNOWN, code 999."""


def nvml(*millijoules: int | Exception) -> types.SimpleNamespace:
    """Make a driver with these counters, one for each card; an exception is what asking for it raises."""

    def ask(card: int) -> int:
        counted = millijoules[card]
        if isinstance(counted, Exception):
            raise counted
        return counted

    return types.SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: len(millijoules),
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetUUID=lambda card: f"GPU-{card}a",
        nvmlDeviceGetTotalEnergyConsumption=ask,
    )


def test_cards_are_counted_as_programs_see_them(tmp_path: Path) -> None:
    """gpu(0) is the first that CUDA_VISIBLE_DEVICES names; of a scenario's windows its own cards count."""
    driver, variables = nvml(1000, 2000, 3000), {"CUDA_VISIBLE_DEVICES": "GPU-2a,GPU-0a"}
    every = find_meters(tmp_path, variables=variables, nvml=driver)
    assert (domains(every), read_meters(every.meters)) == (["gpu(0)", "gpu(1)"], [3_000_000, 1_000_000])
    own = find_meters(tmp_path, parse_devices("gpu(1)"), variables, driver)
    assert (domains(own), read_meters(own.meters)) == (["gpu(1)"], [1_000_000])


def test_a_scenario_on_cpus_does_not_count_cards(tmp_path: Path) -> None:
    assert find_meters(tmp_path, parse_devices("cpu(0)"), {}, nvml(1000)).meters == ()


@pytest.mark.parametrize("error", [NotSupportedError(), UnknownError()])
def test_a_card_that_does_not_count_is_named(tmp_path: Path, error: Exception) -> None:
    found = find_meters(tmp_path, variables={}, nvml=nvml(1000, error))
    assert domains(found) == ["gpu(0)"]
    assert (found.reason or "").endswith("gpu(1): its driver counts no energy: it does since Volta, for whole cards")


def test_without_a_driver_only_a_scenario_on_a_card_misses_it(tmp_path: Path) -> None:
    def fail() -> None:
        raise UnknownError

    broken = types.SimpleNamespace(nvmlInit=fail)
    assert "NVML" not in (find_meters(tmp_path, variables={}, nvml=broken).reason or "")
    assert "NVML" in (find_meters(tmp_path, parse_devices("gpu(0)"), {}, broken).reason or "")


def test_a_driver_that_was_loaded_anew_has_no_reading() -> None:
    meter = Meter(source=EnergySource.NVML, domain="gpu(0)", read=lambda: 0)
    assert meter.joules(5_000_000, 1_000_000, 2.0) is None


# Sums


@given(
    steps=st.lists(st.integers(min_value=0, max_value=400_000_000), min_size=1, max_size=50),
    start=st.integers(min_value=0, max_value=AMD_RANGE - 1),
    end=st.sampled_from([AMD_RANGE, INTEL_RANGE]),
)
def test_the_sum_over_windows_is_what_was_counted_wherever_the_counter_ends(
    steps: list[int], start: int, end: int
) -> None:
    meter = Meter(source=EnergySource.RAPL, domain="package-0", read=lambda: 0, range_microjoules=end)
    seconds, now, joules = 0.5, start, 0.0
    for step in steps:
        window = meter.joules(now % end, (now + step) % end, seconds)
        assert window is not None
        joules, now = joules + window, now + step
    assert joules == pytest.approx((now - start) / 1e6, abs=1e-6)

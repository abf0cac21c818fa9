"""The doctor examines machines that are made up, and this one."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from bench import cli
from bench.cli.commands import environment
from bench.experiments.doctor import aa_test
from bench.experiments.doctor.aa_test import AATest, aa_test_of
from bench.experiments.doctor.checks import Finding, Level, Observations, examine
from bench.records.energy import EnergyCounter, EnergySource, EnergySupply
from bench.records.environment import Accelerator, ThreadPool, ThrottleReason
from bench.records.result import FailureReason
from bench.render.formats.doctor import render_doctor
from bench.scenarios.scenario import Scenario
from bench.worker import session
from bench.worker.process import Cancellation, Interpreter, WorkerFailure
from bench.worker.protocol.requests import SessionRequest
from bench.worker.session import Session, SessionError
from mnist_core.devices import Device, DeviceKind, Probe, Unusable
from tests.support.cli import Command
from tests.support.idx_files import small_idx_folder
from tests.support.records import a_dataset, a_software, an_environment
from tests.support.tune import FakeWorkers

GIB = 2**30
GPU = Device(DeviceKind.GPU, 0)
PACKAGE = EnergyCounter(source=EnergySource.RAPL, domain="package-0")


def seen(**changes: Any) -> Observations:  # noqa: ANN401  # fields of two records
    """Return a quiet machine; `environment_…` changes its environment."""
    own = {key.removeprefix("environment_"): value for key, value in changes.items() if key.startswith("environment_")}
    facts: dict[str, Any] = {
        "environment": an_environment(**{"scaling_governor": "performance", "turbo": False, "variables": {}, **own}),
        "framework_error": None,
        "gpus": (),
        "gpu_processes": (),
        "load_average": 0.1,
        "available_memory_bytes": 8 * GIB,
        "swapped_pages": 0,
        "throttle_count": 0,
        "steal_fraction": 0.0,
        "aa_test": AATest(n=12, seconds=20.0, difference=0.001, spread=0.01, detectable=0.03),
    }
    rest = {key: value for key, value in changes.items() if not key.startswith("environment_")}
    return Observations(**{**facts, **rest})


def levels(findings: Sequence[Finding]) -> dict[str, Level]:
    return {finding.check: finding.level for finding in findings}


def test_a_quiet_machine_has_no_warning() -> None:
    findings = examine(seen())
    assert Level.WARNING not in levels(findings).values()
    assert not any(finding.advice for finding in findings if finding.level is Level.GOOD)


#: Intel's driver, which scales the clock with the load.
SELF_CLOCKED = {"environment_scaling_governor": "powersave", "environment_scaling_driver": "intel_pstate"}
TWO_RUNTIMES = tuple(
    ThreadPool(user_api="openmp", internal_api=name, version=None, architecture=None, num_threads=2)
    for name in ("openmp", "intel_openmp")
)


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("framework", {"environment_software": None, "framework_error": "MXNet is not installed"}),
        ("oneDNN", {"environment_software": a_software(framework_features=("OPENMP",))}),
        ("OpenMP runtimes", {"environment_software": a_software(thread_pools=TWO_RUNTIMES)}),
        ("CUDA", {"environment_software": a_software(framework_features=("CUDA", "MKLDNN"))}),
        ("GPU processes", {"gpu_processes": ("gpu(0): 1 processes, 3.0 GiB",)}),
        ("load", {"load_average": 9.0}),
        ("steal", {"steal_fraction": 0.05}),
        ("governor", {"environment_scaling_governor": "powersave"}),
        ("governor", {**SELF_CLOCKED, "environment_energy_preference": "balance_power"}),
        ("throttling", {"throttle_count": 3}),
        ("CPU quota", {"environment_cgroup_cpu_quota": 1.5}),
        ("memory", {"available_memory_bytes": GIB}),
        ("swap", {"swapped_pages": 300}),
        ("thread variables", {"environment_variables": {"GOMP_CPU_AFFINITY": "0"}}),
        ("A/A pair", {"aa_test": None, "aa_test_error": "crashed: status 1"}),
        ("A/A pair", {"aa_test": AATest(n=3, seconds=20.0, difference=0.1, spread=0.3, detectable=0.4)}),
    ],
)
def test_what_spoils_a_measurement_is_a_warning_with_advice(check: str, changes: dict[str, Any]) -> None:
    """It is the only warning, since each check has its own cause."""
    findings = examine(seen(**changes))
    warned = {finding.check for finding in findings if finding.level is Level.WARNING}
    assert check in warned
    assert warned <= {check, "framework"}
    assert all(finding.advice or finding.check == "framework" for finding in findings if finding.level is Level.WARNING)


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("governor", {**SELF_CLOCKED, "environment_energy_preference": "balance_performance"}),
        ("governor", SELF_CLOCKED),
        ("swap", {"swapped_pages": 3}),
        ("thread variables", {"environment_variables": {"MXNET_ENGINE_TYPE": "NaiveEngine", "OMP_THREAD_LIMIT": "1"}}),
    ],
)
def test_what_spoils_nothing_is_good(check: str, changes: dict[str, Any]) -> None:
    """It may look bad, and was warned of."""
    findings = examine(seen(**changes))
    assert [finding.level for finding in findings if finding.check == check] == [Level.GOOD]


def test_a_card_that_cannot_be_used_says_why() -> None:
    """It is a note where MXNet has no CUDA build anyway, and a warning where it has."""
    probe = Probe(GPU, Unusable.UNSUPPORTED_CAPABILITY, "capability 9.0 is not built in")
    assert levels(examine(seen(gpus=(probe,))))["gpu(0)"] is Level.NOTE
    cuda = a_software(framework_features=("CUDA", "MKLDNN"))
    findings = levels(examine(seen(gpus=(probe,), environment_software=cuda)))
    assert findings["gpu(0)"] is findings["CUDA"] is Level.WARNING


SLOWED = Accelerator(throttle_reasons=(ThrottleReason.HEAT, ThrottleReason.CLOCK_SETTING))


@pytest.mark.parametrize(
    ("check", "level", "card"),
    [
        ("gpu(0) throttling", Level.WARNING, SLOWED),
        ("gpu(0) throttling", Level.NOTE, Accelerator(throttle_reasons=(ThrottleReason.CLOCK_SETTING,))),
        ("gpu(0) throttling", Level.GOOD, Accelerator()),
        ("gpu(0) persistence mode", Level.NOTE, Accelerator(persistence_mode=False)),
        ("gpu(0) persistence mode", Level.GOOD, Accelerator(persistence_mode=True)),
        ("gpu(0) PCIe", Level.NOTE, Accelerator(pcie_lanes=4, max_pcie_lanes=16)),
        ("gpu(0) PCIe", Level.GOOD, Accelerator(pcie_lanes=16, max_pcie_lanes=16)),
    ],
)
def test_the_state_of_a_card_is_judged(check: str, level: Level, card: Accelerator) -> None:
    """What its driver does not tell is not judged; a clock that somebody chose is no fault."""
    findings = examine(seen(environment_accelerators=(card,)))
    (found,) = [finding for finding in findings if finding.check == check]
    assert found.level is level
    assert bool(found.advice) == (level is not Level.GOOD)
    assert len([finding for finding in findings if finding.check.startswith("gpu(0)")]) == (1 if "thr" in check else 2)


def test_what_to_install_for_a_card_is_said() -> None:
    (found,) = [each for each in examine(seen(builds="NVIDIA A10: …")) if each.check == "builds for the GPU"]
    assert found.seen == "nox -s peers installs them. NVIDIA A10: …"


@pytest.mark.parametrize(
    ("check", "changes"),
    [
        ("turbo", {"environment_turbo": True}),
        ("hyper-threading", {"environment_usable_vcpu_count": 8, "environment_usable_core_count": 4}),
        ("CPU quota", {"environment_cgroup_cpu_quota": 2.0}),
        ("load", {"load_average": 9.0, "environment_usable_vcpu_count": 2}),
        ("engine variables", {"environment_variables": {"MXNET_CPU_WORKER_NTHREADS": "4"}}),
        ("engine variables", {"environment_variables": {"DNNL_MAX_CPU_ISA": "AVX2"}}),
    ],
)
def test_what_a_number_means_here_is_a_note(check: str, changes: dict[str, Any]) -> None:
    assert levels(examine(seen(**changes)))[check] is Level.NOTE


def test_a_machine_that_does_not_tell_is_not_blamed() -> None:
    silent = dict.fromkeys(("load_average", "throttle_count", "steal_fraction", "swapped_pages", "aa_test"))
    findings = examine(seen(**silent, environment_scaling_governor=None, environment_turbo=None))
    assert Level.WARNING not in levels(findings).values()
    assert sum(level is Level.UNKNOWN for level in levels(findings).values()) == 7


def test_an_aa_test_detects_what_its_spread_allows() -> None:
    """More comparisons and less noise see smaller slowdowns, but none below the margin."""
    random = np.random.default_rng(1)
    few, many, noisy = (aa_test_of(list(random.normal(0, sd, n)), 20.0) for n, sd in ((6, 0.01), (60, 0.01), (60, 0.1)))
    assert 0.02 < many.detectable < few.detectable
    assert many.detectable < noisy.detectable
    assert many.spread == pytest.approx(0.01, rel=0.3)
    assert not math.isnan(few.difference)


def run_aa_test(workers: FakeWorkers, monkeypatch: pytest.MonkeyPatch, shares: list[float]) -> AATest | None:
    """Run it on processes that are made up."""
    stop = Cancellation()

    def start(
        _interpreter: Interpreter,
        request: SessionRequest,
        *,
        life_seconds: float,
        command_seconds: float,
        stop: Cancellation,
    ) -> AbstractContextManager[Session]:
        assert life_seconds > command_seconds
        assert not stop.requested
        return workers.start(request, command_seconds=command_seconds)

    monkeypatch.setattr(session, "start", start)
    return aa_test.run_aa_test(Path("/data"), a_dataset(), 2, stop, on_turn=shares.append)


def test_an_aa_test_lets_two_processes_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that slows down by half while they do is told apart from a difference."""
    workers, shares = FakeWorkers(), list[float]()
    workers.cost = lambda _scenario: 5e-5 * (1 + workers.clock.time / 60)
    found = run_aa_test(workers, monkeypatch, shares)
    assert found is not None
    assert found.n == 50
    assert found.seconds == pytest.approx(aa_test.SECONDS / 2, rel=0.5)  # the other half leads in to them
    assert abs(found.difference) < 0.01
    assert found.detectable < 0.03
    turns = [number for number, what in workers.calls if what == "window"]
    assert turns == 50 * [0, 1, 1, 0]
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


def test_an_aa_test_of_a_loop_that_does_not_work_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process is left."""

    def crash(_scenario: Scenario) -> None:
        raise SessionError(WorkerFailure(FailureReason.CRASHED, "status 1"))

    workers = FakeWorkers(on_window=crash)
    with pytest.raises(SessionError, match="status 1"):
        run_aa_test(workers, monkeypatch, [])
    assert not workers.alive


@pytest.mark.parametrize(("width", "encoding"), [(40, "ascii"), (80, "utf-8"), (200, "utf-8")])
def test_findings_fit_any_terminal(width: int, encoding: str) -> None:
    """Nothing is cut off."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    observations = seen(load_average=9.0, busiest=("firefox (98 %)",))
    render_doctor(observations.environment, examine(observations), Console(width=width, file=file))
    file.flush()
    text = file.buffer.getvalue().decode(encoding)
    assert max(map(len, text.splitlines())) <= width
    said = " ".join(text.split())
    assert "something else computes here, such as firefox (98 %): end it" in said
    assert said.startswith("Numbers measured here will suffer from: load")  # before the facts


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.system
def test_this_machine_is_examined(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real pair of processes runs for as long as a test may take."""
    monkeypatch.setattr(aa_test, "SECONDS", 1.0)
    data = small_idx_folder(tmp_path / "data", train=300, test=50)
    assert command("environment", "--json", "--data-dir", data) == cli.Exit.DONE
    document = json.loads(capsys.readouterr().out)
    assert document["environment"]["software"]["framework"] == "mxnet"
    (found,) = [check for check in document["checks"] if check["check"] == "A/A pair"]
    assert "n = " in found["seen"]
    assert {"load", "memory", "oneDNN"} <= {check["check"] for check in document["checks"]}


def test_strict_refuses_a_machine_that_is_not_fit(
    command: Command, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exit status says so; without --strict it is only printed. With --quick nothing is measured."""
    monkeypatch.setattr(environment, "load_average", lambda: 1e3)
    monkeypatch.setattr("bench.cli.commands.environment.SubprocessExecutor.describe", lambda _self: a_software())
    assert command("environment", "--quick", "--strict") == cli.Exit.INCONCLUSIVE
    captured = capsys.readouterr()
    assert "not fit to measure on: load" in " ".join(captured.err.split())
    assert "something else computes here" in " ".join(captured.out.split())
    assert command("environment", "--quick") == cli.Exit.DONE


@pytest.mark.parametrize(
    ("energy", "level", "words"),
    [
        (EnergySupply(sources=(PACKAGE,)), Level.GOOD, "package-0 by rapl"),
        (EnergySupply(reason="no RAPL here"), Level.UNKNOWN, "no RAPL here"),
        (EnergySupply(reason="for root alone", remedy="sudo chmod"), Level.NOTE, "for root alone"),
    ],
)
def test_energy_can_be_counted_or_the_reason_and_what_helps_are_told(
    energy: EnergySupply, level: Level, words: str
) -> None:
    """A machine without counters is as fit to measure on as any other."""
    (finding,) = (each for each in examine(seen(environment_energy=energy)) if each.check == "energy")
    assert (finding.level, finding.seen, finding.advice) == (level, words, energy.remedy or "")

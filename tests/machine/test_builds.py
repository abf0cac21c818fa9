"""The builds of the frameworks suit the driver and the cards: stand-ins of nvidia-smi for every kind of machine."""

from __future__ import annotations

import os
import runpy
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bench import SOURCE_ROOT
from bench.machine.gpus import builds
from bench.machine.gpus.builds import Card, Driver, ask_driver, choose, read_answer

A10, T4, H100 = ("NVIDIA A10", "8.6"), ("NVIDIA T4", "7.5"), ("NVIDIA H100 PCIe", "9.0")
B200, K80, V100 = ("NVIDIA B200", "10.0"), ("Tesla K80", "3.7"), ("Tesla V100-SXM2-16GB", "7.0")


def a_driver(*cards: tuple[str, str | None], version: str = "580.95.05") -> Driver:
    return Driver(version, tuple(Card(f"GPU-{index}a", *card) for index, card in enumerate(cards)))


def extras(driver: Driver | str | None, variables: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return what is installed for MXNet, PyTorch and JAX: extras, with the end of an index that pip is told."""
    chosen = choose(driver, variables or {}, "x86_64").builds.values()
    return tuple(build.extra + "".join(option[-6:] for option in build.pip_options[1:]) for build in chosen)


CPU = ("cpu", "torch", "jax")


@pytest.mark.parametrize(
    ("driver", "installed"),
    [
        (None, CPU),
        ("no devices were found", CPU),
        (a_driver(), CPU),
        (a_driver(A10), ("gpu", "torch", "jax-cuda13")),
        (a_driver(A10, version="535.104.05"), ("gpu", "torch/cu126", "jax-cuda12")),
        (a_driver(A10, version="515.43.04"), ("gpu", "torch", "jax")),
        (a_driver(A10, version="510.108.03"), CPU),
        (a_driver(("NVIDIA A10", None), version="470.57.02"), CPU),
        (a_driver(("NVIDIA L4", "8.9")), ("gpu", "torch", "jax-cuda13")),
        (a_driver(V100), ("gpu", "torch/cu126", "jax-cuda12")),
        (a_driver(H100), ("cpu", "torch", "jax-cuda13")),
        (a_driver(H100, version="550.54.14"), ("cpu", "torch/cu126", "jax-cuda12")),
        (a_driver(B200), ("cpu", "torch", "jax-cuda13")),
        (a_driver(B200, version="570.86.10"), ("cpu", "torch", "jax-cuda12")),
        (a_driver(K80), CPU),
        (a_driver(H100, T4), ("gpu", "torch", "jax-cuda13")),
    ],
)
def test_the_newest_build_that_driver_and_card_can_run(driver: Driver | str | None, installed: tuple[str, ...]) -> None:
    """MXNet's CUDA build has machine code up to 8.9; PyPI's PyTorch wants driver 580, like JAX's newer build."""
    assert extras(driver) == installed


@pytest.mark.parametrize(
    ("variables", "mxnet"),
    [
        ({}, "gpu"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-0"}, "cpu"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-1a"}, "gpu"),
        ({"CUDA_VISIBLE_DEVICES": ""}, "cpu"),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, "cpu"),
        ({"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, "cpu"),
        ({"CUDA_VISIBLE_DEVICES": "1", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, "gpu"),
        ({"CUDA_VISIBLE_DEVICES": "0"}, "gpu"),  # which one CUDA counts first, nvidia-smi does not tell
        ({"CUDA_VISIBLE_DEVICES": "MIG-7a"}, "gpu"),
    ],
)
def test_the_cards_that_programs_see_decide(variables: dict[str, str], mxnet: str) -> None:
    assert extras(a_driver(H100, T4), variables)[0] == mxnet


def test_a_number_counts_where_the_cards_are_alike() -> None:
    """Then it does not matter which one CUDA takes for the fastest."""
    assert extras(a_driver(A10, A10), {"CUDA_VISIBLE_DEVICES": "1"})[0] == "gpu"
    assert extras(a_driver(A10, A10), {"CUDA_VISIBLE_DEVICES": "2"})[0] == "cpu"


def test_mxnet_has_no_build_for_arm() -> None:
    chosen = choose(a_driver(("NVIDIA Orin", "8.7")), {}, "aarch64")
    assert [chosen.builds[name].extra for name in ("mxnet", "jax")] == ["cpu", "jax-cuda13"]
    assert "not made for aarch64" in chosen.describe(["mxnet"])


@pytest.mark.parametrize(
    ("driver", "line"),
    [
        (None, ["no NVIDIA driver is here: MXNet's build for CPUs"]),
        (
            a_driver(A10, A10, version="535.104.05"),
            ["2 x NVIDIA A10 (compute capability 8.6), driver 535.104.05: MXNet's build for CUDA 11.7"],
        ),
        (
            a_driver(H100),
            [
                "NVIDIA H100 PCIe (compute capability 9.0), driver 580.95.05: MXNet's build for CPUs,",
                "PyTorch's build for CUDA 13, JAX's build for CUDA 13;",
                "MXNet's build for CUDA 11.7 does not run on cards of that compute capability",
            ],
        ),
        (
            a_driver(("NVIDIA A10", None), version="470.57.02"),
            [
                "NVIDIA A10 (compute capability unknown), driver 470.57.02: MXNet's build for CPUs;",
                "MXNet's build for CUDA 11.7 needs driver 515.43 or newer: update it to measure on the GPU",
            ],
        ),
        (
            a_driver(H100, T4),
            [
                "NVIDIA H100 PCIe (compute capability 9.0), NVIDIA T4 (compute capability 7.5), driver 580.95.05:",
                "MXNet's build for CUDA 11.7; it does not run on NVIDIA H100 PCIe (compute capability 9.0):",
                "nox -s peers measures others there",
            ],
        ),
        ("no answer", ["NVIDIA's driver does not answer (no answer): MXNet's build for CPUs"]),
    ],
)
def test_one_line_says_what_was_chosen_and_why(driver: Driver | str | None, line: list[str]) -> None:
    """The peers are named where MXNet needs them for rows on a GPU."""
    chosen = choose(driver, {}, "x86_64")
    assert chosen.describe(["mxnet", *chosen.peers_on_gpu]) == " ".join(line)


def test_hidden_cards_are_said() -> None:
    chosen = choose(a_driver(A10), {"CUDA_VISIBLE_DEVICES": "3"}, "x86_64")
    assert "CUDA_VISIBLE_DEVICES='3' leaves none: MXNet's build for CPUs" in chosen.describe(["mxnet"])


def install_tool(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put an nvidia-smi into a folder that is searched first."""
    tool = folder / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\n{script}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    for name in ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"):
        monkeypatch.delenv(name, raising=False)


#: What an nvidia-smi before driver 510 says to a field that it does not know.
OLD = """case "$1" in *compute_cap*) echo 'Field "compute_cap" is not a valid field to query.'; exit 2;; esac
echo 'GPU-7, NVIDIA A10, 470.57.02'"""


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (
            "echo 'GPU-1, NVIDIA A10, 535.104.05, 8.6'; echo 'GPU-2, NVIDIA T4, 535.104.05, 7.5'",
            Driver("535.104.05", (Card("GPU-1", "NVIDIA A10", "8.6"), Card("GPU-2", "NVIDIA T4", "7.5"))),
        ),
        (OLD, Driver("470.57.02", (Card("GPU-7", "NVIDIA A10", None),))),
        (
            "echo 'NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.'; exit 9",
            "NVIDIA-SMI has failed because it could not communicate with the NVIDIA driver.",
        ),
        ("exit 6", "nvidia-smi ended with 6"),
        ("true", "nvidia-smi says nothing"),
        ("echo hello", "nvidia-smi says hello"),
    ],
)
def test_the_driver_is_asked_by_its_own_tool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, told: Driver | str
) -> None:
    install_tool(tmp_path, script, monkeypatch)
    assert ask_driver() == told


def test_a_driver_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install_tool(tmp_path, "exec sleep 60", monkeypatch)
    monkeypatch.setattr(builds, "_TIMEOUT_SECONDS", 0.2)
    assert ask_driver() == "nvidia-smi gave no answer within 0.2 s"


def test_without_the_tool_there_is_no_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert ask_driver() is None
    assert choose(ask_driver()).peers_on_gpu == ()


def test_a_capability_that_is_not_told_is_unknown() -> None:
    cards = (Card("GPU-1", "NVIDIA A10", None),)
    assert read_answer("GPU-1, NVIDIA A10, 535.104.05, [N/A]\n") == Driver("535.104.05", cards)


# The sessions of nox


class FakeSession:
    """A session of nox that does nothing, and remembers what it was to do."""

    bin = "/venv/bin"
    posargs = ("--dry-run",)

    def __init__(self) -> None:
        self.done: list[tuple[str, ...]] = []

    def log(self, line: str) -> None:
        self.done.append(("log", line))

    def install(self, *words: str) -> None:
        self.done.append(("install", *words))

    def run(self, *words: str, **_options: object) -> None:
        self.done.append(("run", *words))


def load_noxfile(monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, Any], dict[str, list[str]]]:
    """Return what noxfile.py defines where nox itself is a stand-in, and what each of its sessions requires."""
    required: dict[str, list[str]] = {}

    def session(**options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:  # noqa: ANN401  # nox's own
        def keep(function: Callable[..., None]) -> Callable[..., None]:
            required[options.get("name", function.__name__)] = options.get("requires", [])
            return function

        return keep

    fake = SimpleNamespace(
        session=session,
        options=SimpleNamespace(),
        param=lambda value, **_name: value,
        parametrize=lambda _name, _values: lambda function: function,
        project=SimpleNamespace(load_toml=lambda _path: {}),
    )
    monkeypatch.setitem(sys.modules, "nox", fake)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(os, "environ", {**os.environ})  # which it changes
    return runpy.run_path(str(SOURCE_ROOT / "noxfile.py")), required


@pytest.mark.parametrize(("own", "used"), [({}, "1"), ({"UV_SYSTEM_CERTS": "0"}, "0")])
def test_uv_trusts_whom_pip_trusts(monkeypatch: pytest.MonkeyPatch, own: dict[str, str], used: str) -> None:
    """Behind a company's proxy nothing could be installed otherwise. A user's own choice stays."""
    others = {name: value for name, value in os.environ.items() if name != "UV_SYSTEM_CERTS"}
    monkeypatch.setattr(os, "environ", others | own)
    load_noxfile(monkeypatch)
    assert os.environ["UV_SYSTEM_CERTS"] == used


@pytest.mark.parametrize(
    ("script", "mxnet", "peers", "words"),
    [
        ("echo 'GPU-1, NVIDIA A10, 535.104.05, 8.6'", "gpu", [], "MXNet's build for CUDA 11.7"),
        ("echo 'GPU-1, NVIDIA H100, 580.95.05, 9.0'", "cpu", ["torch", "jax"], "JAX's build for CUDA 13"),
        (OLD, "cpu", [], "needs driver 515.43 or newer"),
        ("exit 9", "cpu", [], "MXNet's build for CPUs"),
    ],
)
def test_bench_installs_what_suits_the_driver(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, mxnet: str, peers: list[str], words: str
) -> None:
    """It says so in one line, and measures with the Pythons of the peers that it needs for rows on a GPU."""
    install_tool(tmp_path, script, monkeypatch)
    noxfile, required = load_noxfile(monkeypatch)
    assert required["bench"] == [f"peer({name})" for name in peers]
    for name in peers:
        noxfile["peer"](FakeSession(), name)
    session = FakeSession()
    noxfile["bench"](session)
    (logged, line), installed, ran = session.done
    assert logged == "log"
    assert words in line
    assert installed == ("install", "-e", f".[{mxnet}]")
    pythons = [word for name in peers for word in ("--python", f"{name}=/venv/bin/python")]
    assert ran == ("run", "mnist-bench", "run", *pythons, "--dry-run")


def test_peers_has_the_cuda_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index of PyTorch's own is named where PyPI's build is too new for the driver."""
    install_tool(tmp_path, "echo 'GPU-1, NVIDIA A10, 535.104.05, 8.6'", monkeypatch)
    noxfile, required = load_noxfile(monkeypatch)
    session = FakeSession()
    for name in ("torch", "jax"):
        noxfile["peer"](session, name)
    noxfile["peers"](session)
    assert required["peers"] == ["peer(torch)", "peer(jax)"]
    torch, jax, (_log, line), mxnet, ran = session.done
    assert torch == ("install", "-e", ".[torch]", "--extra-index-url", "https://download.pytorch.org/whl/cu126")
    assert jax == ("install", "-e", ".[jax-cuda12]")
    assert mxnet == ("install", "-e", ".[gpu]")
    assert "MXNet's build for CUDA 11.7, PyTorch's build for CUDA 12.6, JAX's build for CUDA 12" in line
    assert ran[:5] == ("run", "mnist-bench", "run", "--suite", "peers")

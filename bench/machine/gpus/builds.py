"""Which published build of each framework this machine's NVIDIA driver can run. Standard library only: nox asks it.

`nox -s bench` and `nox -s peers` install what `choose` says. It goes by what nvidia-smi tells, which comes with the
driver, so that no framework has to be there yet.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from bench.machine.gpus.order import DEVICE_ORDER, VISIBLE_DEVICES, visible_cards
from mnist_core.devices import last_line, run_child
from mnist_core.probe import has_machine_code

_ARCHITECTURE: Final = platform.machine()


class Card(NamedTuple):
    """A GPU, as nvidia-smi tells of it."""

    uuid: str
    name: str
    #: "8.6"; None: the tool is older than driver 510, and cannot tell.
    compute_capability: str | None


class Driver(NamedTuple):
    """NVIDIA's driver and the cards that it has, in its own order."""

    #: "535.104.05"
    version: str
    cards: tuple[Card, ...]


@dataclass(frozen=True, slots=True)
class Build:
    """A published build of a framework, and what it needs."""

    words: str
    #: The extra of pyproject.toml that installs it, and what pip needs to be told beside.
    extra: str
    pip_options: tuple[str, ...] = ()
    #: The oldest driver, as NVIDIA's table of CUDA versions has it; None: it needs none, since it runs on CPUs alone.
    oldest_driver: tuple[int, int] | None = None
    #: Whether it runs on cards of a compute capability, and on a kind of processor.
    runs_on: Callable[[str], bool] = lambda _compute_capability: True
    architectures: tuple[str, ...] = ("x86_64", "aarch64")


def _between(oldest: tuple[int, int], newer: tuple[int, int] = (99, 0)) -> Callable[[str], bool]:
    """Return what tells whether a compute capability is at least the first and below the second."""
    return lambda text: oldest <= _numbers(text) < newer


#: By the names that `mnist-bench --python` has for them; the last build of each is for machines without a usable card.
#: MXNet compiles fused operators into PTX, which only a driver of its own CUDA version or a newer one takes: 515.43 for
#: 11.7, though NVIDIA has 450.80 for all of CUDA 11. What PyTorch 2.13's are made for stands in its RELEASE.md: PyPI
#: has that for CUDA 13, and PyTorch's own index one for CUDA 12.6. JAX's documentation names its drivers and cards.
_BUILDS: Final[Mapping[str, Sequence[Build]]] = {
    "mxnet": (
        Build("MXNet's build for CUDA 11.7", "gpu", (), (515, 43), has_machine_code, ("x86_64",)),
        Build("MXNet's build for CPUs", "cpu"),
    ),
    "torch": (
        Build("PyTorch's build for CUDA 13", "torch", (), (580, 65), _between((7, 5))),
        Build(
            "PyTorch's build for CUDA 12.6",
            "torch",
            ("--extra-index-url", "https://download.pytorch.org/whl/cu126"),
            (525, 60),
            _between((5, 0), (10, 0)),
            ("x86_64",),
        ),
        Build("PyTorch's usual build", "torch"),
    ),
    "jax": (
        Build("JAX's build for CUDA 13", "jax-cuda13", (), (580, 65), _between((7, 5))),
        Build("JAX's build for CUDA 12", "jax-cuda12", (), (525, 60), _between((5, 2))),
        Build("JAX's build for CPUs", "jax"),
    ),
}


@dataclass(frozen=True, slots=True)
class Choice:
    """The build of each framework for this machine, and why."""

    #: By the name that `mnist-bench --python` has for the framework.
    builds: Mapping[str, Build]
    #: What is here, and why MXNet has no build for it, if it has none.
    found: str
    why: str = ""

    @property
    def peers_on_gpu(self) -> tuple[str, ...]:
        """The frameworks that a run of MXNet's needs beside it for GPU rows: none where it has them, or nobody has."""
        usable = [name for name, build in self.builds.items() if build.oldest_driver is not None]
        return () if "mxnet" in usable else tuple(usable)

    def describe(self, names: Sequence[str]) -> str:
        """Say in one line which builds of these frameworks were chosen, and why."""
        chosen = ", ".join(self.builds[name].words for name in names)
        return f"{self.found}: {chosen}{self.why and f'; {self.why}'}"


def choose(
    driver: Driver | str | None, variables: Mapping[str, str] = os.environ, architecture: str = _ARCHITECTURE
) -> Choice:
    """Choose the newest build of each framework that runs on a card which programs see here.

    None is a machine without NVIDIA's driver; a text says why the driver does not answer.
    """
    without = {name: builds[-1] for name, builds in _BUILDS.items()}
    if driver is None:
        return Choice(without, "no NVIDIA driver is here")
    if isinstance(driver, str):
        return Choice(without, f"NVIDIA's driver does not answer ({driver})")
    cards = _visible(driver.cards, variables)
    if not cards:
        hidden = f", and {VISIBLE_DEVICES}={variables[VISIBLE_DEVICES]!r} leaves none" if driver.cards else ""
        return Choice(without, f"{_describe(driver.cards) or 'no card'}, driver {driver.version}{hidden}")
    chosen = {
        name: next(build for build in builds if _problem(build, driver.version, cards, architecture) is None)
        for name, builds in _BUILDS.items()
    }
    newest = _BUILDS["mxnet"][0]
    problem = _problem(newest, driver.version, cards, architecture)
    why = "" if problem is None else f"{newest.words} {problem}"
    left_out = [card for card in cards if card.compute_capability and not newest.runs_on(card.compute_capability)]
    if problem is None and left_out:
        why = f"it does not run on {_describe(left_out)}: nox -s peers measures others there"
    return Choice(chosen, f"{_describe(cards)}, driver {driver.version}", why)


def _problem(build: Build, version: str, cards: Sequence[Card], architecture: str) -> str | None:
    """Say why a build cannot run on any of these cards; None: it can."""
    if build.oldest_driver is None:
        return None
    if _numbers(version) < build.oldest_driver:
        return f"needs driver {'.'.join(map(str, build.oldest_driver))} or newer: update it to measure on the GPU"
    if architecture not in build.architectures:
        return f"is not made for {architecture} processors"
    if not any(card.compute_capability and build.runs_on(card.compute_capability) for card in cards):
        return "does not run on cards of that compute capability"
    return None


def _visible(cards: tuple[Card, ...], variables: Mapping[str, str]) -> tuple[Card, ...]:
    """Return the cards that programs see; all where nobody but CUDA knows which those are.

    A number counts from the card that CUDA takes for the fastest, unless it is told to count by slots.
    """
    chosen = variables.get(VISIBLE_DEVICES)
    by_number = re.match(r"\s*\+?[0-9]", chosen or "") is not None
    alike = len({card.name for card in cards}) == 1
    if by_number and not alike and variables.get(DEVICE_ORDER) != "PCI_BUS_ID":
        return cards
    return tuple(cards[index] for index in visible_cards(chosen, [card.uuid for card in cards]))


def _describe(cards: Sequence[Card]) -> str:
    """Name cards: 2 x NVIDIA A10 (compute capability 8.6), NVIDIA T4 (7.5)."""
    counts = Counter((card.name, card.compute_capability or "unknown") for card in cards)
    return ", ".join(
        f"{'' if count == 1 else f'{count} x '}{name} (compute capability {capability})"
        for (name, capability), count in counts.items()
    )


def _numbers(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version: (535, 104) for 535.104.05."""
    return tuple(int(number) for number in re.findall(r"[0-9]+", version)[:2])


#: The driver wakes cards that nothing uses, which takes seconds; a broken one never answers.
_TIMEOUT_SECONDS: Final = 60.0


def ask_driver() -> Driver | str | None:
    """Return what nvidia-smi tells; None where there is none, and a line on what is wrong where it fails."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None
    said = ""
    for fields in ("uuid,name,driver_version,compute_cap", "uuid,name,driver_version"):  # as of 510, and before
        try:
            child = run_child([tool, f"--query-gpu={fields}", "--format=csv,noheader"], _TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            return f"nvidia-smi gave no answer within {_TIMEOUT_SECONDS:g} s"
        except OSError as error:
            return f"nvidia-smi: {error.strerror}"
        if child.returncode == 0:
            return read_answer(child.stdout)
        said = last_line(child.stdout) or last_line(child.stderr) or f"nvidia-smi ended with {child.returncode}"
    return said


def read_answer(text: str) -> Driver | str:
    """Read nvidia-smi's lines of UUID, name, driver and, from newer ones, compute capability."""
    rows = [line.split(", ") for line in text.splitlines() if line.strip()]
    if not rows or any(len(row) not in {3, 4} for row in rows):
        return f"nvidia-smi says {last_line(text) or 'nothing'}"
    return Driver(
        rows[0][2],
        tuple(Card(row[0], row[1], _capability(row[-1]) if len(row) == 4 else None) for row in rows),  # noqa: PLR2004
    )


def _capability(text: str) -> str | None:
    return text if re.fullmatch(r"[0-9]+\.[0-9]+", text) else None

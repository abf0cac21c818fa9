"""What a training took in energy by counters of the hardware, and which a machine has. Nothing is estimated."""

from __future__ import annotations

from bench.enums import StrEnum
from bench.ranges import Joules, Watts
from bench.records.base import Record


class EnergySource(StrEnum):
    """Who counts."""

    #: The processor: Intel's and AMD's "running average power limit", by Linux's powercap.
    RAPL = "rapl"
    #: NVIDIA's driver, for a whole card.
    NVML = "nvml"


class EnergyReading(Record, frozen=True, kw_only=True):
    """By how much a counter grew over a window, however short that is."""

    source: EnergySource
    #: What it counts: "package-0", a socket; "package-0 dram", the memory at it; "gpu(0)", a card.
    domain: str
    #: None: it was reset meanwhile, could not be read, or may have passed its end more than once.
    joules: Joules | None
    #: Of ranks on several machines, the label of the one; None: there is one machine.
    host: str | None = None


class EnergyCounter(Record, frozen=True, kw_only=True):
    """A counter that a machine has."""

    source: EnergySource
    #: As in an `EnergyReading`.
    domain: str
    #: What it counted over ten seconds before the first process was started; None: not measured.
    idle_watts: Watts | None = None


class EnergySupply(Record, frozen=True, kw_only=True):
    """How the energy of a machine can be read."""

    sources: tuple[EnergyCounter, ...] = ()
    #: Why a counter that others have is missing here, in one line; None: none is.
    reason: str | None = None
    #: The command that helps, or what else does; None: nothing does.
    remedy: str | None = None

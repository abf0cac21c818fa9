"""What a machine draws while nothing is measured on it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from bench.experiments.pilot import Clock
from bench.machine.energy import Meter, find_meters, read_meters, readings_between
from bench.records.energy import EnergySupply

#: Long enough for a card's counter, which moves ten times a second at least.
SECONDS: Final = 10.0


def measure_idle(
    supply: EnergySupply,
    meters: Sequence[Meter] | None = None,
    now: Clock = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> EnergySupply:
    """Return the supply with the watts of each of its counters while this process sleeps; `meters`: the machine's."""
    meters = find_meters().meters if meters is None else meters
    before, begin = read_meters(meters), now()
    sleep(SECONDS)
    after, seconds = read_meters(meters), now() - begin
    watts = {
        (reading.source, reading.domain): None if reading.joules is None else reading.joules / seconds
        for reading in readings_between(meters, before, after, seconds)
    }
    sources = (
        msgspec.structs.replace(counter, idle_watts=watts.get((counter.source, counter.domain)))
        for counter in supply.sources
    )
    return msgspec.structs.replace(supply, sources=tuple(sources))

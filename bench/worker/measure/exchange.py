"""The clock of an exchange: how long a rank waits for the sum of an array over all ranks. Nothing is trained.

What is added up is whole numbers that float32 holds exactly, others for each rank and each time: a sum that lacks a
rank, has one twice, or is that of the time before, is seen.
"""

from __future__ import annotations

import time
from typing import Final

import numpy as np
from numpy.typing import NDArray

from bench.worker.backends.base import Backend
from bench.worker.protocol.commands import ExchangeArrays
from bench.worker.protocol.requests import RankPlace
from mnist_core.devices import parse_devices

_BYTES: Final = 4
#: An array's numbers begin again after so many: odd, to see parts that changed places; few, for float32 to be exact.
_PERIOD: Final = 13


class ArrayExchange:
    """Arrays of one size on one device, which all ranks add up when this one does."""

    def __init__(self, backend: Backend, place: RankPlace, command: ExchangeArrays) -> None:
        self._place, self._size = place, (command.device, command.size_bytes)
        (device,) = parse_devices(command.device)
        elements = command.size_bytes // _BYTES
        self._shared = backend.share_array(place, device, max(1, elements))
        self._numbers = (np.arange(elements) % _PERIOD + 1).astype(np.float32)

    def fits(self, command: ExchangeArrays) -> bool:
        """Whether a command is about arrays of this size and place."""
        return self._size == (command.device, command.size_bytes)

    def seconds(self, repetitions: int) -> tuple[float, ...]:
        """Return the seconds of each exchange, or barrier without numbers. Raise `ArithmeticError` for a wrong sum."""
        return tuple(self._seconds(factor=1 + repetition % 2) for repetition in range(repetitions))

    def _seconds(self, factor: int) -> float:
        shared, place = self._shared, self._place
        if len(self._numbers):
            shared.put(self._numbers * np.float32(factor * (place.rank + 1)))
        shared.barrier()
        begin = time.perf_counter()
        if not len(self._numbers):
            shared.barrier()
            return time.perf_counter() - begin
        shared.add_up()
        seconds = time.perf_counter() - begin
        self._check(shared.total(), factor * place.ranks * (place.ranks + 1) // 2)
        return seconds

    def _check(self, total: NDArray[np.float32], factor: int) -> None:
        expected = self._numbers * np.float32(factor)
        if not np.array_equal(total, expected):
            wrong = int(np.argmax(total != expected))
            raise ArithmeticError(
                f"the sum of {self._numbers.nbytes:,} bytes over {self._place.ranks} ranks is wrong: number {wrong} is "
                f"{total[wrong]:g}, not {expected[wrong]:g}"
            )

"""The clock of the ceilings: how fast a library multiplies and adds in this process. Nothing is trained.

The fastest repetition counts, since any disturbance only makes one slower.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol

from bench.records.base import utc_now
from bench.records.environment import Software
from bench.records.result import Ceiling, Library, MatrixProduct, VectorSum
from bench.scenarios.axes import Framework
from bench.worker.backends import base, numpy
from bench.worker.protocol.requests import CeilingRequest
from mnist_core.devices import Device, parse_devices
from mnist_core.recipe import Precision

#: Repetitions of one size go on for so long: a tenth of a second rides out what a scheduler does to a process.
_REPEAT_SECONDS: Final = 0.15
_LEAST_REPETITIONS: Final = 3
#: A size whose repetitions would take longer is left out: it could hardly win by more than smaller ones did.
_LONGEST_SECONDS: Final = 2.5
#: Number of sizes in a row without a new best rate after which larger ones are not tried.
_LOSSES: Final = 2
#: Two numbers read, one written.
_BYTES_PER_ELEMENT: Final = 12


class Arithmetic(Protocol):
    """The part of a `base.Backend` that NumPy has too."""

    def describe(self) -> Software: ...
    def matrix_product(self, device: Device, size: int, precision: Precision) -> Callable[[], None]: ...
    def product_kernel(self, device: Device, size: int, precision: Precision) -> str | None: ...
    def vector_sum(self, device: Device, elements: int) -> Callable[[], None]: ...


def arithmetic_of(library: Library) -> Arithmetic:
    """Return the arithmetic of a library. Raise `ImportError` if it is not installed."""
    if library is Library.NUMPY:
        return numpy
    return base.backend_for(Framework(library.value))


def measure_ceiling(request: CeilingRequest) -> Ceiling:
    """Call it once per process. Raises `ImportError`, or what the library raises."""
    arithmetic = arithmetic_of(request.framework)
    (device,) = parse_devices(request.device)
    measured_at = utc_now()
    products = tuple(_products(arithmetic, device, request.matrix_sizes, request.precision))
    kernel = arithmetic.product_kernel(device, request.matrix_sizes[0], request.precision)
    sums = tuple(_sums(arithmetic, device, request.vector_elements))
    software = arithmetic.describe()  # last: a library may load its BLAS with its first product
    return Ceiling(
        measured_at=measured_at,
        device=request.device,
        omp_num_threads=request.omp_num_threads,
        framework=request.framework,
        framework_version=software.framework_version,
        thread_pools=software.thread_pools,
        matrix_products=products,
        vector_sums=sums,
        precision=request.precision,
        kernel=kernel,
    )


def _products(
    arithmetic: Arithmetic, device: Device, sizes: Iterable[int], precision: Precision
) -> Iterator[MatrixProduct]:
    best, losses = 0.0, 0
    for size in sizes:
        flop = 2.0 * size**3
        too_long = best > 0 and (1 + _LEAST_REPETITIONS) * flop / best > _LONGEST_SECONDS
        if too_long or losses == _LOSSES:
            return
        rate = flop / _fastest_seconds(arithmetic.matrix_product(device, size, precision))
        losses = 0 if rate > best else losses + 1
        best = max(best, rate)
        yield MatrixProduct(size=size, gflop_per_second=rate / 1e9)


def _sums(arithmetic: Arithmetic, device: Device, elements: Iterable[int]) -> Iterator[VectorSum]:
    for count in elements:
        seconds = _fastest_seconds(arithmetic.vector_sum(device, count))
        yield VectorSum(elements=count, bytes_per_second=_BYTES_PER_ELEMENT * count / seconds)


def _fastest_seconds(call: Callable[[], None]) -> float:
    """Return the fastest of several calls, after one that touches memory and chooses kernels."""
    call()
    fastest = float("inf")
    repetitions = 0
    begin = now = time.perf_counter()
    while repetitions < _LEAST_REPETITIONS or now - begin < _REPEAT_SECONDS:
        before = now
        call()
        now = time.perf_counter()
        fastest = min(fastest, now - before)
        repetitions += 1
    return fastest

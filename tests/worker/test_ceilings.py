"""The clock of the ceilings times arithmetic that takes as long as it is told, and the real one."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from bench.records.result import FailureReason, Library
from bench.worker import main
from bench.worker.backends import common, numpy
from bench.worker.measure import ceilings
from bench.worker.measure.ceilings import Arithmetic, arithmetic_of
from bench.worker.protocol.replies import CeilingReply, FailureReply, UnusableReply
from bench.worker.protocol.requests import CeilingRequest
from mnist_core.devices import Device, DeviceKind, parse_devices
from mnist_core.recipe import Precision

CPU = Device(DeviceKind.CPU, 0)

each_library = pytest.mark.parametrize(
    "library", [Library.NUMPY, pytest.param(Library.MXNET, marks=pytest.mark.system)]
)


class Clock:
    """A clock whose time the fake arithmetic spends."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls = 0

    def perf_counter(self) -> float:
        return self.now

    def spending(self, seconds: float) -> Callable[[], None]:
        def call() -> None:
            self.calls += 1
            self.now += seconds

        return call


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(ceilings, "time", clock)
    return clock


class FakeArithmetic:
    """Matrix products at a GFLOP/s for each size, and vector sums at one rate."""

    def __init__(self, clock: Clock, gflop_per_second: dict[int, float]) -> None:
        self._clock = clock
        self._rates = gflop_per_second

    describe = staticmethod(numpy.describe)

    def matrix_product(self, _device: Device, size: int, _precision: Precision) -> Callable[[], None]:
        return self._clock.spending(2 * size**3 / (1e9 * self._rates[size]))

    product_kernel = staticmethod(numpy.product_kernel)

    def vector_sum(self, _device: Device, elements: int) -> Callable[[], None]:
        return self._clock.spending(12 * elements / 20e9)


def measured(clock: Clock, gflop_per_second: dict[int, float]) -> list[tuple[int, float]]:
    arithmetic: Arithmetic = FakeArithmetic(clock, gflop_per_second)
    products = ceilings._products(arithmetic, CPU, tuple(gflop_per_second), Precision.FLOAT32)
    return [(product.size, round(product.gflop_per_second, 6)) for product in products]


def test_the_rates_are_operations_and_bytes_over_the_fastest_seconds(clock: Clock) -> None:
    """They count 2 n³ operations, and 12 bytes for each element."""
    assert measured(clock, {256: 50.0, 512: 60.0}) == [(256, 50.0), (512, 60.0)]
    (vector_sum,) = ceilings._sums(FakeArithmetic(clock, {}), CPU, (1_000_000,))
    assert vector_sum.bytes_per_second == pytest.approx(20e9)


def test_larger_matrices_are_tried_until_two_in_a_row_win_no_more(clock: Clock) -> None:
    """A single one that is slower may be chance."""
    rates = {256: 500.0, 512: 400.0, 1024: 700.0, 2048: 600.0, 4096: 700.0, 8192: 9e9}
    assert [size for size, _rate in measured(clock, rates)] == [256, 512, 1024, 2048, 4096]


def test_a_size_that_would_take_too_long_is_not_tried(clock: Clock) -> None:
    """At 5 GFLOP/s four products of 1,024 take 1.7 s, and four of 2,048 take fourteen."""
    assert [size for size, _rate in measured(clock, {512: 4.0, 1024: 5.0, 2048: 6.0})] == [512, 1024]
    assert [size for size, _rate in measured(clock, {4096: 1.0})] == [4096]  # the first tells how fast it is


def test_the_first_call_does_not_count_and_the_fastest_of_the_others_does(clock: Clock) -> None:
    """It touches memory and chooses kernels; a disturbed one is only slower."""
    taken = iter([99.0, 3.0, 1.0, 2.0])

    def call() -> None:
        clock.now += next(taken)

    assert ceilings._fastest_seconds(call) == 1.0
    assert list(taken) == []


def test_short_calls_are_repeated_for_a_while(clock: Clock) -> None:
    """Calls of a millisecond are repeated for 0.15 s: some 150 of them, after one that does not count."""
    ceilings._fastest_seconds(clock.spending(0.001))
    assert clock.calls == pytest.approx(151, abs=1)


@each_library
def test_the_real_functions_multiply_and_add(library: Library) -> None:
    """They do so any number of times into arrays that they keep, for sizes of one, too."""
    arithmetic = arithmetic_of(library)
    for size in (1, 7):
        for call in (arithmetic.matrix_product(CPU, size, Precision.FLOAT32), arithmetic.vector_sum(CPU, size)):
            call()
            call()


def test_numpys_product_and_sum_are_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """In float64 they are half as fast, and no ceiling of a float32 network."""
    seen: list[np.dtype[Any]] = []

    def watched(real: Callable[..., object]) -> Callable[..., object]:
        def call(left: NDArray[Any], right: NDArray[Any], out: NDArray[Any]) -> object:
            seen.extend((left.dtype, right.dtype, out.dtype))
            return real(left, right, out=out)

        return call

    monkeypatch.setattr(np, "matmul", watched(np.matmul))
    monkeypatch.setattr(np, "add", watched(np.add))
    numpy.matrix_product(CPU, 3, Precision.FLOAT32)()
    numpy.vector_sum(CPU, 3)()
    assert seen == [np.dtype(np.float32)] * 6


def test_what_c_code_prints_is_caught_and_nothing_after_it(capfd: pytest.CaptureFixture[str]) -> None:
    """A library tells its kernel on the standard output, behind Python's back."""
    with common.standard_output() as printed:
        os.write(1, b"brg_matmul")
    os.write(1, b"after")
    assert printed() == "brg_matmul"
    assert capfd.readouterr().out == "after"


def a_request(**changes: object) -> CeilingRequest:
    request = CeilingRequest(
        framework=Library.NUMPY, device="cpu(0)", omp_num_threads=1, matrix_sizes=(4, 8), vector_elements=(10, 100)
    )
    return msgspec.structs.replace(request, **changes)


def reply_to(request: CeilingRequest, monkeypatch: pytest.MonkeyPatch, threads: str = "1") -> object:
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    return main.handle_request(msgspec.json.encode(request), lambda _event: None)


@each_library
def test_a_worker_answers_with_every_size(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record holds what was asked and what was loaded."""
    monkeypatch.setattr(ceilings, "_REPEAT_SECONDS", 0.001)
    reply = reply_to(a_request(framework=library), monkeypatch)
    assert isinstance(reply, CeilingReply)
    ceiling = reply.ceiling
    assert [product.size for product in ceiling.matrix_products] == [4, 8]
    assert [vector_sum.elements for vector_sum in ceiling.vector_sums] == [10, 100]
    assert ceiling.gflop_per_second == max(product.gflop_per_second for product in ceiling.matrix_products)
    assert ceiling.bandwidth_bytes_per_second == ceiling.vector_sums[-1].bytes_per_second
    assert ceiling.framework_version == arithmetic_of(library).describe().framework_version
    assert parse_devices(ceiling.device) == (CPU,)
    assert ceiling.precision is Precision.FLOAT32
    assert ceiling.kernel is None  # neither of them tells


def test_a_worker_under_other_threads_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ceiling of one thread under the name of two would halve every utilisation."""
    assert isinstance(reply_to(a_request(omp_num_threads=2), monkeypatch), UnusableReply)


@pytest.mark.parametrize(
    "line",
    [
        msgspec.json.encode(a_request()).replace(b"cpu(0)", b"tpu(0)"),
        msgspec.json.encode(a_request()).replace(b"[4,8]", b"[]"),
        msgspec.json.encode(a_request()).replace(b"[4,8]", b"[0]"),
        msgspec.json.encode(a_request()).replace(b"numpy", b"theano"),
    ],
)
def test_a_request_that_is_none_is_refused(line: bytes) -> None:
    """One line says so before anything is measured."""
    assert isinstance(main.handle_request(line, lambda _event: None), UnusableReply)


def test_what_a_library_raises_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above all it runs out of memory."""

    def no_memory(_device: Device, _size: int, _precision: Precision) -> Callable[[], None]:
        raise MemoryError("cannot allocate memory")

    monkeypatch.setattr(numpy, "matrix_product", no_memory)
    reply = reply_to(a_request(), monkeypatch)
    assert isinstance(reply, FailureReply)
    assert reply.reason is FailureReason.OUT_OF_MEMORY

"""Plan which ceilings to measure, matrix and vector sizes for the devices of a plan or of the machine, and measure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, Protocol

from bench.analysis.roofline import BEYOND_CACHE, BYTES_PER_ELEMENT, MEMORY_PART, Place, place_of
from bench.errors import SetupError
from bench.records.environment import Environment
from bench.records.result import Ceiling, FailureReason, Library
from bench.scenarios.axes import Framework
from bench.scenarios.suite import PlannedRun
from bench.worker.process import Cancellation, WorkerFailure
from bench.worker.protocol.requests import CeilingRequest
from mnist_core.devices import Device, DeviceKind, Probe, parse_devices
from mnist_core.recipe import Precision

#: Rows of the square matrices. Small ones are fastest with fast caches and few cores, large ones on GPUs. The last
#: needs 0.8 GB.
MATRIX_SIZES: Final = (256, 512, 1024, 2048, 4096, 8192)
#: Bytes of the three arrays of the smallest vector sum together; they fit into the cache of one core.
_LEAST_BYTES: Final = 1 << 20
#: Factor from one size to the next.
_BYTES_STEP: Final = 8
#: Assumed for a machine that does not tell its caches, and for GPUs, whose caches have tens of megabytes.
_UNKNOWN_CACHE_BYTES: Final = 1 << 28


def requests_of_plan(plan: Iterable[PlannedRun], environment: Environment) -> tuple[CeilingRequest, ...]:
    """Request each place of the plan once, on its first device.

    It is requested from each framework that the plan uses on its kind and in its precision.
    """
    places: dict[Place, Device] = {}
    frameworks: dict[tuple[DeviceKind, Precision], set[Framework]] = {}
    for scenario in dict.fromkeys(planned.scenario for planned in plan):
        place = place_of(scenario, scenario.threads_per_context(environment.usable_core_count))
        if place is not None:
            places.setdefault(place, min(scenario.devices))
            frameworks.setdefault((place.kind, place.precision), set()).add(scenario.framework)
    return tuple(
        request
        for place, device in sorted(places.items())
        for request in requests_at(
            device, place.threads, frameworks[place.kind, place.precision], environment, place.precision
        )
    )


def requests_of_machine(
    gpus: Iterable[Device], frameworks: Iterable[Framework], environment: Environment
) -> tuple[CeilingRequest, ...]:
    """Request the CPU with 1, 2, 4 ... and all usable cores, then each GPU, from each framework."""
    frameworks, cores = list(frameworks), environment.usable_core_count
    threads = sorted({*(1 << power for power in range(cores.bit_length())), cores})
    where = [(Device(DeviceKind.CPU, 0), count) for count in threads] + [(gpu, cores) for gpu in gpus]
    return tuple(request for device, count in where for request in requests_at(device, count, frameworks, environment))


def requests_at(
    device: Device,
    threads: int,
    frameworks: Iterable[Framework],
    environment: Environment,
    precision: Precision = Precision.FLOAT32,
) -> list[CeilingRequest]:
    """Request one place from each framework and, on the CPU in float32, from NumPy."""
    wanted = {Library(framework.value) for framework in frameworks}
    if device.kind is DeviceKind.CPU and precision is Precision.FLOAT32:
        wanted.add(Library.NUMPY)
    return [
        CeilingRequest(
            framework=library,
            device=str(device),
            omp_num_threads=threads,
            matrix_sizes=MATRIX_SIZES,
            vector_elements=vector_elements(environment, device.kind),
            precision=precision,
        )
        for library in Library
        if library in wanted
    ]


def vector_elements(environment: Environment, kind: DeviceKind) -> tuple[int, ...]:
    """Return the elements of one array: three together have 1 MiB, 8 MiB ... and far more than the largest cache."""
    cache = max(environment.host_processor_caches_bytes.values(), default=0) or _UNKNOWN_CACHE_BYTES
    memory = environment.host_memory_capacity_bytes
    if environment.cgroup_memory_limit_bytes is not None:
        memory = min(memory, environment.cgroup_memory_limit_bytes)
    if kind is DeviceKind.GPU:
        cache, memory = _UNKNOWN_CACHE_BYTES, min(environment.accelerator_memory_capacity_bytes, default=memory)
    largest = max(_LEAST_BYTES, min(BEYOND_CACHE * cache, memory // MEMORY_PART))
    sizes: Sequence[int] = [_LEAST_BYTES]
    while sizes[-1] * _BYTES_STEP < largest:
        sizes = [*sizes, sizes[-1] * _BYTES_STEP]
    return tuple(size // BYTES_PER_ELEMENT for size in dict.fromkeys([*sizes, largest]))


class CeilingExecutor(Protocol):
    """Measures one ceiling; what goes wrong in it is returned as a `WorkerFailure`."""

    @property
    def stop(self) -> Cancellation: ...

    def measure_ceiling(self, request: CeilingRequest) -> Ceiling | WorkerFailure:
        """Measure a ceiling. Raises `SetupError` if the library is not installed."""


def usable(
    requests: Iterable[CeilingRequest], probe: Callable[[Framework, Device], Probe]
) -> tuple[CeilingRequest, ...]:
    """Return the requests for the CPU, and for GPUs that work with their framework."""
    return tuple(
        request
        for request in requests
        if all(
            device.kind is DeviceKind.CPU or probe(Framework(request.framework.value), device).usable
            for device in parse_devices(request.device)
        )
    )


class CeilingRounds:
    """Measures every ceiling once each time it is called; one that fails is reported and not tried again."""

    def __init__(
        self, requests: Iterable[CeilingRequest], executor: CeilingExecutor, report: Callable[[str], None]
    ) -> None:
        self._requests = list(requests)
        self._executor = executor
        self._report = report

    def __len__(self) -> int:
        """Return the number of ceilings in a round."""
        return len(self._requests)

    def __call__(self) -> Iterator[Ceiling]:
        """Yield the ceilings of a round; end early if the executor is asked to stop."""
        for request in tuple(self._requests):
            try:
                outcome = self._executor.measure_ceiling(request)
            except SetupError as error:
                outcome = WorkerFailure(FailureReason.CRASHED, str(error))
            if self._executor.stop.requested:
                return
            if isinstance(outcome, Ceiling):
                yield outcome
            else:
                self._requests.remove(request)
                precision = "" if request.precision is Precision.FLOAT32 else f"precision={request.precision}, "
                self._report(
                    f"no ceiling of {request.device} through {request.framework}, {precision}"
                    f"OMP_NUM_THREADS={request.omp_num_threads}: {outcome.detail}"
                )

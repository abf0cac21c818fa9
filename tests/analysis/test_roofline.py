"""A plan needs certain ceilings, and together they say what a row could have reached."""

from __future__ import annotations

import msgspec
import pytest

from bench.analysis.roofline import Bound, Place, costs_of, levels, place_of, roofs
from bench.experiments.run.ceilings import MATRIX_SIZES, requests_of_machine, requests_of_plan, vector_elements
from bench.records.result import Library
from bench.scenarios.axes import Framework, LoopName, preset
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import PlannedRun
from mnist_core.devices import Device, DeviceKind
from mnist_core.recipe import Precision
from tests.support.records import a_ceiling, a_run, a_scenario, an_environment, planned

CPU, GPU = DeviceKind
TORCH = Scenario(framework=Framework.TORCH, network="mlp", **preset(Framework.TORCH, "mlp", LoopName.TUTORIAL, ()))


def plan_of(*scenarios: Scenario) -> tuple[PlannedRun, ...]:
    return tuple(planned(a_run(scenario=scenario)) for scenario in scenarios)


def asked(*scenarios: Scenario, cores: int = 4) -> list[tuple[str, int, Library]]:
    requests = requests_of_plan(plan_of(*scenarios), an_environment(usable_core_count=cores))
    return [(request.device, request.omp_num_threads, request.framework) for request in requests]


def test_every_library_has_its_name_from_its_framework() -> None:
    """NumPy comes first, and the frameworks in their order."""
    assert [library.value for library in Library] == ["numpy", *(framework.value for framework in Framework)]


def test_two_contexts_of_one_thread_have_the_ceiling_of_two_threads() -> None:
    """CPU contexts are virtual. GPUs are counted apart, and a mixture of both has no ceiling."""
    assert (
        place_of(a_scenario(contexts="cpu(0),cpu(1)"), 1) == Place(CPU, 2) == place_of(a_scenario(contexts="cpu(0)"), 2)
    )
    assert place_of(a_scenario(contexts="gpu(0),gpu(1)"), 4) == Place(GPU, 4)
    assert place_of(a_scenario(contexts="cpu(0),gpu(0)"), 1) is None


def test_a_plan_asks_for_each_place_once() -> None:
    """It is asked through NumPy and the plan's frameworks, as far as they use that kind of device."""
    assert asked(
        a_scenario(contexts="cpu(0)"),
        a_scenario(contexts="cpu(0),cpu(1)"),
        a_scenario(contexts="cpu(0)", cpu_threads=1),
        a_scenario(contexts="gpu(1)"),
        TORCH,
    ) == [
        ("cpu(0)", 1, Library.NUMPY),
        ("cpu(0)", 1, Library.MXNET),
        ("cpu(0)", 1, Library.TORCH),
        ("cpu(0)", 4, Library.NUMPY),
        ("cpu(0)", 4, Library.MXNET),
        ("cpu(0)", 4, Library.TORCH),
        ("gpu(1)", 4, Library.MXNET),
    ]
    assert asked() == []


def test_a_plan_asks_in_the_precisions_that_its_rows_have() -> None:
    """Only of the frameworks that compute in each, and not of NumPy, which has no type of 16 bits."""
    bfloat16 = msgspec.structs.replace(a_scenario(contexts="cpu(0)"), precision=Precision.BFLOAT16)
    requests = requests_of_plan(plan_of(TORCH, bfloat16), an_environment(usable_core_count=4))
    assert [(request.framework, request.precision) for request in requests] == [
        (Library.MXNET, Precision.BFLOAT16),
        (Library.NUMPY, Precision.FLOAT32),
        (Library.TORCH, Precision.FLOAT32),
    ]


def test_a_row_is_measured_against_the_ceiling_of_its_precision() -> None:
    """Against that of float32 it would use more than all of it. What 16 bits hold moves half as many bytes."""
    ceilings = [a_ceiling(gflop=100.0), a_ceiling(gflop=900.0, precision=Precision.BFLOAT16)]
    known = roofs(ceilings)
    bfloat16 = msgspec.structs.replace(a_scenario(contexts="cpu(0)"), precision=Precision.BFLOAT16)
    place = place_of(bfloat16, 2)
    assert place is not None
    assert (known[place].gflop_per_second, known[Place(CPU, 2)].gflop_per_second) == (900.0, 100.0)
    costs = costs_of("lenet")
    assert costs is not None
    whole, half = (costs.update_bytes(100, 1, each) for each in (Precision.FLOAT32, Precision.BFLOAT16))
    weights = costs.update_bytes(0, 1)
    assert half - weights == (whole - weights) / 2


def test_a_machine_is_asked_with_doubling_threads_and_on_every_gpu() -> None:
    """Six cores are asked with one, two, four and six threads. NumPy knows no GPU."""
    environment = an_environment(usable_core_count=6)
    requests = requests_of_machine([Device(GPU, 0)], [Framework.MXNET], environment)
    assert [(r.device, r.omp_num_threads, r.framework.value) for r in requests] == [
        *(("cpu(0)", threads, library) for threads in (1, 2, 4, 6) for library in ("numpy", "mxnet")),
        ("gpu(0)", 6, "mxnet"),
    ]
    assert {request.matrix_sizes for request in requests} == {MATRIX_SIZES}
    alone = requests_of_machine([], [], an_environment(usable_core_count=1))
    assert [(r.omp_num_threads, r.framework) for r in alone] == [(1, Library.NUMPY)]


@pytest.mark.parametrize(
    ("changes", "mebibytes"),
    [
        ({"host_processor_caches_bytes": {"L3": 32 << 20}}, [1, 8, 64, 128]),
        ({"host_processor_caches_bytes": {"L3": 128 << 20}}, [1, 8, 64, 512]),
        ({"host_processor_caches_bytes": {"L3": 1 << 40}}, [1, 8, 64, 512, 1024]),  # an eighth of the memory
        ({"host_processor_caches_bytes": {"L3": 1 << 40}, "cgroup_memory_limit_bytes": 256 << 20}, [1, 8, 32]),
        ({"host_processor_caches_bytes": {}}, [1, 8, 64, 512, 1024]),
        ({"host_processor_caches_bytes": {}, "host_memory_capacity_bytes": 1 << 20}, [1]),
    ],
)
def test_the_largest_arrays_are_beyond_the_caches_and_fit_into_memory(
    changes: dict[str, object], mebibytes: list[int]
) -> None:
    """Three of them fill from a core's own cache to four times the largest, if there is that much memory."""
    elements = vector_elements(an_environment(**changes), CPU)
    assert [round(12 * count / 2**20, 3) for count in elements] == mebibytes


def test_the_ceiling_is_the_best_librarys_median_over_time() -> None:
    """A single lucky process of another library does not count. The range shows how the machine drifted."""
    ceilings = [
        *(a_ceiling(gflop=rate) for rate in (100.0, 110.0, 90.0)),
        *(a_ceiling(framework=Library.NUMPY, gflop=rate, bandwidth=30e9) for rate in (80.0, 300.0, 85.0)),
        a_ceiling(gflop=60.0, omp_num_threads=1),
    ]
    one, two = roofs(ceilings)[Place(CPU, 1)], roofs(ceilings)[Place(CPU, 2)]
    assert (one.gflop_per_second, two.gflop_per_second) == (60.0, 100.0)
    assert two.best.framework is Library.MXNET
    spread = two.best.gflop_per_second
    assert (spread.least, spread.median, spread.greatest) == (90.0, 100.0, 110.0)
    assert two.bandwidth_bytes_per_second == 30e9
    assert [(level.threads, level.framework) for level in levels(ceilings)] == [
        (2, Library.NUMPY),
        (2, Library.MXNET),
        (1, Library.MXNET),
    ]


def test_several_gpus_have_several_times_the_ceiling() -> None:
    """CPU contexts share the same cores."""
    (gpu,) = roofs([a_ceiling(device="gpu(0)", gflop=5_000.0)]).values()
    (cpu,) = roofs([a_ceiling(gflop=100.0)]).values()
    assert gpu.gflop_per_second_of(2) == 10_000.0
    assert cpu.gflop_per_second_of(2) == 100.0


def test_the_bandwidth_is_that_of_arrays_as_large_as_the_working_set() -> None:
    """A cache's where that holds it, each size's best library; the memory's beyond everything measured."""
    (roof,) = roofs(
        [
            a_ceiling(vectors={1_000: 90e9, 1_000_000: 20e9, 100_000_000: 10e9}),
            a_ceiling(framework=Library.NUMPY, vectors={1_000: 50e9, 1_000_000: 40e9, 100_000_000: 12e9}),
        ]
    ).values()
    sizes = (1, 12_000, 12_001, 12e6, 1e9, 1e15)
    assert [roof.bandwidth_at(size) for size in sizes] == [90e9, 90e9, 40e9, 40e9, 12e9, 12e9]


def test_the_lower_roof_bounds_a_step() -> None:
    """A large batch of the MLP does more with a byte than a small one, so `memory` gives way to `compute`."""
    mlp = costs_of("mlp")
    assert mlp is not None
    (roof,) = roofs([a_ceiling(gflop=100.0, vectors={1_000: 100e9, 100_000_000: 10e9})]).values()
    intensity = [mlp.flop_per_image * images / mlp.update_bytes(images, 1) for images in (10, 1_000)]
    assert intensity[0] < 10 < intensity[1]
    assert [roof.bound(mlp, images, 1) for images in (10, 1_000)] == [Bound.MEMORY, Bound.COMPUTE]
    (cached,) = roofs([a_ceiling(gflop=100.0, vectors={1_000_000: 100e9, 100_000_000: 10e9})]).values()
    assert cached.bound(mlp, 10, 1) is Bound.COMPUTE

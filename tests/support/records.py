"""Records made up for tests: every field has a plausible value, and a test names only the fields it is about."""

# ruff: noqa: ANN401 (a factory takes whatever fields its record has)

from __future__ import annotations

from typing import Any

from bench.records.environment import Accelerator, ClusterHost, Environment, Software, ThreadPool
from bench.records.result import (
    Ceiling,
    Dataset,
    Epoch,
    ExchangeCurve,
    ExchangeTime,
    Failure,
    FailureReason,
    Library,
    MatrixProduct,
    ResultSet,
    Run,
    VectorSum,
)
from bench.scenarios.axes import WIDEST_VECTOR, Exchange, Framework, LoopName, preset
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import PlannedRun
from mnist_core.recipe import Recipe

CREATED_AT = "2026-01-31T12:00:00Z"
#: A card of which everything is known.
CARD = Accelerator(
    uuid="GPU-1",
    compute_capability="8.0",
    max_clock_hz=1_410_000_000,
    max_memory_clock_hz=1_215_000_000,
    power_limit_watts=250.0,
    default_power_limit_watts=400.0,
    ecc=True,
    persistence_mode=False,
    pcie_generation=4,
    pcie_lanes=8,
    max_pcie_lanes=16,
)


def a_scenario(network: str = "mlp", contexts: str = "cpu(0),cpu(1)", **changes: Any) -> Scenario:
    """Make the tutorial's own scenario of the MLP."""
    return Scenario(network=network, contexts=tuple(contexts.split(",")), **changes)


def a_dataset(**changes: Any) -> Dataset:
    facts: dict[str, Any] = {
        "name": "mnist",
        "digest": "0123456789abcdef" * 4,
        "source": "the cache",
        "train_samples": 60_000,
        "test_samples": 10_000,
    }
    return Dataset(**facts | changes)


def an_epoch(**changes: Any) -> Epoch:
    facts: dict[str, Any] = {
        "samples": 60_000,
        "epoch_seconds": 6.0,
        "train_accuracy": 0.97,
        "last_batch_loss": 0.08,
        "test_accuracy": 0.975,
        "evaluation_seconds": 0.4,
    }
    return Epoch(**facts | changes)


def epochs(recipe: Recipe, *, throughput: float, accuracy: float, train_samples: int = 60_000) -> tuple[Epoch, ...]:
    """Make all epochs of a recipe at one speed; test accuracy climbs to its last value in at most ten equal steps."""
    samples = recipe.samples or train_samples
    return tuple(
        an_epoch(
            samples=samples,
            epoch_seconds=samples / throughput,
            test_accuracy=round(accuracy - 0.002 * (recipe.epochs - 1 - index), 6),
        )
        for index in range(recipe.epochs)
    )


def a_run(
    *,
    scenario: Scenario | None = None,
    recipe: Recipe | None = None,
    throughput: float = 10_000.0,
    accuracy: float = 0.975,
    **changes: Any,
) -> Run:
    """Make what one process measured; `throughput` and `accuracy` shape its epochs, which can also be given."""
    scenario = scenario or a_scenario()
    recipe = recipe or Recipe()
    own_epochs = changes.get("epochs") or epochs(recipe, throughput=throughput, accuracy=accuracy)
    facts: dict[str, Any] = {
        "scenario": scenario,
        "recipe": recipe,
        "repeat": 0,
        "started_at": CREATED_AT,
        "omp_num_threads": 1,
        "per_context_batch_sizes": scenario.per_context_batch_sizes,
        "startup_seconds": 1.5,
        "first_step_seconds": 0.25,
        "warm_up_seconds": 0.5,
        "epochs": own_epochs,
        "final_accuracy": own_epochs[-1].test_accuracy,
        "epochs_cpu_seconds": 1.5 * sum(epoch.epoch_seconds for epoch in own_epochs),
        "involuntary_context_switches": 12,
        "peak_rss_bytes": 900 * 1024**2,
        "device_memory_bytes": None,
    }
    return Run(**facts | changes)


def a_failure(**changes: Any) -> Failure:
    facts: dict[str, Any] = {
        "scenario": a_scenario(contexts="gpu(0)"),
        "recipe": Recipe(),
        "repeat": 0,
        "reason": FailureReason.NO_DEVICE,
        "detail": "gpu(0): this MXNet has no CUDA build",
        "log": "",
    }
    return Failure(**facts | changes)


def planned(record: Run | Failure) -> PlannedRun:
    """Return the entry of the plan that this record came of."""
    return PlannedRun(scenario=record.scenario, recipe=record.recipe, repeat=record.repeat, timeout_seconds=600.0)


def a_software(**changes: Any) -> Software:
    facts: dict[str, Any] = {
        "python": "3.11.9",
        "framework": "mxnet",
        "framework_version": "1.9.1",
        "framework_features": ("BLAS_OPEN", "MKLDNN", "OPENMP"),
        "numpy": "1.26.4",
        "thread_pools": (
            ThreadPool(user_api="openmp", internal_api="openmp", version=None, architecture=None, num_threads=1),
        ),
    }
    return Software(**facts | changes)


def a_ceiling(
    *, gflop: float = 100.0, bandwidth: float = 10e9, vectors: dict[int, float] | None = None, **changes: Any
) -> Ceiling:
    """Make MXNet's ceiling of two CPU threads: `gflop` is the best size's, `vectors` elements to bytes per second."""
    vectors = vectors or {100_000: 3 * bandwidth, 100_000_000: bandwidth}
    facts: dict[str, Any] = {
        "measured_at": CREATED_AT,
        "device": "cpu(0)",
        "omp_num_threads": 2,
        "framework": Library.MXNET,
        "framework_version": "1.9.1",
        "thread_pools": (
            ThreadPool("blas", "openblas", version="0.3.23", architecture="SkylakeX", num_threads=2),
            ThreadPool("openmp", "openmp", version=None, architecture=None, num_threads=2),
        ),
        "matrix_products": tuple(
            MatrixProduct(size=size, gflop_per_second=share * gflop)
            for size, share in ((256, 0.5), (512, 1.0), (1024, 0.9))
        ),
        "vector_sums": tuple(VectorSum(elements=count, bytes_per_second=rate) for count, rate in vectors.items()),
    }
    return Ceiling(**facts | changes)


def an_environment(**changes: Any) -> Environment:
    facts: dict[str, Any] = {
        "captured_at": CREATED_AT,
        "host_hash": "a" * 64,
        "host_processor_model_name": "Imaginary Xeon 8000 @ 2.50GHz",
        "host_processors_per_node": 1,
        "host_processor_core_count": 2,
        "host_processor_vcpu_count": 4,
        "usable_vcpu_count": 4,
        "usable_core_count": 2,
        "host_processor_instruction_sets": ("avx2", "avx512f"),
        "host_processor_max_frequency_hz": 2_500_000_000,
        "host_memory_capacity_bytes": 8 * 1024**3,
        "host_processor_caches_bytes": {"L1d": 32_768, "L3": 33_554_432},
        "accelerators_per_node": 0,
        "accelerator_model_names": (),
        "accelerator_memory_capacity_bytes": (),
        "accelerator_driver": None,
        "operating_system": "Debian GNU/Linux 12",
        "kernel": "6.1.0",
        "architecture": "x86_64",
        "libc": "glibc 2.36",
        "virtualization": "kvm",
        "cgroup_cpu_quota": None,
        "cgroup_memory_limit_bytes": None,
        "scaling_governor": None,
        "turbo": None,
        "mnist_bench_version": "0.1.0",
        "git_commit": "b" * 40,
        "git_dirty": False,
        "software": a_software(),
        "packages": {"mxnet": "1.9.1", "numpy": "1.26.4"},
        "variables": {},
    }
    return Environment(**facts | changes)


def a_cluster_host(place: int = 0, **changes: Any) -> ClusterHost:
    """Make the machine at a place of a hosts file: another one for each place."""
    facts: dict[str, Any] = {
        "label": f"n{place}",
        "environment": an_environment(host_hash=f"{place:x}" * 64),
        "kernel_hash": f"{place:x}" * 64,
        "is_here": place == 0,
    }
    return ClusterHost(**facts | changes)


def a_curve(bytes_per_second: float = 1e8, latency: float = 1e-3, **changes: Any) -> ExchangeCurve:
    """Make the curve of two ranks of PyTorch on such a network, from 8 bytes to 16 MiB and of both networks."""
    sizes = [8, 1024, 437_544, 1 << 20, 1_724_320, 16 << 20]
    times = tuple(an_exchange_time(size, latency + size / bytes_per_second) for size in sizes)
    facts: dict[str, Any] = {
        "measured_at": CREATED_AT,
        "framework": Framework.TORCH,
        "device": "cpu(0)",
        "ranks": 2,
        "exchange": Exchange.GLOO,
        "servers": 0,
        "omp_num_threads": 1,
        "barrier": an_exchange_time(0, latency / 2),
        "times": times,
    }
    return ExchangeCurve(**facts | changes)


def an_exchange_time(size: int, seconds: float, **changes: Any) -> ExchangeTime:
    """Make the time of an exchange whose fastest repetition took half as long, and whose slowest twice."""
    facts: dict[str, Any] = {
        "size_bytes": size,
        "repetitions": 10,
        "min_seconds": seconds / 2,
        "median_seconds": seconds,
        "max_seconds": 2 * seconds,
    }
    return ExchangeTime(**facts | changes)


def a_result_set(*records: Run | Failure, **changes: Any) -> ResultSet:
    """Make a file whose plan is just what its records came of; without any it has one run of the tutorial."""
    records = records or (a_run(),)
    facts: dict[str, Any] = {
        "suite": "made-up",
        "created_at": CREATED_AT,
        "seed": 42,
        "environment": an_environment(),
        "dataset": a_dataset(),
        "plan": tuple(planned(record) for record in records),
        "runs": tuple(record for record in records if isinstance(record, Run)),
        "failures": tuple(record for record in records if isinstance(record, Failure)),
    }
    return ResultSet(**facts | changes)


def tuned(network: str, vector_floats: int = WIDEST_VECTOR) -> Scenario:
    """Return the fastest loop that is known for a network on a CPU whose kernels take so many floats at once."""
    return Scenario(network=network, **preset(Framework.MXNET, network, LoopName.TUNED, (), vector_floats))

"""What `tune` chooses from: every setting of the loop that makes sense for a network on a machine, each once.

The space is a suite, so that the command line narrows it as it narrows any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from bench.errors import ConfigurationError
from bench.scenarios.axes import WIDEST_VECTOR, fastest_lenet
from bench.scenarios.scenario import Scenario, tutorial_setting
from bench.scenarios.suite import Matrix, Overrides, Suite, expand, override
from mnist_core.devices import DeviceKind
from mnist_core.recipe import Engine, Hybridize, InputPipeline, Layers, MetricSync, Network, Update

_NO_OVERRIDES: Final = Overrides()
_EXECUTIONS: Final = (Hybridize.OFF, Hybridize.ON, Hybridize.STATIC, Hybridize.BOUND)
_LENET_LAYERS: Final = (Layers.TUTORIAL, Layers.ACTIVATION, Layers.POOL_FIRST)


@dataclass(frozen=True, slots=True)
class Placement:
    """The devices that do the work, and their threads."""

    contexts: tuple[str, ...]
    #: OpenMP threads of each CPU context; None on GPUs, which take none.
    cpu_threads: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """The settings to choose from."""

    #: Nothing twice: settings that only differ in what they do not use are one.
    scenarios: tuple[Scenario, ...]
    #: What they are compared with: the tutorial's loop at their batch size.
    reference: Scenario


def placements(cores: int, gpus: Sequence[str], batch_size: int) -> list[Placement]:
    """Contexts and their threads, together at most one thread for each core.

    One context with 1, 2, 4, … threads and with all cores; 2, 4, … contexts, and one for each core, that share the
    cores; one GPU and all GPUs. Doubling keeps a machine of 64 cores at 13 placements, and a step of two is never far
    from the best number of threads.
    """
    doublings = sorted({*_powers_of_two(cores), cores})
    found = [Placement(("cpu(0)",), threads) for threads in doublings]
    found += [Placement(tuple(f"cpu({index})" for index in range(count)), cores // count) for count in doublings[1:]]
    if gpus:
        found += [Placement(contexts, None) for contexts in dict.fromkeys([(gpus[0],), tuple(gpus)])]
    return [placement for placement in found if len(placement.contexts) <= batch_size]


def _powers_of_two(limit: int) -> list[int]:
    return [1 << exponent for exponent in range(limit.bit_length())]


def search_space(
    network: str,
    batch_size: int,
    *,
    cores: int,
    gpus: Sequence[str],
    vector_floats: int = WIDEST_VECTOR,
    overrides: Overrides = _NO_OVERRIDES,
) -> Space:
    """On a machine with so many usable cores and these usable GPUs, whose kernels take so many floats at once.

    `overrides` restrict an axis, or set it to what is not in the space. Raises `ConfigurationError` for a scenario that
    cannot be, or where nothing is left.
    """
    suite = Suite(
        title="every setting of the loop",
        matrix=tuple(
            _matrix(network, batch_size, placement, vector_floats) for placement in placements(cores, gpus, batch_size)
        ),
    )
    scenarios = dict.fromkeys(canonical(run.scenario, cores) for run in expand(override(suite, overrides)))
    if not scenarios:
        raise ConfigurationError("the restrictions exclude every setting: leave one of them out")
    reference = msgspec.structs.replace(tutorial_setting(network), batch_size=batch_size)
    return Space(scenarios=tuple(scenarios), reference=canonical(reference, cores))


def _matrix(network: str, batch_size: int, placement: Placement, vector_floats: int) -> Matrix:
    several = len(placement.contexts) > 1
    layers = (*_LENET_LAYERS, fastest_lenet(vector_floats)) if network == Network.LENET else (Layers.TUTORIAL,)
    return Matrix(
        network=(network,),
        contexts=(",".join(placement.contexts),),
        batch_size=(batch_size,),
        hybridize=_EXECUTIONS,
        cpu_threads=() if placement.cpu_threads is None else (placement.cpu_threads,),
        input_pipeline=tuple(InputPipeline),
        metric_sync=tuple(MetricSync),
        layers=tuple(dict.fromkeys(layers)),
        update=tuple(Update),
        update_on_kvstore=(True, False) if several else (True,),
        engine=tuple(Engine),
    )


def canonical(scenario: Scenario, cores: int) -> Scenario:
    """The same training under one name: threads written out, and what has no effect as the tutorial has it.

    A store exists for several contexts and `gluon.Trainer` alone; threads are the CPU's.
    """
    tutorial = tutorial_setting(scenario.network)
    on_cpu = any(device.kind is DeviceKind.CPU for device in scenario.devices)
    changes: dict[str, object] = {"cpu_threads": scenario.threads_per_context(cores) if on_cpu else None}
    if len(scenario.contexts) == 1 or scenario.update is Update.FLAT:
        changes |= {"kvstore": tutorial.kvstore, "update_on_kvstore": tutorial.update_on_kvstore}
    return msgspec.structs.replace(scenario, **changes)


#: The axes along which two settings of a space may differ, as one would turn one knob: threads go with their contexts,
#: the precision with the way to execute the network, and the store with the update that uses it.
KNOBS: Final[dict[str, tuple[str, ...]]] = {
    "contexts": ("contexts", "cpu_threads"),
    "hybridize": ("hybridize", "precision"),
    "input_pipeline": ("input_pipeline",),
    "metric_sync": ("metric_sync",),
    "layers": ("layers",),
    "update": ("update", "kvstore", "update_on_kvstore"),
    "engine": ("engine",),
}


def position(scenario: Scenario) -> tuple[tuple[object, ...], ...]:
    """Return the index of each knob's value, in the order of `KNOBS`."""
    return tuple(tuple(getattr(scenario, axis) for axis in axes) for axes in KNOBS.values())

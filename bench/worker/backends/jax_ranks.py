"""Ranks of JAX: `jax.distributed`, met by address and port; on CPUs XLA adds up over them by gloo.

An array on several processes is made without asking the others for it, as `jax.device_put` would. Each rank puts its
own where copies of one array are expected: a program sees one rank's data alone, and what it adds up over "rank".
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

import jax
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxlib import _jax
from numpy.typing import NDArray

from bench.worker.backends.common import EXCHANGE_SECONDS
from bench.worker.protocol.requests import RankPlace

#: JAX is not installed where the types are checked.
Array: TypeAlias = Any
Sharding: TypeAlias = Any
_AXIS: Final = "rank"
#: After so long without a sign of life of a process, which is stopped or whose machine is gone, all others are ended.
_HEARTBEAT_SECONDS: Final = 10


def join(place: RankPlace) -> None:
    """Meet the other ranks at the first one's port, which listens at that address alone."""
    _let_gloo_listen_at(place.own_address)
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        del os.environ[name]  # it would be asked for the other ranks
    jax.config.update("jax_cpu_collectives_implementation", str(place.exchange))
    jax.config.update("jax_enable_preemption_service", val=False)  # it would keep SIGTERM from ending this process
    patience, meeting = int(EXCHANGE_SECONDS), f"{place.address}:{place.port}"
    jax.distributed.initialize(
        coordinator_address=meeting,
        num_processes=place.ranks,
        process_id=place.rank,
        cluster_detection_method="deactivate",
        initialization_timeout=patience,
        heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
        shutdown_timeout_seconds=patience,
        coordinator_bind_address=meeting,
    )


def _let_gloo_listen_at(address: str | None) -> None:
    """Let XLA's gloo wait for other ranks at this address of the machine; None: where its own name leads to.

    XLA has an argument for it. JAX has no option that would reach it, and makes gloo when it first asks for a device.
    """
    if address is not None:
        _jax.make_gloo_tcp_collectives = functools.partial(_jax.make_gloo_tcp_collectives, hostname=address)


def sharding(cpu: int) -> Sharding:
    """Return the sharding of arrays that every rank has on one of its CPU devices."""
    devices = jax.devices("cpu")[cpu :: jax.local_device_count("cpu")]
    return NamedSharding(Mesh(np.array(devices), (_AXIS,)), PartitionSpec())


def put(array: NDArray[Any] | np.generic, everywhere: Sharding) -> Array:
    """Return this rank's array, of which the other ranks have their own."""
    return jax.make_array_from_callback(array.shape, everywhere, lambda _: array)


def on_each(function: Callable[..., Any], everywhere: Sharding) -> Callable[..., Any]:
    """Return a function of a number that all ranks know and of arrays, each rank's own; it may use `summed`."""
    specs = everywhere.spec

    def on_ranks(size: int, *arrays: Any) -> Any:  # noqa: ANN401  # trees of arrays
        def own(*arrays: Any) -> Any:  # noqa: ANN401
            return function(size, *arrays)

        return jax.shard_map(own, mesh=everywhere.mesh, in_specs=specs, out_specs=specs, check_vma=False)(*arrays)

    return on_ranks


def adder(everywhere: Sharding) -> Callable[[Array], Array]:
    """Return a function that adds up an array over all ranks, and waits for the sum. None has it before all came."""
    add = jax.jit(on_each(lambda _, array: lax.psum(array, _AXIS), everywhere), static_argnums=0)
    return lambda array: jax.block_until_ready(add(0, array))


class SummedArray:
    """An array that an all-reduce adds up, as it does flat gradients."""

    def __init__(self, everywhere: Sharding, elements: int) -> None:
        self._everywhere, self._add = everywhere, adder(everywhere)
        self._own = self._sum = put(np.zeros(elements, np.float32), everywhere)

    def put(self, numbers: NDArray[np.float32]) -> None:
        self._own = jax.block_until_ready(put(numbers, self._everywhere))

    def barrier(self) -> None:
        self._add(put(np.int32(0), self._everywhere))

    def add_up(self) -> None:
        self._sum = self._add(self._own)

    def total(self) -> NDArray[np.float32]:
        return np.asarray(self._sum)


def summed(gradients: Sequence[Array]) -> list[Array]:
    """Return the sums of the gradients over all ranks, by one all-reduce of all numbers in one array."""
    flat, restored = ravel_pytree(gradients)
    sums: list[Array] = restored(lax.psum(flat, _AXIS))
    return sums

"""Ranks of PyTorch: `torch.distributed`, met by address and port, without a launcher of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed

from bench.scenarios.axes import Exchange
from bench.worker.backends.common import EXCHANGE_SECONDS
from bench.worker.protocol.requests import RankPlace

#: PyTorch is not installed where the types are checked.
Tensor: TypeAlias = Any
TorchDevice: TypeAlias = Any
_PATIENCE: Final = timedelta(seconds=EXCHANGE_SECONDS)


def join(place: RankPlace) -> None:
    """Meet the other ranks. The first one's store listens on all interfaces, for whoever can reach it."""
    if place.interface is not None:
        for library in ("GLOO", "NCCL"):
            os.environ[f"{library}_SOCKET_IFNAME"] = place.interface
    store = distributed.TCPStore(place.address, place.port, place.ranks, place.rank == 0, _PATIENCE)
    distributed.init_process_group(
        str(place.exchange), store=store, rank=place.rank, world_size=place.ranks, timeout=_PATIENCE
    )


def barrier() -> None:
    """Wait for all ranks. Gloo's own barrier for debugging says which of them did not come."""
    if distributed.get_backend() == str(Exchange.GLOO):
        distributed.monitored_barrier(timeout=_PATIENCE, wait_all_ranks=True)
    else:
        distributed.barrier()


class ReducedArray:
    """An array that an all-reduce adds up in its place, as it does flat gradients."""

    def __init__(self, device: TorchDevice, elements: int) -> None:
        self._array = torch.zeros(elements, device=device)

    def put(self, numbers: NDArray[np.float32]) -> None:
        self._array.copy_(torch.from_numpy(numbers))
        self._wait()

    def barrier(self) -> None:
        barrier()

    def add_up(self) -> None:
        distributed.all_reduce(self._array)
        self._wait()

    def total(self) -> NDArray[np.float32]:
        return np.asarray(self._array.cpu().numpy())

    def _wait(self) -> None:
        if self._array.is_cuda:
            torch.cuda.synchronize(self._array.device)


def count() -> int:
    """Return how many ranks there are."""
    return int(distributed.get_world_size())


def summed(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Return the sums of the gradients over all ranks, by one all-reduce of all numbers in one array."""
    flat = torch.cat([each.reshape(-1) for each in gradients])
    distributed.all_reduce(flat)
    parts = flat.split([each.numel() for each in gradients])
    return [part.view(each.shape) for part, each in zip(parts, gradients, strict=True)]

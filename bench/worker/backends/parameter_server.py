"""The processes of MXNet's parameter server: what each of them is told, and the life of those that are no ranks."""

from __future__ import annotations

import importlib
import os
from typing import Final, NoReturn

from bench.worker.protocol.requests import RankPlace, ServeRequest, ServerRole

#: A rank's own role, by MXNet's name.
_RANK: Final = "worker"


def announce(place: RankPlace, role: ServerRole | None = None) -> None:
    """Set the variables by which MXNet finds the scheduler; without a role this process is a rank."""
    os.environ |= {
        "DMLC_ROLE": _RANK if role is None else str(role),
        "DMLC_PS_ROOT_URI": place.address,
        "DMLC_PS_ROOT_PORT": str(place.port),
        "DMLC_NUM_WORKER": str(place.ranks),
        "DMLC_NUM_SERVER": str(place.servers),
    }
    if place.interface is not None:
        os.environ["DMLC_INTERFACE"] = place.interface
    if place.own_address is not None:  # an interface may have several
        os.environ["DMLC_NODE_HOST"] = place.own_address


def serve(request: ServeRequest) -> NoReturn:
    """Import MXNet, which serves inside of its import and then ends the process."""
    announce(request.place, request.role)
    importlib.import_module("mnist_core.mxnet_border")
    raise RuntimeError(f"MXNet did not serve as {request.role}: it was imported before")

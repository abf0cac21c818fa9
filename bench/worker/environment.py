"""The environment variables that a worker is started with."""

from __future__ import annotations

from collections.abc import Mapping

from mnist_core.recipe import (
    Engine,
)


def worker_variables(threads: int, engine: Engine = Engine.THREADED) -> Mapping[str, str]:
    """Return the variables of a worker each of whose contexts may use this many threads.

    All of them, since a library that reads another name than OMP_NUM_THREADS would oversubscribe silently. The threaded
    engine is MXNet's own choice, which the user's variables may refine.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    variables = {name: str(threads) for name in names} | {"OMP_DYNAMIC": "FALSE"}
    if engine is Engine.NAIVE:
        variables["MXNET_ENGINE_TYPE"] = "NaiveEngine"
    return variables

"""The environment variables that a worker is started with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from mnist_core.recipe import Engine, Precision

#: Variables that would make a row say what was not so: fewer threads than the scenario has, nothing compiled, or
#: another precision.
WITHHELD: Final = (
    *("OMP_THREAD_LIMIT", "OMP_MAX_ACTIVE_LEVELS", "OMP_NESTED", "MXNET_OMP_MAX_THREADS"),
    *("TORCH_COMPILE_DISABLE", "TORCHDYNAMO_DISABLE", "JAX_DISABLE_JIT", _TF32_SWITCH := "NVIDIA_TF32_OVERRIDE"),
)
#: Seconds without a sign of life from the parent after which a worker on another host ends by itself. Unset: never.
SILENCE_VARIABLE: Final = "MNIST_BENCH_SILENCE_SECONDS"
#: MXNet's own choice is the first.
_ENGINES: Final = {Engine.THREADED: "ThreadedEnginePerDevice", Engine.NAIVE: "NaiveEngine"}


def worker_variables(
    threads: int, engine: Engine = Engine.THREADED, precision: Precision = Precision.FLOAT32
) -> Mapping[str, str]:
    """Return the variables of a worker each of whose contexts may use this many threads.

    All of them, since a library that reads another name than OMP_NUM_THREADS would oversubscribe silently. What a
    scenario names is set also where it is the default: the user's own variable may say something else.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    return {
        **{name: str(threads) for name in names},
        "OMP_DYNAMIC": "FALSE",
        # MXNet asks cuBLAS for TF32, whose factors have 10 bits, and has no switch (src/operator/linalg.h of 1.9.1).
        **({} if precision is Precision.TF32 else {_TF32_SWITCH: "0"}),
        # JAX would take three quarters of a card for itself, and those that take turns with it would find none left.
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        "MXNET_ENGINE_TYPE": _ENGINES[engine],
        "MXNET_UPDATE_ON_KVSTORE": "1",  # the default of a trainer that is not told; a scenario's "false" is told to it
    }


def worker_environment(inherited: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of a worker: what this process has, without what is withheld, and its variables."""
    return {name: value for name, value in inherited.items() if name not in WITHHELD} | dict(variables)

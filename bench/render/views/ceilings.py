"""Ceilings as one table: a row for each device, number of threads, precision and library."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from bench.analysis.roofline import RoofLevel, Spread, levels
from bench.records.environment import Environment
from bench.records.result import Ceiling
from bench.render import units
from bench.render.model.column import Column, make_column
from bench.render.model.table import Table, make_table
from bench.render.model.words.captions import describe_machine, machine_facts

#: `ThreadPool.user_api` of the libraries that multiply matrices.
_BLAS: Final = "blas"


def _spread_columns(
    name: str, spread: Callable[[RoofLevel], Spread], unit: Callable[[float], str], *, title: str, explanation: str
) -> tuple[Column[RoofLevel], ...]:
    """Make a column of medians, with the ends of the spread behind them where there are several ceilings."""

    def words(level: RoofLevel) -> tuple[str, str]:
        found = spread(level)
        ends = "" if len(level.ceilings) == 1 else f"({unit(found.least)} to {unit(found.greatest)})"
        return unit(found.median), ends

    return (
        make_column(
            name, lambda level: spread(level).median, title=title, priority=0, words=words, explanation=explanation
        ),
        make_column(f"{name}_least", lambda level: spread(level).least),
        make_column(f"{name}_greatest", lambda level: spread(level).greatest),
    )


def _blas(level: RoofLevel) -> str | None:
    """Name the libraries, as openblas 0.3.23 SkylakeX: kernels for another processor explain a low row."""
    pools = (pool for pool in level.ceilings[-1].thread_pools if pool.user_api == _BLAS)
    words = (" ".join(filter(None, (pool.internal_api, pool.version, pool.architecture))) for pool in pools)
    return ", ".join(words) or None


COLUMNS: Final[Sequence[Column[RoofLevel]]] = (
    make_column("device", lambda level: str(level.device), number=False, priority=0),
    make_column("threads", priority=0),
    make_column("precision", lambda level: str(level.precision), number=False),
    make_column("framework", lambda level: str(level.framework), number=False, priority=0),
    make_column(
        "framework_version",
        lambda level: level.ceilings[-1].framework_version,
        title="version",
        number=False,
        priority=3,
    ),
    make_column("n", lambda level: len(level.ceilings), key="n_processes", priority=2, explanation="fresh processes"),
    *_spread_columns(
        "gflop_per_second",
        lambda level: level.gflop_per_second,
        units.significant,
        title="GFLOP/s",
        explanation="of the float32 matrix product, the fastest size and repetition of each process: median over "
        "processes, least and greatest",
    ),
    make_column("size", priority=1, explanation="rows of the matrices that were fastest"),
    *_spread_columns(
        "bandwidth_bytes_per_second",
        lambda level: level.bandwidth_bytes_per_second,
        units.giga,
        title="GB/s",
        explanation="of a = b + c on arrays far larger than the caches, the same way; NumPy adds on one thread",
    ),
    make_column(
        "kernel",
        lambda level: level.ceilings[-1].kernel,
        number=False,
        priority=5,
        explanation="what multiplied, in the library's own words, where it tells",
    ),
    make_column(
        "blas",
        _blas,
        title="BLAS",
        number=False,
        priority=4,
        explanation="libraries of linear algebra that the process had loaded, and the processor they take this one for",
    ),
)


def ceiling_table(ceilings: Iterable[Ceiling], environment: Environment) -> Table:
    """Return a row for each device, number of threads, precision and library."""
    return make_table(
        "ceilings: the fastest float32 matrix product, and the memory bandwidth",
        COLUMNS,
        levels(ceilings),
        caption=[("machine", describe_machine(environment))],
        facts={**machine_facts(environment, without=["virtualization"]), "captured_at": environment.captured_at},
    )

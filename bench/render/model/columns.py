"""The columns of what was measured, as data.

A new column is one entry here and appears in every format.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from bench.analysis.summary import Measures, Row
from bench.render import units
from bench.render.model.column import Column, make_column
from bench.render.model.resource_columns import RESOURCES
from bench.render.phrases import ends, plus_minus
from bench.render.sparklines import bar, sparkline
from bench.stats.intervals import Estimate

_FoundT = TypeVar("_FoundT")


def _measured(value: Callable[[Measures], _FoundT | None]) -> Callable[[Row], _FoundT | None]:
    return lambda row: None if row.measures is None else value(row.measures)


def _measure(name: str, unit: Callable[[Any], str] = str, **options: Any) -> Column[Row]:  # noqa: ANN401  # make_column's
    """Make a column of what `Measures` has under the same name."""
    return make_column(name, _measured(operator.attrgetter(name)), unit, **options)


def _processes(row: Row) -> str:
    """Write the number of processes: "3", or "2/3" while some gave nothing."""
    n = 0 if row.measures is None else row.measures.n
    return str(n) if n >= row.planned else f"{n}/{row.planned}"


def _epoch(measures: Measures) -> str:
    return f"{'≈' if measures.epoch_extrapolated else ''}{units.seconds(measures.epoch_seconds.value)}"


def _accuracy_range(measures: Measures) -> str | None:
    if measures.n == 1:
        return None
    return f"{units.accuracy(measures.final_accuracy_min)}{units.ABSENT}{units.accuracy(measures.final_accuracy_max)}"


#: Fewer epochs are not drawn as a curve.
_LEAST_EPOCHS: Final = 3


def _learning(measures: Measures) -> str | None:
    accuracies = measures.epoch_accuracies
    return None if len(accuracies) < _LEAST_EPOCHS else sparkline(accuracies)


def _speedup(row: Row) -> str | None:
    if row.measures is None or row.measures.speedup is None:
        return None
    return "baseline" if row.is_baseline else units.factor(row.measures.speedup.value)


def _failures(row: Row) -> str | None:
    return "; ".join(f"{failure.count} x {failure.reason}: {failure.detail}" for failure in row.failures) or None


def _significant_ends(estimate: Estimate) -> str:
    """Write the ends of an interval, for values that can be zero or less and so have no ±."""
    return ends(estimate, units.significant)


#: The versions of a row's software, by their names in `Software`.
VERSIONS: Final = ("framework_version", "numpy", "python")


def _version(name: str) -> Column[Row]:
    return make_column(name, lambda row: None if row.software is None else getattr(row.software, name), number=False)


#: What was measured, in the order of a wide table.
VALUES: Final[Sequence[Column[Row]]] = (
    _measure(
        "throughput",
        units.significant,
        key="throughput_images_per_second",
        title="images/s",
        priority=0,
        detail=plus_minus,
        explanation="images trained per second of the epoch windows, geometric mean over n processes; ± is its 95 % t "
        f"interval over processes (log scale; {units.TIMES_OVER} where it is wider than 100 %): n = 1 has none",
    ),
    _measure("n", key="n_processes", priority=6, text=_processes, explanation="fresh processes; 2/3: of 3 planned"),
    _measure(
        "epoch_seconds",
        units.seconds,
        title="epoch",
        interval=True,
        priority=3,
        text=_measured(_epoch),
        explanation="one pass over all {train_samples} training images; ≈ is extrapolated from the part that was run",
    ),
    _measure("epoch_extrapolated", number=False),
    _measure(
        "update_microseconds",
        units.significant,
        title="µs/step",
        interval=True,
        priority=5,
        explanation="one step: a batch asked for, split, trained on, weights updated, metric updated",
    ),
    _measure(
        "final_accuracy",
        units.accuracy,
        title="final\naccuracy",
        priority=1,
        explanation="on {test_images} test images after the last epoch, mean over processes",
    ),
    make_column(
        "learning",
        _measured(_learning),
        priority=11,
        picture=True,
        explanation="test accuracy after each epoch, from the least to the greatest; mean over processes",
    ),
    _measure("final_accuracy_min", units.accuracy),
    _measure("final_accuracy_max", units.accuracy),
    make_column(
        "final_accuracy_range",
        _measured(_accuracy_range),
        title="accuracy\nrange",
        priority=12,
        data=False,
    ),
    _measure(
        "speedup",
        units.factor,
        title="speed-up",
        priority=2,
        text=_speedup,
        detail=plus_minus,
        explanation="images/s over those of the tutorial's own setting: {tutorial}{compared}",
    ),
    _measure(
        "over_float32",
        units.factor,
        title="over\nfloat32",
        priority=2,
        detail=plus_minus,
        explanation="images/s over those of the same setting with precision=float32{compared}",
    ),
    _measure(
        "accuracy_over_float32",
        units.accuracy_change,
        title="accuracy\nover float32",
        priority=3,
        detail=lambda change: ends(change, units.accuracy_change),
        explanation="final accuracy less that of the same setting with precision=float32, seed by seed, with its 95 % "
        "t interval; a row that is surely {accuracy_margin} below is invalid",
    ),
    _measure(
        "scaling_efficiency",
        units.percent,
        title="scaling",
        interval=True,
        priority=4,
        explanation="images/s over (number of contexts x images/s on the first of them alone); virtual CPU contexts "
        "share the same cores, so do not expect 100 % of them",
    ),
    _measure(
        "time_to_accuracy_seconds",
        units.seconds,
        title="to target\naccuracy",
        priority=10,
        explanation="epoch windows up to the first epoch that reached {targets}; evaluation excluded; median",
    ),
    _measure(
        "first_step_seconds",
        units.seconds,
        title="first\nstep",
        priority=7,
        explanation="from building the network to the first update done, median",
    ),
    _measure(
        "warm_up_seconds",
        units.seconds,
        title="warm-up",
        priority=14,
        explanation="every batch shape touched once before the first epoch window, median",
    ),
    _measure(
        "startup_seconds",
        units.seconds,
        title="start-up",
        priority=16,
        explanation="from the process's start to the framework imported and the data in memory, median",
    ),
    _measure(
        "peak_rss_bytes",
        units.memory,
        title="peak\nmemory",
        priority=8,
        explanation="most resident memory of any of the processes, data set included",
    ),
    _measure(
        "device_memory_bytes",
        units.memory,
        title="device\nmemory",
        priority=11,
        explanation="in use on the scenario's GPUs after the last epoch",
    ),
    _measure(
        "busy_cpus",
        units.significant,
        title="busy\nCPUs",
        priority=13,
        explanation="CPU time over wall time inside the epoch windows, median",
    ),
    _measure("omp_num_threads", title="OpenMP\nthreads", priority=15, explanation="of each CPU context"),
    *RESOURCES,
    _measure(
        "utilisation",
        units.share,
        interval=True,
        priority=4,
        explanation="GFLOP/s over the ceiling: the fastest matrix product that was measured between the runs, "
        "on as many threads and in the same precision",
    ),
    _measure(
        "achieved_gflop_per_second",
        units.significant,
        title="GFLOP/s",
        interval=True,
        priority=7,
        explanation="images/s times the multiplications and additions that training on an image needs",
    ),
    _measure("ceiling_gflop_per_second", units.significant),
    _measure(
        "bytes_per_second",
        units.giga,
        title="GB/s",
        interval=True,
        priority=8,
        explanation="the fewest bytes that a step must move, over its time",
    ),
    make_column(
        "bound",
        _measured(lambda measures: None if measures.bound is None else str(measures.bound)),
        number=False,
        priority=4,
        explanation="what applies to a step: overhead where over half of it is fixed (known from two batch sizes on); "
        "else compute or memory, whichever ceiling is lower, however far below it the step is",
    ),
    _measure(
        "fixed_update_microseconds",
        units.significant,
        title="fixed\nµs/step",
        priority=6,
        detail=_significant_ends,
        explanation="what a step takes however small the batch: from the line through all batch sizes, with its 95 % t "
        "interval",
    ),
    _measure(
        "image_microseconds",
        units.significant,
        title="µs/image",
        priority=7,
        detail=_significant_ends,
        explanation="what each image of a batch adds to that",
    ),
    make_column("status", lambda row: str(row.status), number=False),
    make_column("invalid_reason", lambda row: row.invalid, number=False),
    make_column("failures", _failures, number=False),
    make_column("planned_processes", lambda row: row.planned),
    *(_version(name) for name in VERSIONS),
)

#: Columns that a reader sees only where there is a ceiling to compare them with.
BESIDE_CEILINGS: Final = frozenset(
    {
        "achieved_gflop_per_second",
        "bytes_per_second",
        "bound",
        "fixed_update_microseconds",
        "image_microseconds",
    }
)


def bars(rows: Iterable[Row]) -> Column[Row]:
    """Make a column of throughputs as bars, the longest for the greatest of these rows."""
    values = {id(row): row.measures.throughput.value for row in rows if row.measures is not None}
    most = max(values.values(), default=0.0)

    def drawn(row: Row) -> str | None:
        return bar(values[id(row)], most) if id(row) in values and len(values) > 1 else None

    return make_column("bar", drawn, title=" ", priority=4, picture=True)

"""What processes are to predict, and what they measured of it as the record of a run."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from bench.errors import ConfigurationError
from bench.records.prediction import Offline, Percentile, Prediction, SingleStream
from bench.records.result import Dataset
from bench.scenarios.suite import PlannedRun
from bench.stats.order_statistics import TooFewError, bucket_of, fewest_values, percentile
from bench.worker.protocol.replies import PredictionWindows
from bench.worker.protocol.requests import PredictionPlan

#: Turns of some milliseconds to a second: what the machine does meanwhile is spread over all that takes turns.
_TURNS: Final = 20
#: Of batches: a few images, the tutorial's, and many. Each is a shape that some frameworks compile.
_BATCH_SIZES: Final = (10, 100, 1000)
#: Images of a window of batches.
_OFFLINE_SAMPLES: Final = 1000
_PERCENTILES: Final = (0.5, 0.9, 0.95, 0.99, 0.999)
#: Without this percentile nothing is measured.
_LEAST: Final = 0.99


def prediction_plan(dataset: Dataset) -> PredictionPlan:
    """Return what each process predicts: every test image one by one, and some of them in batches.

    Raises `ConfigurationError` where the test images are too few for the 99th percentile.
    """
    queries, fewest = dataset.test_samples // _TURNS, fewest_values(_LEAST)
    if queries * _TURNS < fewest:
        raise ConfigurationError(
            f"prediction is measured by its 99th percentile, which takes {fewest} queries at least, and each is for "
            f"another test image: {dataset.name} has {dataset.test_samples:,}. Choose a larger data set, or leave "
            "--predict out"
        )
    return PredictionPlan(
        turns=_TURNS,
        queries=queries,
        batch_sizes=tuple(size for size in _BATCH_SIZES if size <= dataset.test_samples),
        samples=min(_OFFLINE_SAMPLES, dataset.test_samples),
    )


def check_queries(plan: Iterable[PlannedRun], dataset: Dataset) -> None:
    """Raise `ConfigurationError` where a plan predicts and the test images are too few."""
    if any(planned.predict for planned in plan):
        prediction_plan(dataset)


def prediction_of(windows: PredictionWindows | None) -> Prediction | None:
    """Return the record of what a process predicted."""
    if windows is None:
        return None
    seconds: dict[tuple[int, int], list[float]] = defaultdict(list)
    for window in windows.offline:
        seconds[window.batch_size, window.samples].append(window.seconds)
    return Prediction(
        offline=tuple(
            Offline(batch_size=size, samples=samples, seconds=tuple(taken))
            for (size, samples), taken in sorted(seconds.items())
        ),
        single_stream=_single_stream(windows),
    )


def _single_stream(windows: PredictionWindows) -> SingleStream:
    ascending = sorted(itertools.chain.from_iterable(window.ns for window in windows.queries))
    return SingleStream(
        queries=len(ascending),
        warm_up=windows.ready.warm_up + sum(window.warm_up for window in windows.queries),
        timer_overhead_ns=windows.ready.timer_overhead_ns,
        min_ns=ascending[0],
        percentiles=tuple(_percentiles(ascending)),
        max_ns=ascending[-1],
        mean_ns=sum(ascending) / len(ascending),
        buckets=tuple(sorted(Counter(map(bucket_of, ascending)).items())),
        mismatches=sum(window.mismatches for window in windows.queries),
        involuntary_context_switches=sum(window.involuntary_context_switches for window in windows.queries),
    )


def _percentiles(ascending: Sequence[int]) -> Iterator[Percentile]:
    """Yield those that so many queries can carry."""
    for fraction in _PERCENTILES:
        try:
            ns, low_ns, high_ns = percentile(ascending, fraction)
        except TooFewError:
            continue
        yield Percentile(fraction=fraction, ns=ns, low_ns=low_ns, high_ns=high_ns)

"""What a result file holds of predicting: single images one after the other, and batches."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from bench.ranges import Count, PositiveCount, PositiveFraction, PositiveRate, PositiveSeconds
from bench.records.base import Record


class Percentile(Record, frozen=True):
    """A percentile of the queries of one process: a time that was measured, and the ends of its 95 % interval."""

    #: Share of the queries that took at most so long: 0.99.
    fraction: PositiveFraction
    ns: PositiveCount
    #: Two times that were measured, too. They hold for this process, whose queries share its state.
    low_ns: PositiveCount
    high_ns: PositiveCount


class SingleStream(Record, frozen=True, kw_only=True):
    """Images that were predicted one after the other: each from an array in host memory to a digit in Python.

    The next one begins when the last is done, so that this is service time, without any wait for others.
    """

    #: Each of another image of the test set, in a seeded order, until all were asked for.
    queries: PositiveCount
    #: Queries before them, which do not count.
    warm_up: Count
    #: Between two readings of the clock that have nothing between them, at the median. It is in every time below.
    timer_overhead_ns: Count
    min_ns: PositiveCount
    #: By their fractions, ascending. One that takes more queries than there were is absent.
    percentiles: tuple[Percentile, ...]
    max_ns: PositiveCount
    mean_ns: PositiveRate
    #: (lower edge in nanoseconds, queries), ascending: times cut to three significant digits.
    buckets: tuple[tuple[Count, PositiveCount], ...]
    #: Queries whose digit is not the one that the evaluation finds for the image with the same weights.
    mismatches: Count
    #: Times the kernel took a core away meanwhile.
    involuntary_context_switches: Count


class Offline(Record, frozen=True, kw_only=True):
    """Images of the test set that were predicted in batches: each from an array in host memory to digits there."""

    batch_size: PositiveCount
    #: Of each window; whole batches alone.
    samples: PositiveCount
    #: Of each window, in the order of time.
    seconds: Annotated[tuple[PositiveSeconds, ...], Meta(min_length=1)]


class Prediction(Record, frozen=True, kw_only=True):
    """How fast a process predicted with the weights that it had trained, on its first context."""

    #: By their batch sizes, ascending.
    offline: tuple[Offline, ...] = ()
    #: None: no images were predicted one by one.
    single_stream: SingleStream | None = None

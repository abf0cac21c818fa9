"""What training costs at a price that a user names. It is reckoned when it is shown, and stands in no result file."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from bench.records.environment import ClusterHost
from bench.records.result import Run
from bench.scenarios.scenario import Scenario
from bench.stats.intervals import Estimate

_HOUR_SECONDS: Final = 3600.0
_MILLION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """What a machine costs."""

    per_hour: float
    #: As it is written behind the number; "": not said.
    currency: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What the training of a row costs: by its epoch windows alone, but for the last."""

    per_epoch: Estimate
    per_million_images: Estimate
    #: None where a process did not reach the target, or the network has none.
    to_accuracy: float | None
    #: All that a process takes, as a cloud bills it: start-up, first step, warm-up, epochs and evaluation. Median over
    #: processes; None where they took turns, and so waited for each other.
    whole_run: float | None


def bill_of(
    price_per_hour: float | None,
    runs: Sequence[Run],
    throughput: Estimate,
    train_samples: int,
    to_accuracy_seconds: float | None,
) -> Bill | None:
    """Return what a row costs; None without a price."""
    if price_per_hour is None:
        return None
    per_second, alone = price_per_hour / _HOUR_SECONDS, all(run.block is None for run in runs)
    return Bill(
        per_epoch=cost_of_images(price_per_hour, throughput, train_samples),
        per_million_images=cost_of_images(price_per_hour, throughput),
        to_accuracy=None if to_accuracy_seconds is None else per_second * to_accuracy_seconds,
        whole_run=per_second * statistics.median(map(_process_seconds, runs)) if alone else None,
    )


def cost_of_images(price_per_hour: float, throughput: Estimate, images: int = _MILLION) -> Estimate:
    """Return what it costs to train so many images, each once."""
    return throughput.inverse(price_per_hour / _HOUR_SECONDS * images)


def price_per_hour(hosts: Sequence[ClusterHost], scenario: Scenario, price: Price | None = None) -> float | None:
    """Return what the machines of a scenario cost together; None unless the price of each is known.

    `price` is that of each machine whose price the hosts file does not tell.
    """
    other = None if price is None else price.per_hour
    used = hosts[scenario.first_host : scenario.first_host + scenario.hosts]
    prices = [other if host.price_per_hour is None else host.price_per_hour for host in used] or [other]
    known = [each for each in prices if each is not None]
    return math.fsum(known) if len(known) == max(1, scenario.hosts) else None


def _process_seconds(run: Run) -> float:
    windows = (epoch.epoch_seconds + (epoch.evaluation_seconds or 0.0) for epoch in run.epochs)
    return run.startup_seconds + run.first_step_seconds + run.warm_up_seconds + math.fsum(windows)

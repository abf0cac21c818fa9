"""The same code against itself for a few seconds: what this machine's numbers are worth right now.

Two live processes of the tutorial's MLP take turns, ABBA and BAAB; each four windows are a comparison in which drift
cancels, as in a block of the gate. A gate has fresh processes for every block, which differ a little more than these.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.experiments import pilot
from bench.records.result import Dataset
from bench.scenarios.scenario import Scenario, tutorial_setting
from bench.stats.intervals import detectable_effect, t_summary
from bench.stats.paired import Order, effect
from bench.worker import session
from bench.worker.process import Cancellation, Interpreter
from bench.worker.session import Session
from mnist_core.recipe import Network

#: Of the windows, all together.
SECONDS: Final = 20.0
#: Of the gate's: a 5 % test of one scenario that finds nine slowdowns of ten above its margin.
_ALPHA, _MARGIN = 0.05, math.log(1.02)
_FEWEST: Final = 3
_PILOT_WINDOWS: Final = 2
_LIFE_SECONDS: Final = 300.0
_COMMAND_SECONDS: Final = 60.0
_SEED: Final = 42


@dataclass(frozen=True, slots=True, kw_only=True)
class AATest:
    """What identical code seemed to differ by."""

    #: Comparisons of four windows.
    n: int
    #: Of all windows.
    seconds: float
    #: Mean of the comparisons, as a ratio - 1.
    difference: float
    #: Standard deviation of one comparison, as a ratio - 1.
    spread: float
    #: The slowdown that so many comparisons would show in nine of ten cases, as a ratio - 1.
    detectable: float


def run_aa_test(
    data_directory: Path, dataset: Dataset, cores: int, stop: Cancellation, *, on_comparison: Callable[[float], None]
) -> AATest | None:
    """None where someone asked to stop. Raises `SessionError` where the tutorial's loop does not work.

    `on_comparison` is told the share of the time that is over.
    """
    scenario = tutorial_setting(Network.MLP)
    request = session.session_request(
        data_directory, dataset, _SEED, scenario.threads_per_context(cores), scenario.engine
    )
    with (
        session.start(
            Interpreter(), request, life_seconds=_LIFE_SECONDS, command_seconds=_COMMAND_SECONDS, stop=stop
        ) as first,
        session.start(
            Interpreter(), request, life_seconds=_LIFE_SECONDS, command_seconds=_COMMAND_SECONDS, stop=stop
        ) as second,
    ):
        return _take_turns((first, second), scenario, dataset.train_samples, stop, on_comparison)


def _take_turns(
    sides: tuple[Session, Session],
    scenario: Scenario,
    train_samples: int,
    stop: Cancellation,
    on_comparison: Callable[[float], None],
) -> AATest | None:
    for side in sides:
        side.wait_until_ready()
    seconds = pilot.seconds_per_sample(sides[0], scenario, train_samples, windows=_PILOT_WINDOWS)
    window = pilot.window_size(scenario.batch_size, seconds, train_samples)
    for side in sides:
        side.set_up(scenario, window.epoch_samples)
        side.run_window(window.epochs)  # warm-up: not counted
    effects: list[float] = []
    elapsed = 0.0
    for order in itertools.cycle((Order.ABBA, Order.BAAB)):
        turns = (0, 1, 1, 0) if order is Order.ABBA else (1, 0, 0, 1)
        windows = [sides[turn].run_window(window.epochs) for turn in turns]
        if stop.requested:
            return None
        elapsed += sum(each.seconds for each in windows)
        effects.append(effect(order, [math.log(each.seconds / each.samples) for each in windows]))
        on_comparison(min(1.0, elapsed / SECONDS))
        if elapsed >= SECONDS and len(effects) >= _FEWEST:
            return aa_test_of(effects, elapsed)
    raise AssertionError("a cycle ends by itself")


def aa_test_of(effects: list[float], seconds: float) -> AATest:
    """From the logarithmic effects of at least two comparisons."""
    summary = t_summary(effects)
    assert summary.error is not None
    return AATest(
        n=len(effects),
        seconds=seconds,
        difference=math.expm1(summary.value),
        spread=math.expm1(summary.error * math.sqrt(summary.n)),
        detectable=detectable_effect(summary, _MARGIN, _ALPHA),
    )

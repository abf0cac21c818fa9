"""An A/A test: the same code against itself for a few seconds, to see what this machine can tell apart now.

Two live processes of the tutorial's MLP take turns, ABBA and BAAB. Four windows are a comparison in which drift
cancels, as in a block of the gate. A gate has fresh processes for every block, which differ a little more than these.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.experiments import pilot
from bench.records.result import Dataset
from bench.scenarios.scenario import Scenario, tutorial_setting
from bench.stats.intervals import detectable_effect, t_summary
from bench.stats.paired import Order, Side, effect
from bench.worker import session
from bench.worker.process import Cancellation, Interpreter
from bench.worker.session import Session
from mnist_core.recipe import Network

#: Duration of all windows together.
SECONDS: Final = 20.0
#: As the gate's: a 5 % test of one scenario, of slowdowns above the margin (a log ratio).
_ALPHA, _MARGIN = 0.05, math.log(1.02)
_FEWEST: Final = 3
_PILOT_WINDOWS: Final = 2
_LIFE_SECONDS: Final = 300.0
_COMMAND_SECONDS: Final = 60.0
_SEED: Final = 42


@dataclass(frozen=True, slots=True, kw_only=True)
class AATest:
    """How much identical code seemed to differ. Differences are relative (0.02 = 2 % slower)."""

    #: Number of comparisons, each of four windows.
    n: int
    #: Duration of all windows together.
    seconds: float
    #: Mean of the comparisons.
    difference: float
    #: Standard deviation of one comparison.
    spread: float
    #: Slowdown that so many comparisons would show in nine cases of ten.
    detectable: float


def run_aa_test(
    data_directory: Path, dataset: Dataset, cores: int, stop: Cancellation, *, on_comparison: Callable[[float], None]
) -> AATest | None:
    """Run the test; return None if asked to stop. Raises `SessionError` if the tutorial's loop does not work.

    `on_comparison` is told the elapsed share of the time after each comparison.
    """
    scenario = tutorial_setting(Network.MLP)
    request = session.session_request(
        data_directory, dataset, _SEED, scenario.threads_per_context(cores), scenario.engine
    )
    start = functools.partial(
        session.start, Interpreter(), request, life_seconds=_LIFE_SECONDS, command_seconds=_COMMAND_SECONDS, stop=stop
    )
    with start() as first, start() as second:
        sessions = {Side.BASELINE: first, Side.CONTENDER: second}
        return _take_turns(sessions, scenario, dataset.train_samples, stop, on_comparison)


def _take_turns(
    sessions: Mapping[Side, Session],
    scenario: Scenario,
    train_samples: int,
    stop: Cancellation,
    on_comparison: Callable[[float], None],
) -> AATest | None:
    for each in sessions.values():
        each.wait_until_ready()
    seconds = pilot.seconds_per_sample(sessions[Side.BASELINE], scenario, train_samples, windows=_PILOT_WINDOWS)
    window = pilot.window_size(scenario.batch_size, seconds, train_samples)
    for each in sessions.values():
        each.set_up(scenario, window.epoch_samples)
        each.run_window(window.epochs)  # warm-up: not counted
    effects: list[float] = []
    elapsed = 0.0
    for order in itertools.cycle((Order.ABBA, Order.BAAB)):
        windows = [sessions[side].run_window(window.epochs) for side in order.sides]
        if stop.requested:
            return None
        elapsed += sum(done.seconds for done in windows)
        effects.append(effect(order, [math.log(done.seconds / done.samples) for done in windows]))
        on_comparison(min(1.0, elapsed / SECONDS))
        if elapsed >= SECONDS and len(effects) >= _FEWEST:
            return aa_test_of(effects, elapsed)
    raise AssertionError("a cycle ends by itself")


def aa_test_of(effects: list[float], seconds: float) -> AATest:
    """Evaluate the effects of two or more comparisons: log ratios, shape (n,)."""
    summary = t_summary(effects)
    assert summary.error is not None
    return AATest(
        n=len(effects),
        seconds=seconds,
        difference=math.expm1(summary.value),
        spread=math.expm1(summary.error * math.sqrt(summary.n)),
        detectable=detectable_effect(summary, _MARGIN, _ALPHA),
    )

"""An A/A test: the same code against itself for a few seconds, to see what this machine can tell apart now.

Two live processes of the tutorial's MLP take turns, A B and then B A. Each four windows are a comparison in which drift
cancels, as in a block of the gate. A gate has fresh processes for every block, which differ a little more than these.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.experiments import blocks
from bench.experiments.blocks import Arm, Task, lasting
from bench.experiments.pilot import LEAD_IN_SECONDS, WINDOW_SECONDS
from bench.records.result import Dataset
from bench.scenarios.scenario import tutorial_setting
from bench.stats.intervals import detectable_effect, t_summary
from bench.stats.paired import Order, Side, effect
from bench.worker import session
from bench.worker.process import Cancellation, Interpreter
from bench.worker.session import SessionError
from mnist_core.recipe import Network

#: Duration of all turns together, roughly, with what leads in to them.
SECONDS: Final = 20.0
#: As the gate's: a 5 % test of one scenario, of slowdowns above the margin (a log ratio).
_ALPHA, _MARGIN = 0.05, math.log(1.02)
_FEWEST: Final = 3
#: Images of an epoch; a turn is several of them.
_EPOCH_SAMPLES: Final = 1000
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
    data_directory: Path, dataset: Dataset, cores: int, stop: Cancellation, *, on_turn: Callable[[float], None]
) -> AATest | None:
    """Run the test; return None if asked to stop. Raises `SessionError` if the tutorial's loop does not work.

    `on_turn` is told the share of the turns that were taken so far, each time that one begins.
    """
    scenario = tutorial_setting(Network.MLP)
    request = session.session_request(
        data_directory, dataset, _SEED, scenario.threads_per_context(cores), scenario.engine
    )
    start = functools.partial(
        session.start, Interpreter(), request, life_seconds=_LIFE_SECONDS, command_seconds=_COMMAND_SECONDS, stop=stop
    )
    task = Task(
        scenario=scenario,
        epoch_samples=min(dataset.train_samples, _EPOCH_SAMPLES),
        epochs=lasting(WINDOW_SECONDS),
    )
    turn_seconds = LEAD_IN_SECONDS + WINDOW_SECONDS
    turns = 2 * max(_FEWEST, math.ceil(SECONDS / (len(Order.ABBA.sides) * turn_seconds)))
    begun = itertools.count()
    outcome = blocks.measure_block(
        [Arm(label=side, tasks=(task,), start=start) for side in Side],
        turns=turns,
        stop=stop,
        needed=tuple(Side),
        on_turn=lambda _side, _scenario: on_turn(min(1.0, next(begun) / (len(Side) * turns))),
    )
    if stop.requested:
        return None
    for failure in outcome.failures.values():
        raise SessionError(failure)
    windows = [outcome.measurements[side][0].windows for side in Side]
    a, b = ([math.log(window.seconds / window.samples) for window in of_one] for of_one in windows)
    effects = [effect(Order.ABBA, (a[turn], b[turn], b[turn + 1], a[turn + 1])) for turn in range(0, turns, 2)]
    return aa_test_of(effects, sum(window.seconds for of_one in windows for window in of_one))


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

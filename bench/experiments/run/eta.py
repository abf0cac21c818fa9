"""Estimate roughly how long a run will take, for `--dry-run` and for the time left; never for a result."""

from __future__ import annotations

import math

from bench.experiments.pilot import lead_in, turn_epochs
from bench.records.result import ResultSet, Run, key
from bench.scenarios.suite import PlannedRun
from bench.worker.session import TEST_SAMPLES
from mnist_core.recipe import Hybridize, Network

#: Starting the interpreter, importing the framework, reading the data. This and the costs below are of the machine of
#: results/baselines/standard-intel-xeon-2-cores.json, rounded: the tests compare what they give with what it took.
STARTUP_SECONDS = 2.5
#: A ceiling: a dozen sizes on the same machine.
CEILING_SECONDS = 10.0
#: An exchange curve: starting the ranks, and a dozen sizes on one machine.
CURVE_SECONDS = 10.0
#: Compiling a step for each of its shapes; negligible in the other modes.
_COMPILE_SECONDS = {Hybridize.COMPILE: 20.0, Hybridize.JIT: 4.0, Hybridize.SCAN: 6.0}
#: Seconds (per update and context, per image trained, per image evaluated).
_COSTS: dict[str, tuple[float, float, float]] = {
    Network.MLP: (1e-3, 1e-5, 7e-6),
    Network.LENET: (1e-3, 4.5e-4, 1.5e-4),
}
#: Of an image that is predicted by itself, which is mostly what a call costs.
_QUERY_SECONDS = 2e-4
#: Times that each test image is predicted, all batches together: to be compared with, one by one, and twice in batches.
_PREDICTED = 4


def pace(*, expected_seconds: float, real_seconds: float, trusted_seconds: float) -> float:
    """Return how many real seconds an expected second takes, by what is done; 1 if nothing is.

    The observed pace counts the more the more is done: half, on a logarithmic scale, once `trusted_seconds` of the
    expected ones are done.
    """
    if expected_seconds <= 0 or real_seconds <= 0:
        return 1.0
    weight = expected_seconds / (expected_seconds + trusted_seconds)
    return math.pow(real_seconds / expected_seconds, weight)


def pace_of(result_set: ResultSet) -> float | None:
    """Return how many seconds an expected second took in a file; None where it holds no run."""
    planned = {key(each): each for each in result_set.plan}
    dataset, runs = result_set.dataset, [run for run in result_set.runs if key(run) in planned]
    expected = sum(expected_seconds(planned[key(run)], dataset.train_samples, dataset.test_samples) for run in runs)
    alone = sum(_seconds_alone(run) for run in runs if run.block is None)
    in_turns = sum(result_set.blocks[block].seconds for block in {run.block for run in runs} if block is not None)
    return (alone + in_turns) / expected if runs else None


def _seconds_alone(run: Run) -> float:
    """Return what a process that was alone took."""
    windows = sum(epoch.epoch_seconds + (epoch.evaluation_seconds or 0.0) for epoch in run.epochs)
    return run.startup_seconds + run.first_step_seconds + run.warm_up_seconds + windows


def seconds_left(pieces: int, mean_seconds: float, waited_seconds: float) -> float:
    """Return the seconds left for so many equal pieces, the first of which began `waited_seconds` ago.

    A piece that takes longer than the mean is taken to end at once.
    """
    if pieces == 0:
        return 0.0
    return max(0.0, mean_seconds - waited_seconds) + mean_seconds * (pieces - 1)


def expected_seconds(planned: PlannedRun, train_samples: int, test_samples: int) -> float:
    """Estimate the seconds of one run; a custom network is taken for a LeNet."""
    per_update, per_image, per_evaluated = _COSTS.get(planned.scenario.network, _COSTS[Network.LENET])
    samples = min(planned.recipe.samples or train_samples, train_samples)
    updates = math.ceil(samples / planned.scenario.batch_size)
    training = updates * per_update * planned.scenario.part_count + samples * per_image
    starts = math.ceil(planned.scenario.ranks / planned.scenario.hosts)
    once = STARTUP_SECONDS * starts + _COMPILE_SECONDS.get(planned.scenario.hybridize, 0.0)
    if planned.predict:
        once += test_samples * (_QUERY_SECONDS + _PREDICTED * per_evaluated)
    if planned.in_turns:
        turn = training * (turn_epochs(training) + lead_in(training))
        return once + 2 * training + planned.recipe.epochs * turn + min(test_samples, TEST_SAMPLES) * per_evaluated
    return once + planned.recipe.epochs * (training + test_samples * per_evaluated)

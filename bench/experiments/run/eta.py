"""Estimate roughly how long a run will take, for `--dry-run` and for the time left; never for a result."""

from __future__ import annotations

import math

from bench.experiments.pilot import WINDOW_SECONDS
from bench.scenarios.suite import PlannedRun
from bench.worker.session import TEST_SAMPLES
from mnist_core.recipe import Hybridize, Network

#: Starting the interpreter, importing the framework, reading the data. This and the costs below were measured on a
#: 2-core AVX2 machine, and rounded.
STARTUP_SECONDS = 3.0
#: A ceiling: a dozen sizes on the same machine.
CEILING_SECONDS = 10.0
#: Compiling a step for each of its shapes; negligible in the other modes.
_COMPILE_SECONDS = {Hybridize.COMPILE: 20.0, Hybridize.JIT: 4.0, Hybridize.SCAN: 6.0}
#: Seconds (per update and context, per image trained, per image evaluated).
_COSTS: dict[str, tuple[float, float, float]] = {
    Network.MLP: (1.5e-3, 2e-5, 1.5e-5),
    Network.LENET: (2.5e-3, 1e-3, 5e-4),
}


def pace(*, expected_seconds: float, real_seconds: float, trusted_seconds: float) -> float:
    """Return how many real seconds an expected second takes, by what is done; 1 if nothing is.

    The observed pace counts the more the more is done: half, on a logarithmic scale, once `trusted_seconds` of the
    expected ones are done.
    """
    if expected_seconds <= 0 or real_seconds <= 0:
        return 1.0
    weight = expected_seconds / (expected_seconds + trusted_seconds)
    return math.pow(real_seconds / expected_seconds, weight)


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
    training = updates * per_update * len(planned.scenario.contexts) + samples * per_image
    once = STARTUP_SECONDS + _COMPILE_SECONDS.get(planned.scenario.hybridize, 0.0)
    if planned.in_turns:
        turns = planned.recipe.epochs * max(training, WINDOW_SECONDS)
        return once + training + turns + min(test_samples, TEST_SAMPLES) * per_evaluated
    return once + planned.recipe.epochs * (training + test_samples * per_evaluated)

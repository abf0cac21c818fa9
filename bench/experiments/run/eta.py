"""How long a run will take, roughly: for `--dry-run` and for the time left. Never for a result."""

from __future__ import annotations

import math

from bench.scenarios.suite import PlannedRun
from mnist_core.recipe import Hybridize, Network

#: Interpreter, framework import and data; seconds. This and the costs below: a 2-core AVX2 machine, rounded.
STARTUP_SECONDS = 3.0
#: Measuring a ceiling: a dozen sizes on the same machine.
CEILING_SECONDS = 10.0
#: Compiling a step for each of its shapes; nothing worth mentioning where it is not here.
_COMPILE_SECONDS = {Hybridize.COMPILE: 20.0, Hybridize.JIT: 4.0, Hybridize.SCAN: 6.0}
#: (per update and context, per image trained, per image evaluated); seconds.
_COSTS: dict[str, tuple[float, float, float]] = {
    Network.MLP: (1.5e-3, 2e-5, 1.5e-5),
    Network.LENET: (2.5e-3, 1e-3, 5e-4),
}


def pace(*, expected_seconds: float, real_seconds: float, trusted_seconds: float) -> float:
    """Real seconds for an expected one, from what is done; 1 before that.

    Of the logarithm of what was seen so far half is believed once `trusted_seconds` of the expected ones are done.
    """
    if expected_seconds <= 0 or real_seconds <= 0:
        return 1.0
    weight = expected_seconds / (expected_seconds + trusted_seconds)
    return math.pow(real_seconds / expected_seconds, weight)


def seconds_left(pieces: int, mean_seconds: float, waited_seconds: float) -> float:
    """Of so many pieces alike, the first of which has gone on for a while; beyond the mean it will end soon."""
    if pieces == 0:
        return 0.0
    return max(0.0, mean_seconds - waited_seconds) + mean_seconds * (pieces - 1)


def expected_seconds(planned: PlannedRun, train_samples: int, test_samples: int) -> float:
    """A user's own network is taken for a LeNet."""
    per_update, per_image, per_evaluated = _COSTS.get(planned.scenario.network, _COSTS[Network.LENET])
    samples = min(planned.recipe.samples or train_samples, train_samples)
    updates = math.ceil(samples / planned.scenario.batch_size)
    epoch = updates * per_update * len(planned.scenario.contexts) + samples * per_image + test_samples * per_evaluated
    compiling = _COMPILE_SECONDS.get(planned.scenario.hybridize, 0.0)
    return STARTUP_SECONDS + compiling + planned.recipe.epochs * epoch

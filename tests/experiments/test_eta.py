"""How long a run is expected to take: by committed files, and by what a machine took before."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from bench.experiments.run.eta import expected_seconds, pace_of
from bench.records import store
from bench.records.result import ResultSet
from bench.scenarios.suite import expand, parse_suite
from tests.support.executor import A_BLOCK, in_turns
from tests.support.records import a_result_set, a_run, planned

BASELINES = Path(__file__).parents[2] / "results" / "baselines"


def test_the_costs_are_those_of_the_committed_file() -> None:
    """What its runs are expected to take is what they took, to a tenth."""
    assert pace_of(store.read(BASELINES / "standard-intel-xeon-2-cores.json", ResultSet)) == pytest.approx(1, abs=0.1)


def test_the_pace_of_another_file_is_in_a_sensible_range() -> None:
    """Another machine and other suites, by the same costs: the estimate is rough, and of the right size."""
    for name in ("standard-amd-epyc-2-cores", "ablation-intel-xeon-2-cores", "tuned-intel-xeon-2-cores"):
        pace = pace_of(store.read(BASELINES / f"{name}.json", ResultSet))
        assert pace is not None
        assert 0.4 < pace < 2.5


def test_the_pace_is_that_of_runs_and_blocks() -> None:
    """A process that was alone took the sum of its parts, and a block as long as it says, however many were in it."""
    runs = [a_run(), *(in_turns(a_run(repeat=1 + place), 0, place) for place in range(3))]
    result_set = a_result_set(*runs, blocks=(A_BLOCK,))
    alone = runs[0]
    windows = sum(epoch.epoch_seconds + (epoch.evaluation_seconds or 0) for epoch in alone.epochs)
    took = alone.startup_seconds + alone.first_step_seconds + alone.warm_up_seconds + windows + A_BLOCK.seconds
    expected = sum(expected_seconds(planned(run), 60_000, 10_000) for run in runs)
    assert pace_of(result_set) == pytest.approx(took / expected)


def test_a_file_without_runs_has_no_pace() -> None:
    assert pace_of(msgspec.structs.replace(a_result_set(), runs=())) is None


def test_a_turn_is_whole_epochs() -> None:
    """Those that lead in to it are uncounted, and it has twice as many."""
    suite = """
title = "turns"
[[matrix]]
network = ["lenet"]
contexts = ["cpu(0)"]
batch_size = [1000000]
sampling = { in_turns = true, repeats = 1, epochs = EPOCHS, samples = 70 }
"""
    few, many = (
        expected_seconds(expand(parse_suite(suite.replace("EPOCHS", str(epochs)), where="here"))[0], 60_000, 10_000)
        for epochs in (1, 11)
    )
    assert (many - few) / 10 == pytest.approx((4 + 2) * (1e-3 + 70 * 4.5e-4))

"""Measurements become a breakdown of an epoch, and MXNet's trace is read; tests/system measures."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest

from bench.analysis.roofline import costs_of
from bench.experiments.profile import trace
from bench.experiments.profile.breakdown import break_down, middle_mean, operator_flop
from bench.records.profile import OperatorTimes, inconsistencies
from bench.render.views.profiles import profile_tables
from bench.worker.protocol.requests import RAW_TRACE_FILE
from tests.support.profile import a_profile, phase_rounds

# --- what is made of the measurements ---------------------------------------------------------------------------------


def test_phases_and_rest_are_the_epoch_and_the_sum_is_a_test() -> None:
    """The phases have measurements of their own, so that their sum need not be the epoch."""
    breakdown = break_down(a_profile(phases=phase_rounds(adds=(1, 2, 3, 4, 5, 6), epoch=20.0)))
    assert [part.seconds for part in breakdown.parts] == pytest.approx([1, 2, 3, 4, 5, 6])
    assert breakdown.closure == pytest.approx(21 / 20)
    assert breakdown.together.seconds + breakdown.rest_seconds == pytest.approx(20)


@pytest.mark.parametrize(("epoch", "closes"), [(22.2, False), (22.1, True), (20.0, True), (19.9, False)])
def test_the_sum_must_be_the_epoch(epoch: float, *, closes: bool) -> None:
    """It must be within 95 to 105 % of it."""
    assert break_down(a_profile(phases=phase_rounds(adds=(1, 2, 3, 4, 5, 6), epoch=epoch))).closes is closes


def test_overlap_is_what_waiting_costs() -> None:
    """It is the epoch less its phases one after the other."""
    breakdown = break_down(a_profile(phases=phase_rounds(adds=(1, 1, 1, 1, 1, 1), epoch=6.0, waited=1.5)))
    assert breakdown.together.waited_seconds == pytest.approx(9.0)
    assert breakdown.overlap_seconds == pytest.approx(-3.0)


def test_an_interruption_of_one_round_does_not_count() -> None:
    """The mean is that of the middle half of the rounds."""
    assert middle_mean([1.0, 1.2, 1.1, 1.3, 50.0, 1.2, 0.1, 1.2]) == pytest.approx(1.175)
    assert middle_mean([2.0, 4.0]) == 3.0
    assert middle_mean([7.0]) == 7.0


@pytest.mark.parametrize("network", ["mlp", "lenet"])
def test_operators_share_the_cost_of_a_network(network: str) -> None:
    """Forward and backward together cost what a training step does."""
    costs = costs_of(network)
    assert costs is not None
    assert sum(operator_flop(network).values()) == costs.flop_per_image
    assert operator_flop("package.module:build") == {}


def test_rates_and_shares_of_operators() -> None:
    """Rates are operations over time, and shares sum to one."""
    profile = a_profile(
        phases=phase_rounds(adds=(1, 1, 1, 1, 1, 1), epoch=6.0, steps=10, samples=1000),
        operators=(
            OperatorTimes(name="FullyConnected", calls=30, total_seconds=0.003, min_seconds=0, max_seconds=0.001),
            OperatorTimes(name="take", calls=10, total_seconds=0.001, min_seconds=0, max_seconds=0.001),
        ),
    )
    dense, take = break_down(profile).operators
    assert dense.gflop_per_second == pytest.approx(2 * (784 * 128 + 128 * 64 + 64 * 10) * 1000 / 0.003 / 1e9)
    assert (dense.calls_per_step, dense.mean_seconds, dense.share) == pytest.approx((3, 1e-4, 0.75))
    assert take.gflop_per_second is None
    assert take.cumulated_share == pytest.approx(1.0)


def test_records_that_contradict_themselves_are_named() -> None:
    """A phase lacks some rounds, or phases are in the wrong order."""
    profile = a_profile(phases=phase_rounds(adds=(1, 2, 3, 4, 5, 6), epoch=20.0))
    phases = profile.phases.phases
    cut = msgspec.structs.replace(phases[1], with_seconds=phases[1].with_seconds[:1])
    for wrong, words in (
        ((phases[0], cut, *phases[2:]), "input was not measured in all of 2 rounds"),
        (phases[::-1], "phases are not shuffle"),
        ((msgspec.structs.replace(phases[0], without_seconds=(1.0, 1.0)), *phases[1:]), "shuffle: only the first"),
    ):
        changed = msgspec.structs.replace(profile, phases=msgspec.structs.replace(profile.phases, phases=wrong))
        assert any(words in line for line in inconsistencies(changed))


# --- MXNet's trace ----------------------------------------------------------------------------------------------------

HASH = 13699914364291234831


def raw(*spans: tuple[str, int, int], thread: int = HASH) -> dict[str, object]:
    """Return a trace as MXNet writes it: operators twice, devices as processes."""
    events: list[dict[str, object]] = [
        {"ph": "M", "name": "process_name", "pid": 0, "args": {"name": "cpu/0"}},
        {"ph": "M", "name": "process_name", "pid": 7, "args": {"name": "operator"}},
        {"ph": "M", "name": "process_name", "pid": 8, "args": {"name": "phases"}},
        {"ph": "b", "cat": "phases", "name": "forward", "ts": 90, "pid": 8, "tid": 5, "id": 5},
        {"ph": "e", "cat": "phases", "name": "forward", "ts": 99, "pid": 8, "tid": 5, "id": 5},
    ]
    for name, begin, end in spans:
        for kinds, pid in (("BE", 0), ("be", 7)):
            for kind, at in zip(kinds, (begin, end), strict=True):
                events.append({"ph": kind, "cat": "operator", "name": name, "ts": at, "pid": pid, "tid": thread})
    return {"traceEvents": events, "displayTimeUnit": "ms"}


def read(folder: Path, content: object) -> trace.Trace:
    (folder / RAW_TRACE_FILE).write_text(content if isinstance(content, str) else json.dumps(content))
    return trace.read(folder)


def test_an_operator_recorded_around_itself_is_one(tmp_path: Path) -> None:
    """The naive engine writes the inner record, then the one around it."""
    calls = (("dot", 101, 110), ("dot", 100, 111)), (("dot", 113, 115),) * 2, (("dot", 115, 115),) * 4
    spans = [*itertools.chain(*calls), ("add", 120, 121)]
    found = trace.times(read(tmp_path, raw(*spans)))
    assert [(each.name, each.calls) for each in found] == [("dot", 4), ("add", 1)]
    assert found[0].total_seconds == pytest.approx(11e-6)


def test_operators_one_after_the_other_are_as_many(tmp_path: Path) -> None:
    """That holds where one took no whole microsecond, too."""
    found = trace.times(read(tmp_path, raw(("add", 100, 101), ("add", 101, 101), ("add", 102, 104), ("mul", 99, 105))))
    assert {each.name: each.calls for each in found} == {"add": 3, "mul": 1}


def test_the_written_trace_is_one_that_viewers_read(tmp_path: Path) -> None:
    """Whole events have small numbers, begin at zero, and the loop and the engine's threads are apart."""
    recorded = read(tmp_path, raw(("dot", 101, 110), ("add", 120, 121)))
    assert recorded.engine_threads == 1
    document = json.loads(trace.to_chrome(recorded, "mlp"))
    events = [event for event in document["traceEvents"] if event["ph"] == "X"]
    assert [(event["name"], event["ts"], event["dur"]) for event in events] == [
        ("forward", 0, 9), ("dot", 11, 9), ("add", 30, 1)
    ]  # fmt: skip
    assert len({(event["pid"], event["tid"]) for event in events}) == 2
    assert max(event["tid"] for event in events) < 2**31
    names = [event["args"]["name"] for event in document["traceEvents"] if event["ph"] == "M"]
    assert "cpu/0: thread 1" in names


@pytest.mark.parametrize(
    "content",
    ['{"traceEvents": [', "[]", "{}", '{"traceEvents": [{"ph": "E", "cat": "operator", "name": "a", "pid": 0}]}'],
)
def test_what_is_no_trace_is_an_error_of_one_line(tmp_path: Path, content: str) -> None:
    """MXNet's second trace of a process is such a file."""
    with pytest.raises(trace.TraceError, match="MXNet's trace"):
        read(tmp_path, content)
    with pytest.raises(trace.TraceError, match="No such file"):
        trace.read(tmp_path / "none")


def test_numbers_of_a_profile_are_finite() -> None:
    """That holds for one round, and for operators that took no time at all."""
    breakdown = break_down(
        a_profile(
            phases=phase_rounds(adds=(1, 1, 1, 1, 1, 1), epoch=6.0, rounds=1),
            operators=(OperatorTimes(name="FullyConnected", calls=1, total_seconds=0, min_seconds=0, max_seconds=0),),
        )
    )
    assert np.isfinite([breakdown.operators[0].share, breakdown.epoch_spread_seconds]).all()
    assert breakdown.operators[0].gflop_per_second is None


def test_a_phase_below_zero_is_explained() -> None:
    """A share of -30 % of the epoch is no fault of the program, and its reader cannot know that."""
    profile = a_profile(phases=phase_rounds(adds=(0.1, 0.2, 0.3, 0.5, -0.2, 0.1), epoch=1.0))
    phases, _operators = profile_tables(profile, break_down(profile))
    assert any(text.startswith("metric below 0: ") and "--rounds" in text for _mark, text in phases.notes)
    usual = a_profile()
    assert not any("below 0" in text for _mark, text in profile_tables(usual, break_down(usual))[0].notes)

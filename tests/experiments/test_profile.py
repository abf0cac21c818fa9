"""Where an epoch goes: the phases of every loop with real MXNet, and what is made of the measurements."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bench.analysis.roofline import costs_of
from bench.experiments.profile import trace
from bench.experiments.profile.breakdown import break_down, middle_mean, operator_flop
from bench.records.profile import EpochPhase, OperatorTimes, PhaseRounds, inconsistencies
from bench.records.result import Dataset, FailureReason
from bench.scenarios.scenario import Scenario, tuned
from bench.worker import main, protocol
from bench.worker.backends import base
from bench.worker.backends.base import Workload
from bench.worker.measure.instrument import EpochCutError, traced, truncated_after
from bench.worker.protocol import Event, FailureReply, PhasesReply, PhasesRequest, ProfileTarget, Reply, RoundDone
from mnist_core import datasets
from mnist_core.datasets import DatasetName
from mnist_core.idx import Split
from mnist_core.mxnet_border import gluon, mx, nd
from mnist_core.recipe import Hybridize, InputPipeline, Kvstore, MetricSync, Recipe, Update
from tests.support.idx_files import small_idx_folder
from tests.support.profile import a_profile, phase_rounds

TRAIN = 250
ONE, TWO, THREE = ("cpu(0)",), ("cpu(0)", "cpu(1)"), ("cpu(0)", "cpu(1)", "cpu(2)")
SCENARIOS = (
    Scenario(network="mlp", contexts=ONE),
    Scenario(network="lenet", contexts=TWO),
    Scenario(network="mlp", contexts=TWO, hybridize=Hybridize.ON, metric_sync=MetricSync.EPOCH),
    Scenario(network="mlp", contexts=TWO, hybridize=Hybridize.STATIC, update=Update.FLAT),
    Scenario(network="mlp", contexts=TWO, kvstore=Kvstore.LOCAL, update_on_kvstore=False),
    Scenario(network="mlp", contexts=ONE, hybridize=Hybridize.BOUND),
    Scenario(network="mlp", contexts=TWO, hybridize=Hybridize.BOUND, input_pipeline=InputPipeline.RESIDENT),
    msgspec.structs.replace(tuned("mlp"), contexts=TWO),
    tuned("lenet"),
    Scenario(network="mlp", contexts=THREE, batch_size=31),
)
EPOCH_PHASES = (EpochPhase.FORWARD, EpochPhase.BACKWARD, EpochPhase.METRIC, EpochPhase.UPDATE)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> datasets.Prepared:
    folder = small_idx_folder(tmp_path_factory.mktemp("data"), train=TRAIN, test=10)
    return datasets.obtain(DatasetName.AUTO, data_dir=folder, environ={})


@pytest.fixture
def ask(prepared: datasets.Prepared, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Reply]:
    """A worker's answer in this process."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def answer(
        scenario: Scenario,
        steps: int | None = 2,
        rounds: int = 1,
        on_event: Callable[[Event], None] = lambda _event: None,
    ) -> Reply:
        dataset = Dataset(name="custom", digest=prepared.digest, source="test", train_samples=TRAIN, test_samples=10)
        target = ProfileTarget(scenario=scenario, seed=3, data_directory=str(prepared.directory), dataset=dataset)
        request = PhasesRequest(target=target, steps=steps, rounds=rounds, omp_num_threads=1)
        reply = main.handle_request(msgspec.json.encode(request), on_event)
        assert isinstance(reply, PhasesReply | FailureReply)
        return reply

    return answer


def measured(reply: Reply) -> PhaseRounds:
    assert isinstance(reply, PhasesReply)
    return reply.rounds


# --- the phases of a loop ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_loop_has_every_phase(ask: Callable[..., Reply], scenario: Scenario) -> None:
    """Each is found, as often as the loop has steps and contexts, in every round."""
    rounds = measured(ask(scenario, steps=2, rounds=2))
    assert rounds.steps == 2
    assert rounds.samples == 2 * scenario.batch_size
    calls = {each.phase: each.calls for each in rounds.phases}
    per_context = 2 * len(scenario.contexts)
    assert calls == {
        EpochPhase.SHUFFLE: 1,
        EpochPhase.INPUT: 2,
        EpochPhase.FORWARD: per_context,
        EpochPhase.BACKWARD: per_context,
        EpochPhase.METRIC: 2,
        EpochPhase.UPDATE: 2,
    }
    assert inconsistencies(a_profile(phases=rounds, scenario=scenario)) == []
    assert all(min(each.waited_seconds) > 0 for each in rounds.phases)


def test_a_worker_tells_of_every_round(ask: Callable[..., Reply]) -> None:
    """Also that it is warm: the time before is not a round's."""
    events: list[Event] = []
    ask(Scenario(network="mlp", contexts=ONE), rounds=2, on_event=events.append)
    assert events == [RoundDone(done) for done in (0, 1, 2)]


def test_the_last_batch_may_be_smaller(ask: Callable[..., Reply]) -> None:
    """More steps than there are images for: the whole data set, its small batch included, also on idle contexts."""
    rounds = measured(ask(Scenario(network="mlp", contexts=THREE, batch_size=83), steps=100))
    assert (rounds.steps, rounds.samples) == (4, TRAIN)


def test_steps_are_chosen_so_that_an_epoch_can_be_measured(ask: Callable[..., Reply]) -> None:
    """At least ten, where there are so many images."""
    rounds = measured(ask(Scenario(network="mlp", contexts=ONE, batch_size=5), steps=None))
    assert 10 <= rounds.steps <= TRAIN / 5


def test_what_takes_long_is_the_phase_that_takes_long(
    ask: Callable[..., Reply], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network that sleeps is nearly all forward pass, and the phases sum to the epoch."""
    (tmp_path / "sleeping.py").write_text(
        "import time\n"
        "from mnist_core.networks import gluon, nn\n"
        "class Sleeping(gluon.Block):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        with self.name_scope():\n"
        "            self.last = nn.Dense(10)\n"
        "    def forward(self, x):\n"
        "        time.sleep(0.3)\n"
        "        return self.last(x)\n"
        "def build():\n"
        "    return Sleeping()\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    rounds = measured(ask(Scenario(network="sleeping:build", contexts=ONE), steps=1, rounds=2))
    breakdown = break_down(a_profile(phases=rounds))
    forward = breakdown.parts[2]
    assert forward.phase is EpochPhase.FORWARD
    # Wide, since two short rounds on a busy machine are no measurement: the sleep is far longer than the rest.
    assert forward.seconds / breakdown.epoch_seconds > 0.6
    assert forward.waited_seconds / breakdown.epoch_seconds > 0.6
    assert 0.6 < breakdown.closure < 1.6


def test_a_training_that_diverges_is_no_profile(ask: Callable[..., Reply], monkeypatch: pytest.MonkeyPatch) -> None:
    """Arithmetic on numbers that are none takes another time."""
    monkeypatch.setattr("bench.worker.measure.phases.Recipe", lambda seed: Recipe(seed=seed, learning_rate=1e30))
    reply = ask(Scenario(network="mlp", contexts=ONE))
    assert isinstance(reply, FailureReply)
    assert reply.reason is FailureReason.DIVERGED


# --- what is skipped and what is watched ------------------------------------------------------------------------------


@pytest.fixture
def subject(request: pytest.FixtureRequest, prepared: datasets.Prepared) -> Workload:
    train, _ = datasets.load(prepared.directory, digest=prepared.digest)
    train = Split(train.images[:200], train.labels[:200])
    made: Workload = base.create_workload(request.param, Recipe(), train)
    made.build()
    made.train_throwaway_batch(100)
    made.prepare()
    return made


def weights(subject: Workload) -> list[bytes]:
    """The bytes of each, on its first context."""
    owner: Any = getattr(subject, "_training", subject)
    return [parameter.list_data()[0].asnumpy().tobytes() for parameter in owner.net.collect_params().values()]


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[EpochPhase] = []

    def enter(self, phase: EpochPhase) -> None:
        self.told.append(phase)

    def leave(self, phase: EpochPhase) -> None:
        assert self.told[-1] is phase


LOOPS = pytest.mark.parametrize("subject", [SCENARIOS[0], SCENARIOS[3], SCENARIOS[7]], indirect=True, ids=str)


@LOOPS
@pytest.mark.parametrize("phase", list(EpochPhase))
def test_an_epoch_goes_just_so_far(subject: Workload, phase: EpochPhase) -> None:
    """Later phases are not done at all; the weights change in the last one alone."""
    before, heard = weights(subject), Listener()
    with traced(heard), truncated_after(phase):
        if phase is EpochPhase.SHUFFLE:
            with pytest.raises(EpochCutError):
                subject.train_epoch()
        else:
            assert subject.train_epoch().samples == 200
    subject.wait()
    assert {*heard.told} == {*EPOCH_PHASES[: max(0, list(EpochPhase).index(phase) - 1)]}
    assert (weights(subject) != before) is (phase is EpochPhase.UPDATE)


@LOOPS
def test_watching_changes_nothing(subject: Workload) -> None:
    """Each phase is told in the order of the loop, and afterwards every function is the one it was."""
    functions = (
        gluon.Block.__call__, gluon.Trainer.step, nd.NDArray.backward, mx.executor.Executor.forward,
        mx.metric.Accuracy.update,
    )  # fmt: skip
    heard = Listener()
    with traced(heard):
        subject.train_epoch()
    order = [phase for index, phase in enumerate(heard.told) if index == 0 or heard.told[index - 1] is not phase]
    assert order[0] is EpochPhase.FORWARD
    assert order[-2:] == [EpochPhase.METRIC, EpochPhase.UPDATE]
    assert functions == (
        gluon.Block.__call__, gluon.Trainer.step, nd.NDArray.backward, mx.executor.Executor.forward,
        mx.metric.Accuracy.update,
    )  # fmt: skip
    assert "__call__" not in vars(sys.modules["mnist_core.loop"]._CountCorrect)


# --- what is made of the measurements ---------------------------------------------------------------------------------


def test_phases_and_rest_are_the_epoch_and_the_sum_is_a_test() -> None:
    """The phases come from measurements of their own, so that their sum need not be the epoch."""
    breakdown = break_down(a_profile(phases=phase_rounds(adds=(1, 2, 3, 4, 5, 6), epoch=20.0)))
    assert [part.seconds for part in breakdown.parts] == pytest.approx([1, 2, 3, 4, 5, 6])
    assert breakdown.closure == pytest.approx(21 / 20)
    assert breakdown.together.seconds + breakdown.rest_seconds == pytest.approx(20)


@pytest.mark.parametrize(("epoch", "closes"), [(22.2, False), (22.1, True), (20.0, True), (19.9, False)])
def test_the_sum_must_be_the_epoch(epoch: float, *, closes: bool) -> None:
    """Within 95 to 105 %."""
    assert break_down(a_profile(phases=phase_rounds(adds=(1, 2, 3, 4, 5, 6), epoch=epoch))).closes is closes


def test_overlap_is_what_waiting_costs() -> None:
    """The epoch less its phases one after the other."""
    breakdown = break_down(a_profile(phases=phase_rounds(adds=(1, 1, 1, 1, 1, 1), epoch=6.0, waited=1.5)))
    assert breakdown.together.waited_seconds == pytest.approx(9.0)
    assert breakdown.overlap_seconds == pytest.approx(-3.0)


def test_an_interruption_of_one_round_does_not_count() -> None:
    """The mean is that of the middle half."""
    assert middle_mean([1.0, 1.2, 1.1, 1.3, 50.0, 1.2, 0.1, 1.2]) == pytest.approx(1.175)
    assert middle_mean([2.0, 4.0]) == 3.0
    assert middle_mean([7.0]) == 7.0


@pytest.mark.parametrize("network", ["mlp", "lenet"])
def test_operators_share_the_cost_of_a_network(network: str) -> None:
    """Forward and backward together are a training step's."""
    costs = costs_of(network)
    assert costs is not None
    assert sum(operator_flop(network).values()) == costs.flop_per_image
    assert operator_flop("package.module:build") == {}


def test_rates_and_shares_of_operators() -> None:
    """Operations over time; shares sum to one."""
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
    """A phase without all rounds, or in the wrong order."""
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
    """As MXNet writes it: operators twice, devices as processes."""
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
    (folder / protocol.RAW_TRACE_FILE).write_text(content if isinstance(content, str) else json.dumps(content))
    return trace.read(folder)


def test_an_operator_recorded_around_itself_is_one(tmp_path: Path) -> None:
    """The naive engine writes the inner record, then the one around it."""
    calls = (("dot", 101, 110), ("dot", 100, 111)), (("dot", 113, 115),) * 2, (("dot", 115, 115),) * 4
    spans = [*itertools.chain(*calls), ("add", 120, 121)]
    found = trace.times(read(tmp_path, raw(*spans)))
    assert [(each.name, each.calls) for each in found] == [("dot", 4), ("add", 1)]
    assert found[0].total_seconds == pytest.approx(11e-6)


def test_operators_one_after_the_other_are_as_many(tmp_path: Path) -> None:
    """Also where one took no whole microsecond."""
    found = trace.times(read(tmp_path, raw(("add", 100, 101), ("add", 101, 101), ("add", 102, 104), ("mul", 99, 105))))
    assert {each.name: each.calls for each in found} == {"add": 3, "mul": 1}


def test_the_written_trace_is_one_that_viewers_read(tmp_path: Path) -> None:
    """Whole events with small numbers, the loop and the engine's threads apart, from zero on."""
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
    """Also of one round, and of operators that took no time at all."""
    breakdown = break_down(
        a_profile(
            phases=phase_rounds(adds=(1, 1, 1, 1, 1, 1), epoch=6.0, rounds=1),
            operators=(OperatorTimes(name="FullyConnected", calls=1, total_seconds=0, min_seconds=0, max_seconds=0),),
        )
    )
    assert np.isfinite([breakdown.operators[0].share, breakdown.epoch_spread_seconds]).all()
    assert breakdown.operators[0].gflop_per_second is None

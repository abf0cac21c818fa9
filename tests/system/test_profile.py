"""Real MXNet shows where an epoch goes, in the phases of every loop."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.experiments.profile.breakdown import break_down
from bench.records.profile import EpochPhase, PhaseRounds, inconsistencies
from bench.records.result import Dataset, FailureReason
from bench.scenarios.scenario import Scenario
from bench.worker import main
from bench.worker.backends import base
from bench.worker.backends.base import Workload
from bench.worker.measure.instrument import EpochCutError, traced, truncated_after
from bench.worker.protocol.replies import Event, FailureReply, PhasesReply, Reply, RoundDone
from bench.worker.protocol.requests import PhasesRequest, ProfileTarget
from mnist_core import datasets
from mnist_core.datasets import DatasetName
from mnist_core.idx import Split
from mnist_core.mxnet_border import gluon, mx, nd
from mnist_core.parts import steps
from mnist_core.recipe import Hybridize, InputPipeline, Kvstore, MetricSync, Recipe, Update
from tests.support.idx_files import small_idx_folder
from tests.support.profile import a_profile
from tests.support.records import tuned

pytestmark = pytest.mark.system

TRAIN = 250
ONE, TWO, THREE = ("cpu(0)",), ("cpu(0)", "cpu(1)"), ("cpu(0)", "cpu(1)", "cpu(2)")
SCENARIOS = (
    Scenario(network="mlp", contexts=ONE),
    Scenario(network="lenet", contexts=TWO, batch_size=20),
    Scenario(network="mlp", contexts=TWO, hybridize=Hybridize.ON, metric_sync=MetricSync.EPOCH),
    Scenario(network="mlp", contexts=TWO, hybridize=Hybridize.STATIC, update=Update.FLAT),
    Scenario(network="mlp", contexts=TWO, kvstore=Kvstore.LOCAL, update_on_kvstore=False),
    Scenario(network="mlp", contexts=ONE, hybridize=Hybridize.BOUND),
    Scenario(network="mlp", contexts=TWO, hybridize=Hybridize.BOUND, input_pipeline=InputPipeline.RESIDENT),
    msgspec.structs.replace(tuned("mlp"), contexts=TWO),
    msgspec.structs.replace(tuned("lenet"), batch_size=20),
    Scenario(network="mlp", contexts=THREE, batch_size=31),
)
EPOCH_PHASES = (EpochPhase.FORWARD, EpochPhase.BACKWARD, EpochPhase.METRIC, EpochPhase.UPDATE)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> datasets.Prepared:
    folder = small_idx_folder(tmp_path_factory.mktemp("data"), train=TRAIN, test=10)
    return datasets.obtain(DatasetName.AUTO, data_dir=folder, environ={})


@pytest.fixture
def ask(prepared: datasets.Prepared, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Reply]:
    """Return a worker's answer in this process."""
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
    """Each is found in every round, as often as the loop has steps and contexts."""
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
    """It also tells when it is warm, since the time before is not a round's."""
    events: list[Event] = []
    ask(Scenario(network="mlp", contexts=ONE), rounds=2, on_event=events.append)
    assert events == [RoundDone(done) for done in (0, 1, 2)]


def test_the_last_batch_may_be_smaller(ask: Callable[..., Reply]) -> None:
    """For more steps than there are images the whole data set is used, with its small batch and idle contexts."""
    rounds = measured(ask(Scenario(network="mlp", contexts=THREE, batch_size=83), steps=100))
    assert (rounds.steps, rounds.samples) == (4, TRAIN)


def test_steps_are_chosen_so_that_an_epoch_can_be_measured(ask: Callable[..., Reply]) -> None:
    """There are at least ten where there are enough images."""
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
    """Return the bytes of each weight, on its first context."""
    owner: Any = subject
    net = owner._training.net if hasattr(owner, "_training") else owner._net
    return [parameter.list_data()[0].asnumpy().tobytes() for parameter in net.collect_params().values()]


class Listener:
    """An observer that keeps what it is told."""

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
    assert "__call__" not in vars(steps.CountCorrect)

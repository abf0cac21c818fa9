"""Ranks are one session: what they measure is put together, and where one fails, the cause is named and all end."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench.records.energy import EnergyReading, EnergySource
from bench.records.result import FailureReason
from bench.scenarios.axes import Exchange, Framework
from bench.scenarios.scenario import Scenario
from bench.worker import cluster, session
from bench.worker.cluster import ClusterSession
from bench.worker.process import Cancellation, Interpreter, WorkerFailure
from bench.worker.protocol.base import Message
from bench.worker.protocol.replies import ArraysExchanged, Evaluated, FailureReply, SetUpDone
from bench.worker.seats import seats_here
from bench.worker.session import Session, SessionError
from mnist_core.recipe import Engine, InputPipeline, MetricSync
from tests.support.records import a_dataset
from tests.support.sessions import READY, a_window, an_evaluation

#: Answers with the next of its rank's replies to each line; "die", "sleep", "wait" and "stop" are what it does instead,
#: and "doze" before that. One that waits gives signs of life. Without a port it chooses 4711, and no rank goes on with
#: another one.
PROGRAM = """#!{python}
import json, os, pathlib, signal, sys, time
request = json.loads(sys.stdin.readline())
place = request["place"]
if place["exchange"] != "none":
    if place["port"] is None:
        assert place["rank"] == 0 and request.get("role") != "server"
        print(json.dumps({{"type": "port_chosen", "port": 4711}}), flush=True)
    else:
        assert place["port"] == 4711
while request["type"] == "serve" and sys.stdin.readline():
    print(flush=True)
replies = json.loads(pathlib.Path({replies!r}).read_text())[place["rank"]]
for number, reply in enumerate(replies):
    if number and not sys.stdin.readline():
        break
    print("words of", place["rank"], file=sys.stderr, flush=True)
    if reply == "die":
        sys.exit(3)
    if reply == "abort":
        print("JAX distributed service detected fatal errors", file=sys.stderr, flush=True)
        os.abort()
    if reply == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if reply == "sleep":
        time.sleep(600)
    if reply == "doze":
        time.sleep(1.5)
        continue
    if reply == "wait":
        while not sys.stdin.readline().strip():
            print(flush=True)
    print(json.dumps(reply), flush=True)
sys.stdin.read()
"""
BEFORE, AFTER, OTHER = ("a" * 64, "b" * 64, "c" * 64)
SET_UP = SetUpDone(0.1, 0.2, 0.3, BEFORE)


def a_ranked(ranks: int = 2, exchange: Exchange = Exchange.GLOO) -> Scenario:
    resident: dict[str, Any] = {"input_pipeline": InputPipeline.RESIDENT, "metric_sync": MetricSync.EPOCH}
    one: dict[str, Any] = {"framework": Framework.TORCH, "network": "mlp", "contexts": ("cpu(0)",), **resident}
    return Scenario(**one, ranks=ranks, exchange=exchange)


def a_served() -> Scenario:
    return Scenario(network="mlp", contexts=("cpu(0)",), ranks=2, exchange=Exchange.DIST_SYNC, servers=1)


def trained(samples: int, seconds: float, digest: str = AFTER) -> Message:
    return msgspec.structs.replace(a_window(samples, seconds, 0.25), weights_digest=digest)


@contextlib.contextmanager
def ranks(
    folder: Path,
    *replies: Sequence[Message | str],
    exchange: Exchange = Exchange.GLOO,
    command_seconds: float = 60,
    life_seconds: float = 600,
    hosts: Sequence[str | None] = (None, None, None),
) -> Iterator[ClusterSession]:
    """Start a rank for each list of replies, on hosts with these labels."""
    known = [
        [each if isinstance(each, str) else json.loads(msgspec.json.encode(each)) for each in of] for of in replies
    ]
    (folder / "replies").write_text(json.dumps(known))
    python = folder / "python"
    python.write_text(PROGRAM.format(python=sys.executable, replies=str(folder / "replies")))
    python.chmod(0o755)
    request = session.session_request(Path("/data"), a_dataset(), 1, 1, Engine.THREADED, Framework.TORCH)
    seats = [seats_here(Interpreter(str(python), host=host), 1)[0] for host in hosts[: len(replies)]]
    with cluster.start(
        seats,
        request,
        scenario=a_served() if exchange.has_servers else a_ranked(len(replies), exchange),
        life_seconds=life_seconds,
        command_seconds=command_seconds,
        stop=Cancellation(),
    ) as running:
        yield running


def measure(running: Session, exchange: Exchange = Exchange.GLOO) -> Any:  # noqa: ANN401  # a window
    running.wait_until_ready()
    running.set_up(a_ranked(2, exchange), 100)
    return running.run_window(1)


def failure_of(folder: Path, *replies: Sequence[Message | str], **options: Any) -> WorkerFailure:  # noqa: ANN401  # of `ranks`
    with pytest.raises(SessionError) as caught, ranks(folder, *replies, **options) as running:
        measure(running, options.get("exchange", Exchange.GLOO))
    return caught.value.failure


def test_the_slowest_rank_counts_and_all_are_kept(tmp_path: Path) -> None:
    """Images, work and switches add up, and so do the parts of the loss; the worst accuracy stands for all."""
    quick = [READY, SET_UP, trained(34, 1.0), an_evaluation(0.8)]
    slow = [READY, msgspec.structs.replace(SET_UP, warm_up_seconds=5.0), trained(66, 2.0), an_evaluation(0.7)]
    with ranks(tmp_path, quick, slow) as running:
        running.wait_until_ready()
        assert running.set_up(a_ranked(), 100).warm_up_seconds == 5.0
        window = running.run_window(1)
        assert (window.samples, window.seconds, window.cpu_seconds, window.last_batch_loss) == (100, 2.0, 3.0, 0.5)
        assert window.train_accuracy == pytest.approx(0.8)
        assert [(rank.samples, rank.seconds) for rank in window.ranks] == [(34, 1.0), (66, 2.0)]
        evaluated = running.evaluate()
        assert isinstance(evaluated, Evaluated)
        assert (evaluated.test_accuracy, evaluated.peak_rss_bytes) == (0.7, 600_000_000)


@pytest.mark.parametrize(
    ("hosts", "counted"),
    [((None, None), [(None, 30.0)]), (("n0", "n1"), [("n0", 10.0), ("n1", 30.0)])],
    ids=["one machine", "two machines"],
)
def test_the_energy_of_a_machine_counts_once(
    tmp_path: Path, hosts: Sequence[str | None], counted: list[tuple[str | None, float]]
) -> None:
    """Ranks on one machine read the same counter, of which one reading counts; those of two machines add up."""
    windows = [
        msgspec.structs.replace(
            trained(50, 1.0),
            energy=(EnergyReading(source=EnergySource.RAPL, domain="package-0", joules=joules),),
        )
        for joules in (10.0, 30.0)
    ]
    with ranks(tmp_path, *([READY, SET_UP, window] for window in windows), hosts=hosts) as running:
        readings = measure(running).energy
    assert [(reading.host, reading.joules) for reading in readings] == counted


def test_of_each_exchange_the_slowest_rank_counts(tmp_path: Path) -> None:
    """It need not be the same one each time."""
    with ranks(tmp_path, [READY, ArraysExchanged((1.0, 4.0))], [READY, ArraysExchanged((2.0, 3.0))]) as running:
        running.wait_until_ready()
        assert running.exchange("cpu(0)", 8, 2) == [2.0, 4.0]


def test_a_rank_with_a_wrong_sum_is_named(tmp_path: Path) -> None:
    wrong = FailureReply(FailureReason.CRASHED, "ArithmeticError: the sum is wrong")
    with ranks(tmp_path, [READY, "sleep"], [READY, wrong]) as running:
        running.wait_until_ready()
        with pytest.raises(SessionError) as caught:
            running.exchange("cpu(0)", 8, 2)
    assert caught.value.failure.detail == "rank 1 of 2: ArithmeticError: the sum is wrong"


def test_a_rank_that_ends_is_the_cause_though_another_complains_first(tmp_path: Path) -> None:
    lost = FailureReply(FailureReason.RANK_LOST, "Connection closed by peer")
    failure = failure_of(tmp_path, [READY, SET_UP, lost], [READY, SET_UP, "die"])
    assert failure == WorkerFailure(
        FailureReason.CRASHED,
        "rank 1 of 2: the worker ended with status 3 and no result",
        "\n".join(["words of 1"] * 3),
    )


def test_a_rank_that_jax_aborts_for_another_is_not_the_cause(tmp_path: Path) -> None:
    """JAX ends every process that can no longer reach the first rank."""
    failure = failure_of(tmp_path, [READY, SET_UP, "abort"], [READY, SET_UP, "die"], [READY, SET_UP, "abort"])
    assert failure.detail == "rank 1 of 3: the worker ended with status 3 and no result"


def test_a_rank_that_fails_by_itself_is_the_cause_while_others_wait_for_it(tmp_path: Path) -> None:
    own = FailureReply(FailureReason.OUT_OF_MEMORY, "no memory is left")
    failure = failure_of(tmp_path, [READY, SET_UP, "sleep"], [READY, SET_UP, own])
    assert (failure.reason, failure.detail) == (FailureReason.OUT_OF_MEMORY, "rank 1 of 2: no memory is left")


def test_a_silent_rank_is_the_cause_where_others_have_lost_it(tmp_path: Path) -> None:
    lost = FailureReply(FailureReason.RANK_LOST, "Timed out waiting 60000ms for recv")
    failure = failure_of(tmp_path, [READY, SET_UP, lost], [READY, SET_UP, "sleep"])
    assert failure.reason is FailureReason.TIMEOUT
    assert failure.detail == "rank 1 of 2: no answer; rank 0 of 2 said: Timed out waiting 60000ms for recv"


def test_of_ranks_that_give_no_answer_the_stopped_one_is_named(tmp_path: Path) -> None:
    failure = failure_of(tmp_path, [READY, SET_UP, "sleep"], [READY, SET_UP, "stop"], command_seconds=3)
    assert (failure.reason, failure.detail) == (FailureReason.TIMEOUT, "rank 1 of 2: no answer within 3 s")


def test_ranks_that_must_agree_and_do_not_are_a_failure(tmp_path: Path) -> None:
    """A store of its own for each rank looks like a perfect speed-up."""
    own, other = ([READY, SET_UP, trained(50, 1.0, digest)] for digest in (AFTER, OTHER))
    failure = failure_of(tmp_path, own, other)
    assert failure.reason is FailureReason.RANKS_DIFFER
    assert failure.detail == "after a window rank 1 had other weights than rank 0, which gloo must keep equal"


def test_ranks_without_an_exchange_have_weights_of_their_own(tmp_path: Path) -> None:
    own, other = ([READY, SET_UP, trained(50, 1.0, digest)] for digest in (AFTER, OTHER))
    with ranks(tmp_path, own, other, exchange=Exchange.NONE) as running:
        assert measure(running, Exchange.NONE).samples == 100


def test_weights_that_a_window_left_alone_are_a_failure(tmp_path: Path) -> None:
    """A learning rate that stayed at the warm-up's 0 looks like a training."""
    idle: list[Message | str] = [READY, SET_UP, trained(50, 1.0, BEFORE)]
    failure = failure_of(tmp_path, idle, idle)
    assert failure.detail == "a window left the weights as they were: nothing was learnt"


def test_an_epoch_without_an_image_for_each_rank_is_refused(tmp_path: Path) -> None:
    with ranks(tmp_path, [READY]) as running:
        running.wait_until_ready()
        with pytest.raises(SessionError, match="1 images are not one for each of 2 ranks"):
            running.set_up(a_ranked(), 1)


def test_of_ranks_that_give_no_answer_the_mute_one_is_named(tmp_path: Path) -> None:
    """On another machine it cannot be seen that a process was stopped, or whether the machine is there at all."""
    failure = failure_of(
        tmp_path, [READY, SET_UP, "wait"], [READY, SET_UP, "sleep"], command_seconds=3, hosts=("n0", "n1")
    )
    expected = (FailureReason.TIMEOUT, "rank 1 of 2 on n1: no answer within 3 s", "n1")
    assert (failure.reason, failure.detail, failure.host) == expected


def test_a_stopped_rank_is_named_by_its_silence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Those that wait for it may do so for a minute, and then know no more than that somebody is missing."""
    monkeypatch.setattr(cluster, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(cluster, "_SIGN_SECONDS", 1.0)
    failure = failure_of(tmp_path, [READY, SET_UP, "wait"], [READY, SET_UP, "stop"], hosts=("n0", "n1"))
    detail = "rank 1 of 2 on n1: no sign of life: it was stopped, or its machine cannot be reached"
    assert (failure.reason, failure.detail, failure.host) == (FailureReason.TIMEOUT, detail, "n1")


def test_who_is_deaf_for_a_moment_is_not_lost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cluster, "_LOOK_SECONDS", 0.1)
    monkeypatch.setattr(cluster, "_SIGN_SECONDS", 1.0)
    ready = trained(50, 1.0)
    with ranks(tmp_path, [READY, SET_UP, ready], [READY, SET_UP, "doze", ready]) as running:
        assert measure(running).samples == 100


def test_where_all_ranks_wait_for_each_other_no_machine_is_to_blame(tmp_path: Path) -> None:
    waiting: list[Message | str] = [READY, SET_UP, "wait"]
    failure = failure_of(tmp_path, waiting, waiting, command_seconds=2, hosts=("n0", "n1"))
    assert failure.detail == "rank 0 of 2 on n0, rank 1 of 2 on n1: no answer within 2 s"
    assert failure.host is None


def test_a_rank_that_ends_is_named_with_its_machine(tmp_path: Path) -> None:
    failure = failure_of(tmp_path, [READY, SET_UP, "wait"], [READY, SET_UP, "die"], hosts=("n0", "n1"))
    assert failure.detail == "rank 1 of 2 on n1: the worker ended with status 3 and no result"
    assert failure.host == "n1"


def test_what_a_rank_says_of_itself_is_no_fault_of_its_machine(tmp_path: Path) -> None:
    own = FailureReply(FailureReason.CRASHED, "ValueError: no such layer")
    failure = failure_of(tmp_path, [READY, SET_UP, "wait"], [READY, SET_UP, own], hosts=("n0", "n1"))
    assert (failure.detail, failure.host) == ("rank 1 of 2 on n1: ValueError: no such layer", None)


def test_the_life_of_a_session_ends_with_the_rank_that_is_to_blame(tmp_path: Path) -> None:
    """Not with whichever process was killed first."""
    failure = failure_of(tmp_path, [READY, SET_UP, "wait"], [READY, SET_UP, "stop"], life_seconds=4)
    assert (failure.reason, failure.detail) == (FailureReason.TIMEOUT, "rank 1 of 2: no result within 4 s")


def test_a_stopped_server_is_named_though_no_rank_answers(tmp_path: Path) -> None:
    """The ranks wait for it, and give signs of life."""
    waiting: list[Message | str] = [READY, SET_UP, "wait"]
    with ranks(tmp_path, waiting, waiting, exchange=Exchange.DIST_SYNC, command_seconds=3) as running:
        running.wait_until_ready()
        running.set_up(a_served(), 100)
        for member in running._members:
            if member.name == "server 0":
                member.worker.process.send_signal(signal.SIGSTOP)
        with pytest.raises(SessionError, match="server 0: no answer within 3 s"):
            running.run_window(1)

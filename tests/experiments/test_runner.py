"""A fake executor shows the scheduling, and fake workers the real executor."""

from __future__ import annotations

import itertools
import os
import random
import signal
import sys
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import SetupError
from bench.experiments.attempts import DeadlyError
from bench.experiments.run import runner
from bench.experiments.run.ceilings import CeilingRounds, usable
from bench.experiments.run.executor import SubprocessExecutor
from bench.experiments.run.runner import HostLostError, remaining, run_plan, run_request, schedule
from bench.experiments.run.turns import BlockRequest, MeasuredRuns, OnTurn
from bench.records import store
from bench.records.result import Ceiling, Epoch, ExchangeCurve, Failure, FailureReason, Library, ResultSet, Run, key
from bench.scenarios.axes import Framework
from bench.scenarios.scenario import tutorial_setting
from bench.scenarios.suite import Overrides, PlannedRun, expand, load_suite, override
from bench.worker import process
from bench.worker.interpreters import Interpreters
from bench.worker.process import Cancellation, WorkerFailure
from bench.worker.protocol.replies import RunReply
from bench.worker.protocol.requests import CeilingRequest, RunRequest
from mnist_core.devices import Device, Probe, Unusable
from tests.support.executor import EIGHT_ALONE, FakeBlocks
from tests.support.records import a_ceiling, a_curve, a_dataset, a_result_set, a_run


def a_plan(repeats: int = 2) -> tuple[PlannedRun, ...]:
    return expand(override(load_suite(EIGHT_ALONE), Overrides(repeats=repeats)))


def untried(plan: tuple[PlannedRun, ...]) -> ResultSet:
    return a_result_set(plan=plan, runs=(), failures=())


class FakeExecutor(FakeBlocks):
    """An executor that answers at once; `answers` decides by position."""

    def __init__(self, answers: Callable[[int, RunRequest], Run | Failure] | None = None) -> None:
        self.requests: list[RunRequest] = []
        self._answers = answers or (lambda _position, request: measured(request))

    def execute(self, request: RunRequest, timeout_seconds: float, on_epoch: runner.OnEpoch) -> Run | Failure:
        self.requests.append(request)
        return self._answers(len(self.requests), request)


class Silent:
    """An observer that watches nothing."""

    def started(self, unit: Sequence[PlannedRun], position: int, total: int) -> None: ...
    def turn(self, planned: PlannedRun) -> None: ...
    def epoch(self, planned: PlannedRun, index: int, epoch: Epoch) -> None: ...
    def finished(self, planned: PlannedRun, outcome: Run | Failure) -> None: ...
    def block_saved(self, result_set: ResultSet, unit: Sequence[PlannedRun], later: Sequence[PlannedRun]) -> None: ...


def measured(request: RunRequest) -> Run:
    return a_run(scenario=request.scenario, recipe=request.recipe, repeat=request.repeat)


def failed(request: RunRequest, reason: FailureReason) -> Failure:
    return Failure(
        scenario=request.scenario, recipe=request.recipe, repeat=request.repeat, reason=reason, detail="x", log=""
    )


def run_with(
    executor: runner.Executor,
    result_set: ResultSet,
    probe: Callable[[Framework, Device], Probe] | None = None,
    stop: Cancellation | None = None,
    ceilings: Callable[[], Iterable[Ceiling]] | None = None,
    curves: Callable[[], Iterable[ExchangeCurve]] | None = None,
) -> tuple[ResultSet, list[ResultSet]]:
    """Return the file in the end, and as it was saved each time but where a run began."""
    saved: list[ResultSet] = []
    final = run_plan(
        result_set,
        executor=executor,
        data_directory=Path("/data"),
        usable_cores=2,
        save=lambda each: saved.append(each) if each.in_progress is None or not each.in_progress.runs else None,
        observer=Silent(),
        probe=probe or (lambda framework, device: pytest.fail(f"asked {framework} for {device}")),
        stop=stop or Cancellation(),
        ceilings=ceilings,
        curves=curves,
    )
    return final, saved


@given(seed=st.integers(0, 1000), repeats=st.integers(1, 4))
def test_repeats_of_different_scenarios_are_interleaved(seed: int, repeats: int) -> None:
    """Every round holds every scenario once: no repeat is measured before all scenarios had the one before."""
    plan = a_plan(repeats)
    ordered = schedule(plan, seed)
    assert Counter(ordered) == Counter(plan)
    assert [planned.repeat for planned in ordered] == sorted(planned.repeat for planned in plan)


def test_the_order_comes_from_the_seed() -> None:
    """The same seed gives the same order, another seed another, and rounds differ among themselves."""
    plan = a_plan(2)
    assert schedule(plan, 1) == schedule(plan, 1) != schedule(plan, 2)
    ordered = [planned.scenario for planned in schedule(plan, 1)]
    assert ordered[: len(ordered) // 2] != ordered[len(ordered) // 2 :]


def test_every_run_is_saved_as_it_ends() -> None:
    """After the k-th run the file holds k runs; the first save comes before any run."""
    plan = a_plan(1)
    final, saved = run_with(FakeExecutor(), untried(plan))
    assert [len(result_set.runs) for result_set in saved] == list(range(len(plan) + 1))
    assert saved[-1] == final
    assert remaining(final) == ()


@pytest.mark.parametrize("in_turns", [False, True])
def test_what_kills_the_program_with_its_worker_is_measured_twice_at_most(*, in_turns: bool) -> None:
    """A container whose memory ends takes both. The file as it was saved last would lead to the same death."""

    class Killed(BaseException):
        pass

    plan = tuple(msgspec.structs.replace(planned, in_turns=in_turns) for planned in a_plan(1)[:2])
    deaths, saved = [0], [untried(plan)]

    def resume() -> None:
        def dies(_position: int, request: RunRequest) -> Run | Failure:
            if in_turns or request.scenario == plan[1].scenario:
                deaths[0] += 1
                raise Killed
            return measured(request)

        run_plan(
            saved[-1],
            executor=FakeExecutor(dies),
            data_directory=Path("/data"),
            usable_cores=2,
            save=saved.append,
            observer=Silent(),
            probe=lambda framework, device: pytest.fail(f"asked {framework} for {device}"),
            stop=Cancellation(),
        )

    for _ in range(2):
        with pytest.raises(Killed):
            resume()
        assert saved[-1].in_progress is not None
        assert plan[1] in remaining(saved[-1])
    resume()
    assert deaths == [2]
    assert (remaining(saved[-1]), saved[-1].in_progress) == ((), None)
    deadly = [failure for failure in saved[-1].failures if "killed 2 times" in failure.detail]
    assert plan[1].scenario in {failure.scenario for failure in deadly}


@pytest.mark.parametrize("in_turns", [False, True])
def test_a_machine_that_fails_twice_ends_the_suite(*, in_turns: bool) -> None:
    """All that was measured is saved. What else fails, or several runs of one block, is no second time."""
    plan = tuple(msgspec.structs.replace(planned, in_turns=in_turns) for planned in a_plan(4))
    failing = {planned.scenario for planned in plan[:2]}

    def loses_a_machine(position: int, request: RunRequest) -> Run | Failure:
        if request.scenario not in failing:
            return failed(request, FailureReason.CRASHED) if position == 0 else measured(request)
        return msgspec.structs.replace(failed(request, FailureReason.CRASHED), host="n1")

    executor = FakeExecutor(loses_a_machine)
    saved: list[ResultSet] = []
    with pytest.raises(HostLostError, match="n1"):
        run_plan(
            untried(plan),
            executor=executor,
            data_directory=Path("/data"),
            usable_cores=2,
            save=saved.append,
            observer=Silent(),
            probe=lambda framework, device: pytest.fail(f"asked {framework} for {device}"),
            stop=Cancellation(),
        )
    lost = [failure for failure in saved[-1].failures if failure.host == "n1"]
    units = len({failure.repeat for failure in lost}) if in_turns else len(lost)
    assert units == 2
    assert len(saved[-1].runs) + len(saved[-1].failures) < len(plan)
    assert saved[-1].in_progress is None


def test_a_failure_does_not_stop_the_suite() -> None:
    """A crashed run becomes a failure row, and the others are measured."""
    plan = a_plan(1)

    def third_crashes(position: int, request: RunRequest) -> Run | Failure:
        return failed(request, FailureReason.CRASHED) if position == 3 else measured(request)

    final, _ = run_with(FakeExecutor(third_crashes), untried(plan))
    assert (len(final.runs), len(final.failures)) == (len(plan) - 1, 1)


def test_resume_does_the_rest_and_nothing_twice() -> None:
    """Runs that ended and failures that stand are left; what was interrupted or never tried is measured."""
    plan = a_plan(1)
    before = a_result_set(
        plan=plan,
        runs=(a_run(scenario=plan[0].scenario, recipe=plan[0].recipe, repeat=0),),
        failures=tuple(
            Failure(scenario=p.scenario, recipe=p.recipe, repeat=p.repeat, reason=reason, detail="x", log="")
            for p, reason in ((plan[1], FailureReason.CRASHED), (plan[2], FailureReason.INTERRUPTED))
        ),
    )
    executor = FakeExecutor()
    final, _ = run_with(executor, before)
    assert {request.scenario for request in executor.requests} == {planned.scenario for planned in plan[2:]}
    assert [failure.reason for failure in final.failures] == [FailureReason.CRASHED]
    assert len({key(run) for run in final.runs}) == len(final.runs) == len(plan) - 1


@pytest.mark.parametrize(("finished", "runs", "failures"), [(False, 2, 1), (True, 3, 0)])
def test_a_request_to_stop_keeps_what_is_finished(finished: bool, runs: int, failures: int) -> None:  # noqa: FBT001
    """Asked during the third run: it is kept if it had its result, noted as interrupted if not, and no other starts."""
    plan = a_plan(1)
    stop = Cancellation()

    def asked_during_the_third(position: int, request: RunRequest) -> Run | Failure:
        if position == 3:
            stop()
        return measured(request) if finished or position != 3 else failed(request, FailureReason.CRASHED)

    final, saved = run_with(FakeExecutor(asked_during_the_third), untried(plan), stop=stop)
    assert saved[-1] == final
    assert len(final.runs) == runs
    assert [failure.reason for failure in final.failures] == [FailureReason.INTERRUPTED] * failures
    assert len(remaining(final)) == len(plan) - runs


def test_a_gpu_that_cannot_be_used_is_a_failure_row() -> None:
    """It is asked once, its runs fail with the reason, and nothing runs on the CPU instead."""
    plan = expand(override(load_suite(EIGHT_ALONE), Overrides(contexts=("gpu(0)", "cpu(0)"))))
    asked: list[Device] = []

    def no_gpu(framework: Framework, device: Device) -> Probe:
        asked.append(device)
        return Probe(device, Unusable.NO_CUDA_BUILD, "no CUDA in this build")

    executor = FakeExecutor()
    final, _ = run_with(executor, untried(plan), no_gpu)
    assert len(asked) == 1
    assert {request.scenario.contexts for request in executor.requests} == {("cpu(0)",)}
    assert {(failure.scenario.contexts, failure.reason) for failure in final.failures} == {
        (("gpu(0)",), FailureReason.NO_DEVICE)
    }
    assert "no CUDA in this build" in final.failures[0].detail


def test_the_request_carries_the_batch_size_and_the_threads() -> None:
    """What the suite declares is what the worker is asked for."""
    plan = expand(override(load_suite("tutorial"), Overrides(batch_size=(64,), contexts=("cpu(0)",))))
    executor = FakeExecutor()
    run_with(executor, untried(plan))
    assert {(r.scenario.batch_size, r.omp_num_threads) for r in executor.requests} == {(64, 2)}


# --- runs that take turns ---------------------------------------------------------------------------------------------


def a_plan_in_turns() -> tuple[PlannedRun, ...]:
    return tuple(planned for planned in expand(load_suite("standard")) if planned.in_turns)


def test_a_block_is_saved_when_it_ends() -> None:
    """With all of its runs, which point to it; the next one is another."""
    plan = a_plan_in_turns()
    final, saved = run_with(FakeExecutor(), untried(plan))
    assert [len(result_set.runs) for result_set in saved] == list(range(0, len(plan) + 1, 8))
    assert [len(result_set.blocks) for result_set in saved] == list(range(len(plan) // 8 + 1))
    for block in range(len(final.blocks)):
        runs = [run for run in final.runs if run.block == block]
        assert len({(run.scenario.network, run.repeat) for run in runs}) == 1
        assert len({run.scenario for run in runs}) == 8
    assert remaining(final) == ()


def test_an_interrupted_block_is_measured_again_as_a_whole() -> None:
    """None of it counts, and the file says that it was interrupted."""
    plan, stop = a_plan_in_turns(), Cancellation()

    class StopsInTheThird(FakeExecutor):
        def execute_block(self, request: BlockRequest, on_turn: OnTurn) -> MeasuredRuns | None:
            if request.index == 2:
                stop()
                return None
            return super().execute_block(request, on_turn)

    interrupted, _ = run_with(StopsInTheThird(), untried(plan), stop=stop)
    assert (len(interrupted.runs), len(interrupted.blocks)) == (16, 2)
    assert [failure.reason for failure in interrupted.failures] == [FailureReason.INTERRUPTED] * 8
    final, _ = run_with(FakeExecutor(), interrupted)
    assert (len(final.runs), final.failures) == (len(plan), ())
    assert store.inconsistencies(final) == []


@pytest.mark.parametrize(("failing_from", "runs", "failures"), [(0, 7, 1), (6, 9, 0)])
def test_a_reference_that_fails_in_a_part_of_its_block_is_one_failure_at_most(
    monkeypatch: pytest.MonkeyPatch, failing_from: int, runs: int, failures: int
) -> None:
    """Every other scenario is measured once; the file contradicts itself nowhere."""
    monkeypatch.setattr(runner, "_room", lambda _result_set: [3])
    plan = tuple(planned for planned in a_plan_in_turns() if planned.scenario.network == "mlp" and planned.repeat == 0)
    reference = tutorial_setting("mlp")

    def fails(position: int, request: RunRequest) -> Run | Failure:
        crash = request.scenario == reference and position > failing_from
        return failed(request, FailureReason.CRASHED) if crash else measured(request)

    final, _ = run_with(FakeExecutor(fails), untried(plan))
    assert (len(final.runs), len(final.failures), len(final.blocks)) == (runs, failures, 4)
    assert store.inconsistencies(final) == []


def test_a_gpu_that_cannot_be_used_is_left_out_of_its_block() -> None:
    plan = tuple(
        planned
        for planned in expand(override(load_suite("standard"), Overrides(contexts=("gpu(0)", "cpu(0)"), repeats=1)))
        if planned.in_turns and planned.scenario.network == "mlp"
    )
    final, _ = run_with(
        FakeExecutor(), untried(plan), lambda _framework, device: Probe(device, Unusable.NO_CUDA_BUILD, "no CUDA")
    )
    assert {run.scenario.contexts for run in final.runs} == {("cpu(0)",)}
    assert {failure.reason for failure in final.failures} == {FailureReason.NO_DEVICE}
    assert len(final.runs) == len(final.failures) == 4


# --- ceilings between the rounds --------------------------------------------------------------------------------------


class FakeCeilings:
    """Ceilings that are there at once, except for those told to fail."""

    def __init__(self, *failing: Library) -> None:
        self.stop = Cancellation()
        self.asked: list[Library] = []
        self.failing = failing

    def measure_ceiling(self, request: CeilingRequest) -> Ceiling | WorkerFailure:
        self.asked.append(request.framework)
        if request.framework in self.failing:
            if request.framework is Library.JAX:
                raise SetupError("jax is not installed")
            return WorkerFailure(FailureReason.OUT_OF_MEMORY, "too large")
        return a_ceiling(framework=request.framework)


def a_ceiling_request(library: Library) -> CeilingRequest:
    return CeilingRequest(
        framework=library, device="cpu(0)", omp_num_threads=2, matrix_sizes=(8,), vector_elements=(8,)
    )


def ceiling_rounds(fake: FakeCeilings, *libraries: Library, report: Callable[[str], None] = print) -> CeilingRounds:
    return CeilingRounds(map(a_ceiling_request, libraries), fake, report)


def test_ceilings_are_measured_before_between_and_after_the_rounds() -> None:
    """Each is saved as it comes; a round of runs never has one within it."""
    plan = a_plan(3)
    rounds = ceiling_rounds(FakeCeilings(), Library.NUMPY, Library.MXNET)
    final, saved = run_with(FakeExecutor(), untried(plan), ceilings=rounds)
    each = len(plan) // 3
    steps = [step for step, _ in itertools.groupby((len(each.runs), len(each.ceilings)) for each in saved)]
    expected = [(0, 0), (0, 1), (0, 2)]
    for finished in range(1, 4):
        expected += [(runs, 2 * finished) for runs in range(each * (finished - 1) + 1, each * finished + 1)]
        expected += [(each * finished, 2 * finished + 1), (each * finished, 2 * finished + 2)]
    assert steps == expected
    assert saved[-1] == final


def test_exchanges_are_measured_before_the_first_run_and_after_the_last() -> None:
    """A finished file gets no more, and one that goes on gets one before it does."""
    plan = a_plan(3)
    final, saved = run_with(FakeExecutor(), untried(plan), curves=lambda: [a_curve()])
    steps = [step for step, _ in itertools.groupby((len(each.runs), len(each.exchanges)) for each in saved)]
    assert steps[:3] == [(0, 0), (0, 1), (1, 1)]
    assert [exchanges for _, exchanges in steps[-2:]] == [1, len(final.exchanges)] == [1, 2]
    again, _ = run_with(FakeExecutor(), final, curves=lambda: [a_curve()])
    assert again == final
    begun = msgspec.structs.replace(final, runs=final.runs[1:])
    assert len(run_with(FakeExecutor(), begun, curves=lambda: [a_curve()])[0].exchanges) == 4


def test_resumed_runs_keep_their_ceilings_and_get_more() -> None:
    """A finished file gets no more."""
    plan = a_plan(1)
    before = msgspec.structs.replace(untried(plan), ceilings=(a_ceiling(gflop=7.0),))
    final, _ = run_with(FakeExecutor(), before, ceilings=ceiling_rounds(FakeCeilings(), Library.NUMPY))
    assert [ceiling.gflop_per_second for ceiling in final.ceilings] == [7.0, 100.0, 100.0]
    again, _ = run_with(FakeExecutor(), final, ceilings=ceiling_rounds(FakeCeilings(), Library.NUMPY))
    assert again == final


def test_a_ceiling_that_fails_is_reported_once_and_the_runs_go_on() -> None:
    """It is out of memory or not installed, and would fail in the next round, too."""
    fake, told = FakeCeilings(Library.MXNET, Library.JAX), list[str]()
    rounds = ceiling_rounds(fake, Library.NUMPY, Library.MXNET, Library.JAX, report=told.append)
    final, _ = run_with(FakeExecutor(), untried(a_plan(2)), ceilings=rounds)
    assert [ceiling.framework for ceiling in final.ceilings] == [Library.NUMPY] * 3
    assert fake.asked.count(Library.MXNET) == fake.asked.count(Library.JAX) == 1
    assert [line.rpartition(": ")[2] for line in told] == ["too large", "jax is not installed"]
    assert remaining(final) == ()


def test_a_request_to_stop_during_a_ceiling_starts_no_run() -> None:
    """What was measured is kept, and what was never tried is not called a failure."""
    fake = FakeCeilings()
    measure = fake.measure_ceiling

    def asked_to_stop(request: CeilingRequest) -> Ceiling | WorkerFailure:
        if request.framework is Library.MXNET:
            fake.stop()
            return WorkerFailure(FailureReason.CRASHED, "killed")
        return measure(request)

    fake.measure_ceiling = asked_to_stop  # type: ignore[method-assign]
    executor = FakeExecutor()
    rounds = ceiling_rounds(fake, Library.NUMPY, Library.MXNET, report=pytest.fail)
    final, saved = run_with(executor, untried(a_plan(1)), stop=fake.stop, ceilings=rounds)
    assert (len(final.ceilings), executor.requests, final.failures) == (1, [], ())
    assert saved[-1] == final


def test_a_ceiling_that_kills_the_program_twice_is_told_and_then_tried_again() -> None:
    """Nothing is measured then; without ceilings the runs go on at once."""
    saved = [untried(a_plan(1))]

    class Killed(BaseException):
        """The program is no more."""

    def dies() -> Iterator[Ceiling]:
        yield a_ceiling()
        raise Killed

    def resume(ceilings: Callable[[], Iterable[Ceiling]] | None) -> None:
        run_plan(
            saved[-1],
            executor=FakeExecutor(),
            data_directory=Path("/data"),
            usable_cores=2,
            save=saved.append,
            observer=Silent(),
            probe=lambda framework, device: pytest.fail(f"asked {framework} for {device}"),
            stop=Cancellation(),
            ceilings=ceilings,
        )

    for _ in range(2):
        with pytest.raises(Killed):
            resume(dies)
    killed = saved[-1]
    assert len(killed.ceilings) == 2
    with pytest.raises(
        DeadlyError, match=r"killed 2 times .*: give it more memory, or leave the ceilings out by --no-c"
    ):
        resume(dies)
    assert saved[-1].in_progress is None
    with pytest.raises(Killed):
        resume(dies)
    saved.append(killed)
    resume(None)
    assert (remaining(saved[-1]), saved[-1].in_progress) == ((), None)


def test_a_gpu_is_tried_out_before_it_has_a_ceiling() -> None:
    """The framework that would measure it tries it out; the CPU needs no trial."""

    def torch_alone(framework: Framework, device: Device) -> Probe:
        return Probe(device, None if framework is Framework.TORCH else Unusable.UNSUPPORTED_CAPABILITY)

    on_gpu = [
        msgspec.structs.replace(a_ceiling_request(library), device="gpu(1)")
        for library in (Library.MXNET, Library.TORCH)
    ]
    on_cpu = a_ceiling_request(Library.NUMPY)
    assert usable([on_cpu, *on_gpu], torch_alone) == (on_cpu, on_gpu[1])


@pytest.mark.system
def test_a_real_process_measures_a_ceiling() -> None:
    """NumPy and MXNet do so on the threads that were asked for, which their thread pools confirm."""
    for library in (Library.NUMPY, Library.MXNET):
        ceiling = SubprocessExecutor().measure_ceiling(
            msgspec.structs.replace(a_ceiling_request(library), matrix_sizes=(8, 16), vector_elements=(1_000,))
        )
        assert isinstance(ceiling, Ceiling)
        assert (ceiling.framework, ceiling.device, ceiling.omp_num_threads) == (library, "cpu(0)", 2)
        assert [product.size for product in ceiling.matrix_products] == [8, 16]
        assert {pool.num_threads for pool in ceiling.thread_pools} == {2}
        assert ("openmp" in {pool.user_api for pool in ceiling.thread_pools}) is (library is Library.MXNET)


# --- the real executor, with workers that misbehave -------------------------------------------------------------------


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Callable[[str], SubprocessExecutor]]:
    """Make an executor whose worker runs the given Python code; afterwards no child may be left."""

    def make(code: str) -> SubprocessExecutor:
        script = tmp_path / "python"
        body = textwrap.dedent(code)
        (tmp_path / "worker.py").write_text(f"import os, sys, time, signal\nrequest = sys.stdin.readline()\n{body}")
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{tmp_path / "worker.py"}"\n')
        script.chmod(0o755)
        return SubprocessExecutor(Interpreters({Framework.MXNET: str(script)}))

    yield make
    assert psutil.Process().children(recursive=True) == []


def a_request() -> RunRequest:
    planned = a_plan(1)[0]
    return RunRequest(
        scenario=planned.scenario,
        recipe=planned.recipe,
        repeat=0,
        data_directory="/data",
        dataset=a_dataset(),
        omp_num_threads=1,
    )


def execute(worker: SubprocessExecutor, timeout_seconds: float = 30) -> Run | Failure:
    return worker.execute(a_request(), timeout_seconds, lambda _index, _epoch: None)


@pytest.mark.parametrize(
    ("code", "reason", "detail", "log"),
    [
        ("sys.exit(3)", FailureReason.CRASHED, "status 3", ""),
        ("print('last words', file=sys.stderr); os.abort()", FailureReason.CRASHED, "SIGABRT", "last words"),
        ("os.kill(os.getpid(), signal.SIGKILL)", FailureReason.CRASHED, "SIGKILL", ""),
        ("print('no JSON', flush=True); time.sleep(60)", FailureReason.CRASHED, "", ""),
        ('print(\'{"type":"nonsense"}\', flush=True)', FailureReason.CRASHED, "no result", ""),
        (
            'print(\'{"type":"failed","reason":"out_of_memory","detail":"cudaMalloc failed"}\')',
            FailureReason.OUT_OF_MEMORY,
            "cudaMalloc",
            "",
        ),
        ("1 / 0", FailureReason.CRASHED, "status 1", "ZeroDivisionError"),
    ],
)
def test_a_worker_that_fails_becomes_a_failure(
    worker: Callable[[str], SubprocessExecutor],
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    reason: FailureReason,
    detail: str,
    log: str,
) -> None:
    """It has the reason, one line, and the end of the error output, for all that can go wrong."""
    monkeypatch.setattr(process, "EXIT_SECONDS", 0.5)
    outcome = execute(worker(code))
    assert isinstance(outcome, Failure)
    assert (outcome.reason, "\n" in outcome.detail) == (reason, False)
    assert detail in outcome.detail
    assert log in outcome.log


@pytest.mark.slow
def test_a_worker_that_hangs_is_killed_with_its_children(worker: Callable[[str], SubprocessExecutor]) -> None:
    """When its time is over the whole process group is killed."""
    child = ["sleep", str(600 + os.getpid())]  # no other program's
    outcome = execute(
        worker(
            f"""
            import subprocess
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            subprocess.Popen({child})
            time.sleep(600)
            """
        ),
        timeout_seconds=1.0,
    )
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.detail) == (FailureReason.TIMEOUT, "no result within 1 s")
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == child]


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_worker_that_cannot_be_killed_is_not_waited_for(
    worker: Callable[[str], SubprocessExecutor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver or a file system that hangs keeps a process and its pipes alive, whatever is sent to it."""
    monkeypatch.setattr(process, "REAP_SECONDS", 0.2)
    real, groups = os.killpg, set[int]()
    monkeypatch.setattr(os, "killpg", lambda group, _signal: groups.add(group))
    try:
        outcome = execute(worker("time.sleep(600)"), timeout_seconds=0.5)
    finally:
        (group,) = groups
        real(group, signal.SIGKILL)
        os.waitpid(group, 0)
    assert isinstance(outcome, Failure)
    assert outcome.reason is FailureReason.TIMEOUT
    assert outcome.detail.startswith("no result within 0.5 s; it could not be killed")


def test_only_the_end_of_a_long_log_is_kept(worker: Callable[[str], SubprocessExecutor]) -> None:
    """A flood on stderr neither blocks the worker nor fills the result file."""
    outcome = execute(worker("for i in range(100_000): print(i, file=sys.stderr)\nsys.exit(1)"))
    assert isinstance(outcome, Failure)
    assert outcome.log.splitlines() == [str(i) for i in range(100_000 - process.LOG_LINES, 100_000)]


def test_a_request_to_stop_ends_the_worker(worker: Callable[[str], SubprocessExecutor]) -> None:
    """Ctrl-C reaches us, not the worker: the handler kills it, whether it is running or only being started."""
    executor = worker(f"os.kill({os.getpid()}, signal.SIGUSR1); time.sleep(600)")
    before = signal.signal(signal.SIGUSR1, executor.stop)
    try:
        assert isinstance(execute(executor), Failure)
        assert executor.stop.requested
        assert isinstance(execute(executor), Failure)  # asked before it started
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_worker_that_cannot_be_started_is_a_failure() -> None:
    """The machine may have no process or memory left; the suite goes on."""
    outcome = execute(SubprocessExecutor(Interpreters({Framework.MXNET: "/no/such/python"})))
    assert isinstance(outcome, Failure)
    assert (outcome.reason, "/no/such/python" in outcome.detail) == (FailureReason.CRASHED, True)


def test_an_installation_without_a_framework_stops_the_suite(worker: Callable[[str], SubprocessExecutor]) -> None:
    """There is no point in failing a hundred runs one by one."""
    with pytest.raises(SetupError, match="pip install"):
        execute(worker('print(\'{"type":"unusable","detail":"pip install it"}\')'))
    with pytest.raises(SetupError, match="pip install"):
        worker('print(\'{"type":"unusable","detail":"pip install it"}\')').describe()
    with pytest.raises(SetupError, match="boom"):
        worker("sys.exit('boom')").describe()


def test_the_order_generator_is_its_own() -> None:
    """Scheduling leaves Python's global generator alone."""
    random.seed(5)
    expected = random.random()
    random.seed(5)
    schedule(a_plan(2), 3)
    assert random.random() == expected


def test_a_run_alone_has_what_the_machine_did_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A block has it for its runs."""
    monkeypatch.setattr(process, "send_request", lambda *_arguments, **_options: RunReply(run=a_run()))
    request = run_request(a_plan(1)[0], Path("/data"), a_dataset(), 2)
    run = SubprocessExecutor().execute(request, 60.0, lambda _index, _epoch: None)
    assert isinstance(run, Run)
    assert run.health is not None
    assert all(seconds > 0 for seconds in run.health.anchor_seconds)

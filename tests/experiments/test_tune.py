"""A search measures with fake processes: which live, what they are asked, failures, interruption."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest

from bench.errors import SetupError
from bench.experiments.attempts import DeadlyError
from bench.experiments.pilot import PilotError
from bench.experiments.tune import estimates, limits, pool, racing
from bench.experiments.tune.racing import Step
from bench.experiments.tune.rounds import plan, run_rounds
from bench.records.result import FailureReason
from bench.records.tune import REFERENCE, Candidate, Reason, TuneFile, TunePhase, TunePlan
from bench.scenarios.scenario import Scenario
from bench.worker.process import Cancellation, WorkerFailure
from bench.worker.session import SessionError
from mnist_core.recipe import Engine, Precision
from tests.support.records import a_dataset
from tests.support.tune import FakeWorkers, a_tune_file, a_tune_plan, candidates


class Silent:
    """An observer that remembers the steps."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.on_round: Callable[[TuneFile], None] = lambda _file: None

    def round_started(self, _index: int, step: Step) -> None:
        self.steps.append(step)

    def candidate_started(self, candidate: Candidate) -> None: ...
    def round_finished(self, tune_file: TuneFile) -> None:
        self.on_round(tune_file)


def run(
    workers: FakeWorkers,
    tune_file: TuneFile,
    *,
    save: Callable[[TuneFile], None] = lambda _file: None,
    stop: Cancellation | None = None,
    observer: Silent | None = None,
) -> TuneFile:
    final = run_rounds(
        tune_file,
        start_session=workers.start,
        data_directory=Path("/data"),
        save=save,
        observer=observer or Silent(),
        stop=stop or Cancellation(),
        now=workers.clock,
    )
    assert not workers.alive, "a process was left behind"
    return final


def a_file(count: int, **changes: object) -> TuneFile:
    return a_tune_file(plan=a_tune_plan(candidates=candidates(count=count), **changes))


def faster(scenarios: Sequence[Candidate], by: float) -> Callable[[Scenario], float]:
    named = {each.scenario for each in scenarios}
    return lambda scenario: 1e-4 / (by if scenario in named else 1.0)


# --- a whole search ---------------------------------------------------------------------------------------------------


def test_a_search_finds_what_is_faster() -> None:
    """It goes through screening, heats and final, and saves every round as it ends."""
    tune_file = a_file(40)
    best = tune_file.plan.candidates[17]
    saved: list[TuneFile] = []
    workers = FakeWorkers(cost=faster([best], 1.3))
    final = run(workers, tune_file, save=lambda file: saved.append(file) if file.in_progress is None else None)
    assert estimates.winner(final.plan, final.rounds) == 17
    assert [len(each.rounds) for each in saved] == list(range(len(final.rounds) + 1))
    assert saved[-1] == final
    assert estimates.elapsed_seconds(final.plan, final.rounds) == pytest.approx(workers.clock.time + 2.0, rel=1e-6)


def test_screening_shares_processes_and_keeps_the_reference_apart() -> None:
    """Each pair of thread count and engine has one, and in one more the reference stays set up."""
    observer, workers = Silent(), FakeWorkers()
    run(workers, a_file(40, budget_seconds=1e-6), observer=observer)  # one round, and the two blocks of the final
    screened = {
        pool.pool_key(tune_candidate)
        for tune_candidate in (a_file(40).plan.candidates[index] for index in observer.steps[0].candidates)
    }
    before_final = workers.requests[: -2 * (limits.FINALISTS + 1)]
    variables = Counter((request.omp_num_threads, request.engine, request.precision) for request in before_final)
    assert variables == Counter([*screened, (1, Engine.THREADED, Precision.FLOAT32)])


def test_the_reference_is_measured_before_after_and_in_between() -> None:
    """So drift can be told from speed."""
    final = run(FakeWorkers(), a_file(20, budget_seconds=1e-6))
    measured = [m.candidate for m in final.rounds[0].measurements]
    assert measured[0] == measured[-1] == REFERENCE
    places = [index for index, candidate in enumerate(measured) if candidate == REFERENCE]
    assert max(after - before for before, after in itertools.pairwise(places)) == 5


def test_heats_are_run_in_fresh_processes() -> None:
    """The luck of a process must not follow a candidate from heat to heat."""
    workers, observer = FakeWorkers(), Silent()
    starts: list[int] = []
    observer.on_round = lambda _file: starts.append(len(workers.requests))
    final = run(workers, a_file(40), observer=observer)
    heats = [index for index, each in enumerate(final.rounds) if each.phase is TunePhase.HEAT]
    assert heats
    for index in heats:
        assert starts[index] > starts[index - 1]


def test_few_processes_are_alive_at_once() -> None:
    """That holds however many thread counts a machine has."""
    many = candidates(cores=32)
    assert len({*map(pool.pool_key, many)}) > pool._MOST_ALIVE
    workers = FakeWorkers()
    run(workers, a_tune_file(plan=a_tune_plan(candidates=many, budget_seconds=30.0)))
    assert workers.most_alive == pool._MOST_ALIVE + 1


def test_a_block_gives_each_candidate_a_fresh_process_and_turns() -> None:
    """All live together, none begins before all are ready, and the last of a turn is the first of the next."""
    workers = FakeWorkers()
    run(workers, a_file(2, budget_seconds=1e-6))
    calls = workers.calls[: workers.calls.index((0, "end")) - 2]
    assert [what for _number, what in calls[:6]] == ["start"] * 3 + ["ready"] * 3
    rest = calls[6:]
    assert rest[:9] == [(number, what) for number in (2, 1, 0) for what in ("set up", "window", "evaluate")]
    turns = [number for number, what in rest[9:] if what == "window"]
    assert turns == [0, 1, 2, 2, 1, 0] * 5
    assert [what for _number, what in rest[-3:]] == ["evaluate"] * 3


def test_all_of_a_block_train_from_the_same_seed_and_blocks_from_different_ones() -> None:
    """Their accuracies must agree, and no seed decides alone."""
    workers = FakeWorkers()
    run(workers, a_file(2))
    seeds = [request.seed for request in workers.requests]
    assert seeds == [42 + block for block in range(len(seeds) // 3) for _each in range(3)]


def test_a_hopeless_candidate_gets_short_windows_alone() -> None:
    tune_file = a_file(40)
    slow = tune_file.plan.candidates[30:]
    final = run(FakeWorkers(cost=faster(slow, 0.1)), tune_file)
    lengths = {
        len(m.samples)
        for each in final.rounds[1:]
        if each.phase is TunePhase.SCREENING
        for m in each.measurements
        if m.candidate >= 30
    }
    assert lengths == {3}


# --- what goes wrong --------------------------------------------------------------------------------------------------


def crash(detail: str = "status 1") -> SessionError:
    return SessionError(WorkerFailure(FailureReason.CRASHED, detail, "the log"))


def test_a_candidate_that_crashes_is_out_and_the_others_go_on() -> None:
    """It is out after a second crash in a fresh process; the next candidate finds a new one."""
    tune_file = a_file(20)
    bad = tune_file.plan.candidates[5].scenario

    def fail(scenario: Scenario, _before: int) -> None:
        if scenario == bad:
            raise crash()

    workers = FakeWorkers(on_set_up=fail)
    final = run(workers, tune_file)
    assert estimates.eliminated(final.rounds)[5].ruling is Reason.FAILED
    failures = [failure for each in final.rounds for failure in each.failures]
    assert [(failure.candidate, failure.fresh, failure.log) for failure in failures][-1] == (5, True, "the log")
    assert len(failures) <= 2
    assert len(estimates.screening_samples(final.rounds)) == 19


def test_a_crash_beside_others_is_not_held_against_a_candidate() -> None:
    """What others left in the process may be the cause: alone in a fresh one it works."""
    tune_file = a_file(20)

    def fail(_scenario: Scenario, before: int) -> None:
        if before >= 3:
            raise crash()

    final = run(FakeWorkers(on_set_up=fail), tune_file)
    failures = [failure for each in final.rounds for failure in each.failures]
    assert failures
    assert not any(failure.fresh for failure in failures)
    assert len(estimates.screening_samples(final.rounds)) == 20
    assert not any(each.ruling is Reason.FAILED for each in estimates.eliminated(final.rounds).values())


def test_images_that_were_not_trained_do_not_count() -> None:
    """No candidate is faster by counting more."""
    final = run(FakeWorkers(counts=1.1), a_file(2))
    assert {failure.detail for each in final.rounds for failure in each.failures} == {
        "a window trained 4400 images, not 4000"
    }


@pytest.mark.parametrize("count", [3, 20])
def test_a_reference_that_breaks_down_ends_the_search(count: int) -> None:
    """What was measured is kept."""
    tune_file = a_file(count)
    reference = tune_file.plan.candidates[REFERENCE].scenario
    windows = 0

    def fail(scenario: Scenario) -> None:
        nonlocal windows
        windows += scenario == reference
        if windows > 12 and scenario == reference:
            raise crash("no memory left")

    final = run(FakeWorkers(on_window=fail), tune_file)
    assert estimates.eliminated(final.rounds)[REFERENCE].detail == "crashed: no memory left"
    assert final.rounds[0].measurements


def test_a_finalist_that_does_not_learn_is_out() -> None:
    tune_file = a_file(3)
    bad = tune_file.plan.candidates[2].scenario
    final = run(FakeWorkers(accuracy=lambda scenario: 0.1 if scenario == bad else 0.9), tune_file)
    assert estimates.eliminated(final.rounds)[2].ruling is Reason.NOT_LEARNT


def test_a_finalist_that_crashes_leaves_the_block_to_the_others() -> None:
    """The others have their measurements of that block, and the next ones are without it."""
    tune_file = a_file(3)
    bad = tune_file.plan.candidates[2].scenario
    windows = 0

    def fail(scenario: Scenario) -> None:
        nonlocal windows
        windows += scenario == bad
        if windows > 13 and scenario == bad:
            raise crash()

    final = run(FakeWorkers(cost=faster(tune_file.plan.candidates[1:], 1.2), on_window=fail), tune_file)
    blocks = [{m.candidate for m in each.measurements} for each in final.rounds if each.phase is TunePhase.FINAL]
    assert blocks[:2] == [{0, 1, 2, 3}, {0, 1, 3}]
    assert all(2 not in block for block in blocks[1:])
    assert estimates.eliminated(final.rounds)[2].ruling is Reason.FAILED
    assert estimates.winner(final.plan, final.rounds) in {1, 3}


@pytest.mark.parametrize("whole_rounds", [0, 1])
def test_a_request_to_stop_keeps_what_was_measured(whole_rounds: int) -> None:
    """That is so for the round it came in, too. The candidate being measured then has not failed."""
    stop, observer = Cancellation(), Silent()
    windows = 0

    def interrupt(_scenario: Scenario) -> None:
        nonlocal windows
        if len(observer.steps) > whole_rounds:
            windows += 1
        if windows > 10:
            stop()
            raise crash("killed")

    saved: list[TuneFile] = []
    final = run(FakeWorkers(on_window=interrupt), a_file(40), save=saved.append, stop=stop, observer=observer)
    assert saved[-1] == final
    assert len(final.rounds) == whole_rounds + 1
    last = final.rounds[-1]
    assert last.measurements
    assert not last.failures
    assert not estimates.eliminated([last])
    rest = run(FakeWorkers(), final)
    assert rest.rounds[: len(final.rounds)] == final.rounds
    assert racing.next_step(rest.plan, rest.rounds) is None


def test_what_kills_the_program_with_its_workers_is_measured_twice_and_then_said() -> None:
    """A heat of eight processes may need more memory than a container has. No finished round is lost."""

    class Killed(BaseException):
        pass

    saved: list[TuneFile] = [a_file(40)]

    def resume(*, deadly: bool) -> None:
        observer = Silent()

        def dies(_scenario: Scenario) -> None:
            if deadly and observer.steps[-1].phase is not TunePhase.SCREENING:
                raise Killed

        run(FakeWorkers(on_window=dies), saved[-1], save=saved.append, observer=observer)

    for _ in range(2):
        with pytest.raises(Killed):
            resume(deadly=True)
    finished = saved[-1].rounds
    assert finished
    with pytest.raises(DeadlyError, match="was killed 2 times"):
        resume(deadly=True)
    assert (saved[-1].rounds, saved[-1].in_progress) == (finished, None)
    resume(deadly=False)
    assert saved[-1].rounds[: len(finished)] == finished
    assert racing.next_step(saved[-1].plan, saved[-1].rounds) is None


def test_an_interrupted_search_goes_on_where_it_stopped() -> None:
    """It goes on with the rounds of its file."""
    whole = run(FakeWorkers(), a_file(40))
    begun = msgspec.structs.replace(whole, rounds=whole.rounds[:2])
    rest = run(FakeWorkers(), begun)
    assert rest.rounds[:2] == whole.rounds[:2]
    assert racing.next_step(rest.plan, rest.rounds) is None


def test_what_no_process_can_do_ends_everything() -> None:
    """A framework that cannot be imported is an example. No process is left behind."""

    def fail(_scenario: Scenario, _before: int) -> None:
        raise SetupError("MXNet is not installed")

    workers = FakeWorkers(on_set_up=fail)
    with pytest.raises(SetupError, match="not installed"):
        run(workers, a_file(20))
    assert not workers.alive


# --- the plan ---------------------------------------------------------------------------------------------------------


def planned(workers: FakeWorkers, **changes: object) -> TunePlan:
    facts: dict[str, object] = {
        "reference_may_win": True,
        "exhaustive": False,
        "budget_seconds": 300.0,
        "start_session": workers.start,
        "data_directory": Path("/data"),
        "dataset": a_dataset(),
        "seed": 42,
        "now": workers.clock,
    }
    return plan(candidates(count=3), **facts | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("cost", "screening", "final"),
    [
        (1e-4, 500, 600),  # 0.05 and 0.06 seconds
        (1e-2, 100, 100),  # a slow machine: one whole batch is long enough for any window
        (1e-6, 5000, 5000),  # a fast one: no more images than memory is kept for
    ],
)
def test_the_pilot_fixes_how_many_images_make_an_epoch(cost: float, screening: int, final: int) -> None:
    """They follow from the speed of the reference, in whole batches."""
    made = planned(FakeWorkers(cost=lambda _scenario: cost))
    assert made.screening_samples == pytest.approx(screening, abs=100)
    assert made.final_samples == pytest.approx(final, abs=100)
    assert made.screening_samples % 100 == made.final_samples % 100 == 0
    assert made.screening_samples <= made.final_samples
    assert made.test_samples == 1000
    assert made.command_seconds >= 30
    assert made.pilot_seconds > 1


def test_a_reference_that_does_not_work_is_found_out_first() -> None:
    def fail(_scenario: Scenario, _before: int) -> None:
        raise SessionError(WorkerFailure(FailureReason.CRASHED, "status 1", "Traceback\nMXNetError: no"))

    with pytest.raises(PilotError, match="loop does not work here: crashed: status 1: MXNetError: no"):
        planned(FakeWorkers(on_set_up=fail))

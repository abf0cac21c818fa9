"""What is shown while something is measured: line by line in a pipe, and anew at every refresh of a terminal."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from bench.experiments.gate.blocks import run_blocks
from bench.experiments.gate.decision import conclusion_of
from bench.experiments.run.eta import pace
from bench.experiments.tune import eta
from bench.experiments.tune.rounds import run_rounds
from bench.records.gate import GateFile, GatePhase, Purpose
from bench.records.result import Failure, FailureReason, ResultSet, Run
from bench.records.tune import TuneFile, TunePhase
from bench.render import units
from bench.render.progress.gate import GateProgress
from bench.render.progress.rounds import RoundsProgress
from bench.render.progress.run import RunProgress
from bench.render.progress.tune import TuneProgress
from bench.scenarios.suite import PlannedRun
from bench.worker.process import Cancellation
from mnist_core.recipe import Recipe
from tests.support.executor import a_slow_block, in_turns
from tests.support.gate import MLP, FakeSessions, a_gate_file, a_plan, make_machine_quiet, noisy, slowed
from tests.support.gate import blocks as gate_blocks
from tests.support.records import a_failure, a_result_set, a_run, a_scenario, planned
from tests.support.tune import FakeWorkers, Machine, a_tune_file, a_tune_plan, bumpy, candidates, search


class Clock:
    """Time passes only where a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True


def a_console(clock: Callable[[], float], *, terminal: bool, width: int = 120) -> Console:
    return Console(
        file=Terminal() if terminal else io.StringIO(),
        get_time=clock,
        force_terminal=terminal,
        force_interactive=terminal,
        width=width,
        color_system="standard",
    )


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def lines(console: Console) -> list[str]:
    return printed(console).splitlines()


def shown(console: Console, live: object) -> str:
    """Return what a terminal shows at its next refresh."""
    with console.capture() as captured:
        console.print(live)
    return captured.get()


# --- the pace of runs -------------------------------------------------------------------------------------------------


def test_without_anything_done_the_estimate_is_believed() -> None:
    assert pace(expected_seconds=0.0, real_seconds=0.0, trusted_seconds=10.0) == 1.0


@pytest.mark.parametrize("factor", [0.1, 3.0])
def test_the_pace_comes_closer_to_the_real_one_with_all_that_is_done(factor: float) -> None:
    """It does from the first run on, and is half way, on a logarithmic scale, after the trusted seconds."""
    paces = [pace(expected_seconds=done, real_seconds=factor * done, trusted_seconds=10.0) for done in (10.0, 20, 90)]
    assert paces[0] == pytest.approx(math.sqrt(factor))
    assert paces == sorted(paces, reverse=factor < 1)
    assert paces[-1] == pytest.approx(factor, rel=0.3)


# --- runs -------------------------------------------------------------------------------------------------------------

RUNS = [a_run(scenario=a_scenario(batch_size=size)) for size in (50, 100, 200, 500)]
TODO = [planned(run) for run in RUNS]


def seconds_of(_planned: PlannedRun) -> float:
    return 20.0


def measured(progress: RunProgress, clock: Clock, run: Run | Failure, position: int, seconds: float) -> None:
    progress.started([planned(run)], position, len(RUNS))
    clock.seconds += seconds
    progress.finished(planned(run), run)


def test_in_a_pipe_each_run_says_how_long_all_will_take(clock: Clock) -> None:
    """The first says the estimate. After a run that took twice as long, later ones are expected to be longer."""
    console = a_console(clock, terminal=False)
    with RunProgress(console, TODO, seconds_of) as progress:
        for position, run in enumerate(RUNS, start=1):
            measured(progress, clock, run, position, 40.0)
    left = [line.rpartition(" · ")[2] for line in lines(console) if line.startswith("[")]
    assert left == ["about 80 s left", "about 95 s left", "about 70 s left", "about 36 s left"]


@pytest.mark.parametrize(("file", "term"), [(Terminal(), "dumb"), (io.StringIO(), "xterm")])
def test_where_no_cursor_moves_there_are_lines(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, file: io.StringIO, term: str
) -> None:
    """A dumb terminal, as Emacs has it, and a log that FORCE_COLOR colours show what a pipe shows."""
    monkeypatch.setenv("TERM", term)
    monkeypatch.delenv("TTY_INTERACTIVE", raising=False)
    console = Console(file=file, get_time=clock, force_terminal=True, width=120, color_system="standard")
    with RunProgress(console, TODO, seconds_of) as progress:
        measured(progress, clock, RUNS[0], 1, 40.0)
    assert lines(console)[0].startswith("[1/4] mlp")
    assert "final accuracy" in lines(console)[1]
    assert "\x1b[2K" not in printed(console)
    assert "\x1b[?25l" not in printed(console)


def test_on_a_terminal_the_time_left_ticks(clock: Clock) -> None:
    """It needs no event. What a run takes beyond its estimate is not taken from the later ones."""
    console = a_console(clock, terminal=True)
    progress = RunProgress(console, TODO, seconds_of)
    progress.started([planned(RUNS[0])], 1, 4)

    for now, left in ((0.0, "about 80 s left"), (19.0, "about 61 s left"), (100.0, "about 60 s left")):
        clock.seconds = now
        assert left in shown(console, progress._live.get_renderable())


def test_an_epoch_tells_the_pace_of_a_single_long_run(clock: Clock) -> None:
    """Half of the epochs took as long as all were to take."""
    run = RUNS[0]
    console = a_console(clock, terminal=False)
    progress = RunProgress(console, [planned(run)], lambda _planned: 60.0)
    progress.started([planned(run)], 1, 1)
    clock.seconds = 60.0
    halfway = run.recipe.epochs // 2
    assert 2 * halfway == run.recipe.epochs
    progress.epoch(planned(run), halfway - 1, run.epochs[0])
    assert progress._seconds_left() == pytest.approx(30 * math.sqrt(2))


def test_a_failed_run_is_counted_but_says_nothing_of_the_pace(clock: Clock) -> None:
    """A crash after a second would make all others look fast."""
    console = a_console(clock, terminal=False)
    crash = a_failure(scenario=RUNS[0].scenario, recipe=RUNS[0].recipe, repeat=0)
    progress = RunProgress(console, TODO, seconds_of)
    measured(progress, clock, crash, 1, 1.0)
    assert progress._seconds_left() == 60.0
    assert progress._progress.tasks[0].completed == 1
    assert f"FAILED ({crash.reason})" in printed(console)


def test_an_interrupted_run_is_no_failure_and_not_counted(clock: Clock) -> None:
    """The user stopped it, and --resume measures it."""
    console = a_console(clock, terminal=True)
    interrupted = a_failure(
        scenario=RUNS[0].scenario, recipe=RUNS[0].recipe, repeat=0, reason=FailureReason.INTERRUPTED
    )
    progress = RunProgress(console, TODO, seconds_of)
    measured(progress, clock, interrupted, 1, 1.0)
    assert progress._progress.tasks[0].completed == 0
    assert lines(console) == [f"interrupted: {RUNS[0].scenario.name} #1"]


def test_runs_that_take_turns_are_told_together(clock: Clock) -> None:
    """In a pipe what they are, how long all will take, and each one's speed; on a terminal how far they are."""
    runs = [in_turns(run, 0) for run in RUNS]
    together = [msgspec.structs.replace(planned(run), in_turns=True) for run in runs]
    console = a_console(clock, terminal=False)
    with RunProgress(console, TODO, seconds_of) as progress:
        progress.started(together, 1, 4)
        clock.seconds = 40.0
        for one in together:
            progress.turn(one)
        assert progress._share == pytest.approx(1 / (RUNS[0].recipe.epochs + 3))
        for one, run in zip(together, runs, strict=True):
            progress.finished(one, run)
        assert progress._seconds_left() == 0.0
    first, *others = lines(console)
    assert first == "[1-4/4] 4 scenarios of mlp take turns #1 · about 80 s left"
    assert others == [f"    {run.scenario.name}: 10,000 images/s, final accuracy 0.9750" for run in runs]

    console = a_console(clock, terminal=True)
    progress = RunProgress(console, TODO, seconds_of)
    progress.started(together, 1, 4)
    progress.turn(together[2])
    assert f"{RUNS[2].scenario.name} #1: turn of 4 scenarios, 2% of the block" in shown(
        console, progress._live.get_renderable()
    )


def blocks_of(*speeds: tuple[float, ...], precision: float | None = None, voids: Sequence[int] = ()) -> ResultSet:
    """A file of as many rows as there are speeds, each of a process in every block."""
    runs = [
        msgspec.structs.replace(
            in_turns(a_run(scenario=RUNS[row].scenario, throughput=speed, recipe=Recipe(seed=42 + block)), block),
            repeat=block,
        )
        for row, own in enumerate(speeds)
        for block, speed in enumerate(own)
    ]
    plan = [msgspec.structs.replace(planned(run), in_turns=True) for run in runs]
    blocks = tuple(a_slow_block(1.6 if index in voids else 1.0) for index in range(len(speeds[0])))
    return a_result_set(*runs, plan=tuple(plan), blocks=blocks, precision=precision)


TWO_ROWS = ((10_000.0, 11_000.0, 9_000.0), (20_000.0, 21_500.0, 18_500.0))


def test_in_a_pipe_each_block_says_how_well_speed_ups_are_known(clock: Clock) -> None:
    """Nothing before there are two; what the single rows give is told of the first block alone."""
    console = a_console(clock, terminal=False)
    for done in (1, 2, 3):
        result_set = blocks_of(*[own[:done] for own in TWO_ROWS])
        unit = [each for each in result_set.plan if each.repeat == done - 1]
        with RunProgress(console, unit, seconds_of) as progress:
            progress.started(unit, 1, 2)
            for one, run in zip(unit, [run for run in result_set.runs if run.block == done - 1], strict=True):
                progress.finished(one, run)
            progress.block_saved(result_set, unit, ())
    told = [line for line in lines(console) if not line.startswith("[")]
    assert [line.partition(": ")[2] for line in told[:2]] == [
        "10,000 images/s, final accuracy 0.9750",
        "20,000 images/s, final accuracy 0.9750",
    ]
    assert [line.rpartition(", ")[2] for line in told[2:]] == ["n = 2", "n = 3"]
    assert all(line.startswith("    mlp: speed-ups known to ") for line in told[2:])
    assert told[3] == "    mlp: speed-ups known to 6.5 % (median), 6.5 % (worst), n = 3"


def test_on_a_terminal_each_rows_interval_shrinks(clock: Clock) -> None:
    """Below the bar every row of the network stands with its short name, its speed-up, and its speed."""
    console = a_console(clock, terminal=True)
    progress = RunProgress(console, TODO, seconds_of)
    seen = []
    for done in (2, 3):
        result_set = blocks_of(*[own[:done] for own in TWO_ROWS])
        progress.block_saved(result_set, result_set.plan, ())
        rows = shown(console, progress._live.get_renderable()).splitlines()[-2:]
        seen.append([" ".join(line.split()).replace(units.TIMES, "x") for line in rows])
    assert seen[0] == ["batch 50 0.506x ±16 % 10,488 images/s ±83 %", "batch 100 reference 20,736 images/s ±58 %"]
    assert seen[1] == ["batch 50 0.499x ±6.5 % 9,967 images/s ±28 %", "batch 100 reference 19,962 images/s ±21 %"]


def test_a_void_block_is_told_when_it_ends(clock: Clock) -> None:
    """On a terminal, too, since it is the reason why there is another."""
    console = a_console(clock, terminal=True)
    result_set = blocks_of(*TWO_ROWS, voids=[2])
    later = [msgspec.structs.replace(each, added=True) for each in result_set.plan[:2]]
    progress = RunProgress(console, TODO, seconds_of)
    progress.block_saved(result_set, result_set.plan, later)
    progress.block_saved(result_set, result_set.plan, ())
    why = "block 3 is void: the machine itself was 1.60 times slower than usual"
    assert [line[line.index("block") :].removesuffix("\x1b[0m") for line in lines(console)] == [
        f"{why}; another is measured",
        why,
    ]


def test_added_blocks_are_in_the_time_left(clock: Clock) -> None:
    """From when they are known; and no longer than the budget lasts."""
    console = a_console(clock, terminal=False)
    result_set = blocks_of(*[own[:1] for own in TWO_ROWS])
    unit = result_set.plan
    added = [
        msgspec.structs.replace(each, repeat=repeat, recipe=Recipe(seed=42 + repeat), added=True)
        for repeat in (1, 2, 3)
        for each in unit
    ]
    progress = RunProgress(console, unit, seconds_of, budget_seconds=130.0)
    assert progress._seconds_left() == 40.0
    progress.started(unit, 1, 2)
    clock.seconds = 40.0
    for one, run in zip(unit, result_set.runs, strict=True):
        progress.finished(one, run)
    progress.block_saved(result_set, unit, added)
    assert progress._seconds_left() == 90.0  # of the budget, where the blocks take 120 s
    progress.block_saved(result_set, unit, added[:4])
    assert progress._seconds_left() == 80.0
    progress.started(added[:2], 3, 6)
    assert progress._seconds_left() == 80.0
    assert progress._progress.tasks[0].total == 6


# --- rounds of a profile ----------------------------------------------------------------------------------------------


def test_rounds_are_told_in_a_pipe_every_ten_seconds(clock: Clock) -> None:
    """The mean of the finished ones says how long the others take; warming up does not count as one."""
    console = a_console(clock, terminal=False)
    with RoundsProgress(console, 8) as progress:
        clock.seconds = 4.0
        progress.round_done(0)
        for done in range(1, 9):
            clock.seconds += 4.0
            progress.round_done(done)
    assert lines(console) == [
        "    round 3/8 · 12 s · about 24 s left",
        "    round 6/8 · 24 s · about 12 s left",
    ]


def test_a_round_ticks_on_a_terminal(clock: Clock) -> None:
    """It ticks from warming up to the last one. One that takes longer leaves the time of the later ones."""
    console = a_console(clock, terminal=True)
    progress = RoundsProgress(console, 3)
    seen = []
    for seconds, done in ((3.0, None), (4.0, 0), (10.0, 1), (12.0, None), (30.0, None), (40.0, 3)):
        clock.seconds = seconds
        if done is not None:
            progress.round_done(done)
        seen.append(shown(console, progress._status.renderable))
    assert [line.split(" ", 1)[1].rstrip() for line in seen] == [
        "warming up · 3 s",
        "round 1/3 · 4 s",
        "round 2/3 · 10 s · about 12 s left",
        "round 2/3 · 12 s · about 10 s left",
        "round 2/3 · 30 s · about 6 s left",
        "round 3/3 · 40 s · about 0 s left",
    ]


# --- blocks of a gate -------------------------------------------------------------------------------------------------


def blocks(
    console: Console,
    clock: Clock,
    gate_file: GateFile,
    budget_seconds: float,
    *,
    interrupted_in: int = 0,
    sd: float = 0.01,
) -> list[str]:
    """Measure blocks of twelve windows of a second each; return what a terminal shows before each window."""
    seen: list[str] = []
    stop = Cancellation()
    with GateProgress(console, budget_seconds, gate_file.blocks) as progress:

        def tick(_side: object, _scenario: object) -> None:
            seen.append(" ".join(shown(console, progress._status.renderable).split()[1:]))
            clock.seconds += 1.0
            if len(seen) == 12 * interrupted_in:
                stop()

        run_blocks(
            gate_file,
            sessions=FakeSessions(on_window=tick, sd=sd).sessions,
            data_directory=Path("/data"),
            budget_seconds=budget_seconds,
            save=lambda _file: None,
            observer=progress,
            stop=stop,
            now=clock,
        )
    return seen


def test_a_recording_tells_how_long_the_blocks_it_still_wants_take(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe gets it with every block, by the mean of those before; on a terminal it ticks."""
    make_machine_quiet(monkeypatch)
    console = a_console(clock, terminal=False)
    plan = a_plan([MLP], purpose=Purpose.CALIBRATION, max_blocks=12)
    seen = blocks(console, clock, a_gate_file(plan=plan), math.inf)
    heads = [line for line in lines(console) if line.startswith("block")]
    assert heads[0].startswith("block 1 of 12: 12.0 s, main, ")
    assert heads[0].endswith(", about 2 min left")
    assert [heads[i].rpartition(", ")[2] for i in (2, 10)] == ["about 108 s left", "about 12 s left"]
    assert "left" not in heads[11]
    assert "left" not in seen[0]
    assert seen[12 * 4 + 5].startswith("block 5 of 12, ")
    assert [seen[12 * 4 + i].split(" · ")[1] for i in (0, 5)] == ["about 96 s left", "about 91 s left"]


def test_the_budget_of_a_gate_ticks(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does so within a block, too."""
    make_machine_quiet(monkeypatch)
    console = a_console(clock, terminal=False)
    seen = blocks(console, clock, a_gate_file(plan=a_plan([MLP])), 100.0, interrupted_in=2)
    assert [seen[i].split(" · ")[1] for i in (0, 5, 13)] == [
        "100 s of the budget left",
        "95 s of the budget left",
        "87 s of the budget left",
    ]
    assert seen[0].split(", ")[0] == "block 1"
    assert next(iter(lines(console))).endswith(", 88 s of the budget left")


def test_a_suspect_is_said_to_be_confirmed(clock: Clock) -> None:
    """While fresh blocks decide, its row is neither regressed nor merely inconclusive."""
    console = a_console(clock, terminal=False)
    progress = GateProgress(console, 1000.0)
    gate_file = a_gate_file(gate_blocks(9, slowed(noisy(3), 0.2), scenarios=[MLP]), plan=a_plan([MLP]))
    for count in (8, 9):
        found = tuple(
            msgspec.structs.replace(block, phase=GatePhase.MAIN if block.index < 8 else GatePhase.CONFIRMATION)
            for block in gate_file.blocks[:count]
        )
        part = msgspec.structs.replace(gate_file, blocks=found)
        progress.block_finished(found[-1], conclusion_of(part), 900.0)
    said = " ".join(lines(console))
    assert "suspected, being confirmed (0 of 5)" in said
    assert "in 1 fresh block " in said
    assert "suspected, being confirmed (1 of 5)" in said


def test_a_gate_that_goes_on_after_a_look_says_why(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """The log names what keeps each scenario from an end, and how many blocks it takes until the next look."""
    make_machine_quiet(monkeypatch)
    console = a_console(clock, terminal=False)
    blocks(console, clock, a_gate_file(plan=a_plan([MLP])), 1000.0, interrupted_in=9, sd=0.5)
    first, *_later, last_row, look = lines(console)
    assert first.startswith("block 1: ")
    assert last_row.split(", ", 2)[2].startswith("n = 8, inconclusive: ")
    assert look == "    not decided yet: all are judged again after 4 more blocks"


# --- rounds of a search -----------------------------------------------------------------------------------------------


def rounds(tune_file: TuneFile, *, terminal: bool) -> tuple[Console, list[str]]:
    """Search with fake sessions; return the console, and what it shows before each window."""
    workers = FakeWorkers()
    console = a_console(workers.clock, terminal=terminal, width=200)
    seen: list[str] = []
    progress = TuneProgress(console, tune_file)  # not entered: this terminal is looked at only where a test does

    def look(_scenario: object) -> None:
        seen.append(" ".join(shown(console, progress._status.renderable).split()[1:]))

    workers.on_window = look
    run_rounds(
        tune_file,
        start_session=workers.start,
        data_directory=Path("/data"),
        save=lambda _file: None,
        observer=progress,
        stop=Cancellation(),
        now=workers.clock,
    )
    return console, seen


def a_search(budget_seconds: float | None, **changes: object) -> TuneFile:
    return a_tune_file(plan=a_tune_plan(candidates=candidates(count=40), budget_seconds=budget_seconds, **changes))


def test_a_round_is_told_when_it_begins_and_when_it_ends() -> None:
    """In a pipe nothing is silent for longer than a round."""
    console, _seen = rounds(a_search(3600.0), terminal=False)
    told = [line for line in lines(console) if line.startswith("round")]
    assert told[0].startswith("round 1 begins: screening, ")
    assert all(line.endswith(" of the budget left") for line in told)
    assert [line.split()[1].rstrip(":") for line in told] == [
        str(number) for number in range(1, len(told) // 2 + 1) for _ in range(2)
    ]


def test_on_a_terminal_the_setting_is_counted_and_the_budget_ticks() -> None:
    """A round's beginning is not worth a line there."""
    console, seen = rounds(a_search(100.0), terminal=True)
    assert "begins" not in printed(console)
    first = [line for line in seen if line.startswith("round 1, screening")]
    numbered = [line for line in first if "setting 1 of " in line or "setting 2 of " in line]
    assert numbered[0].split(" · ")[1].endswith(" of the budget left")
    assert len({line.split(" · ")[1] for line in first}) > 1


def test_when_the_budget_ends_the_final_is_what_remains() -> None:
    """It has two blocks with any budget; at the end no time is left to be shown."""
    console, seen = rounds(a_search(1.0), terminal=False)
    told = [line for line in lines(console) if line.startswith("round")]
    assert "of the budget left" not in printed(console)
    assert told[0].endswith(", the final takes about 28 s more")
    assert told[-2].startswith("round 3 begins: final")
    assert ", the final takes about " in told[-2]
    assert "the final takes" not in told[-1]
    ticking = [line.split(" · ")[1] for line in seen if line.startswith("round 3")]
    assert len(set(ticking)) > 1


def test_an_exhaustive_search_is_over_when_everything_was_measured_twice() -> None:
    """The time follows the pace of the rounds so far, and the last of them leaves none."""
    console, _seen = rounds(a_search(None, exhaustive=True), terminal=False)
    ends = [line for line in lines(console) if line.startswith("round") and "begins" not in line]
    assert ends[-1].endswith(", about 0 s left")
    assert all(" left" in line.rpartition(", about ")[2] for line in ends)


@pytest.mark.parametrize(("pilot_seconds", "expected"), [(2.0, 42.0), (4.0, 84.0)])
def test_the_least_that_a_search_takes_is_told_from_its_pilot(pilot_seconds: float, expected: float) -> None:
    """That is the pilot, a round of 24 settings, and two blocks of six finalists and the tutorial's loop."""
    plan = a_tune_plan(candidates=candidates(), pilot_seconds=pilot_seconds)
    assert eta.least_seconds(plan) == pytest.approx(expected)


def test_the_rest_of_a_final_is_told_from_its_first_block() -> None:
    """It has as many blocks as it must, of the candidates that are left."""
    every = candidates(count=20)
    truth = bumpy([each.scenario for each in every], 4)
    found = search(a_tune_plan(candidates=every, budget_seconds=1.0), Machine(truth=truth, seed=4))
    first = next(index for index, each in enumerate(found.rounds) if each.phase is TunePhase.FINAL)
    one_block = found.rounds[: first + 1]
    assert eta.final_seconds(found.plan, one_block) == pytest.approx(one_block[-1].seconds)
    assert eta.final_seconds(found.plan, found.rounds) == 0.0


def test_the_rest_of_an_exhaustive_search_is_told_from_what_was_measured() -> None:
    """Four settings measured once, and once more to come; the tutorial's loop is in every block and is none of them."""
    every = candidates(count=5)
    truth = bumpy([each.scenario for each in every], 4)
    found = search(a_tune_plan(candidates=every, exhaustive=True), Machine(truth=truth, seed=4))
    assert eta.exhaustive_seconds(found.plan, ()) is None
    assert eta.exhaustive_seconds(found.plan, found.rounds[:1]) == pytest.approx(found.rounds[0].seconds)
    assert eta.exhaustive_seconds(found.plan, found.rounds) == 0.0

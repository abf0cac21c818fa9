"""What a gate needs before its first block: a request, two sides that work, and a file with its plan."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from bench.errors import ConfigurationError, IncomparableError, SetupError
from bench.experiments import pilot
from bench.experiments.gate import source
from bench.experiments.gate.blocks import by_variables, session_starters
from bench.experiments.gate.calibration import calibration_for
from bench.experiments.gate.source import SourceTree
from bench.experiments.pilot import PilotError, StartSession, WindowSize
from bench.experiments.run.plan import plan_here
from bench.machine.capture import capture, usable_core_count
from bench.records.base import utc_now
from bench.records.environment import Software
from bench.records.gate import (
    GATED_PERCENTILES,
    GatedScenario,
    GateFile,
    GateMetric,
    GatePlan,
    Purpose,
    SideDescription,
)
from bench.records.health import VOID_ANCHOR_RATIO, VOID_STEAL_FRACTION
from bench.records.result import Dataset
from bench.scenarios.axes import Framework
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import Overrides
from bench.stats.paired import Side
from bench.worker import process, session
from bench.worker.process import Cancellation, Interpreter
from bench.worker.session import Session, SessionError
from mnist_core.devices import Device, Probe
from mnist_core.recipe import Recipe

GATE_SUITE: Final = "gate"
#: Timed windows of each scenario in the pilot, besides the epoch of its set-up.
_PILOT_WINDOWS: Final = 1
#: Timed windows of a scenario in an invocation: a block has twenty of a twentieth of a second. Short ones pair better;
#: with what leads in to them, five fill as much time as twelve alone.
_WINDOWS: Final = 5
#: The slowest of the five is left out on both sides. Other programs only ever slow a window, and the kernel sometimes
#: leaves two threads on one core for all of it; code that is slower is so in each. results/NOTES.md says what it gives.
_LEFT_OUT_WINDOWS: Final = 1
#: Numbers of valid blocks at which the evidence is looked at: the first are the fewest of which one may disagree with
#: the others, for four scenarios and three looks at alpha 0.05 (2 x 2^-9 x 4 x 3 = 0.047). Eight would all have to
#: agree, and what such blocks may miss is so much that most gates went on to the second look.
_LOOKS: Final = (9, 12, 20)
#: Numbers of fresh blocks, of the suspects alone, at which a suspicion is looked at. Five that all agree have
#: p = 2^-5 = 0.03, below half of this alpha; another five give a smaller effect a second chance. A false suspicion, at
#: most one in twenty gates, survives in one case of ten.
_CONFIRMATION_LOOKS: Final = (5, 10)
_CONFIRMATION_ALPHA: Final = 0.1
#: Largest detectable relative slowdown of a row that may be called unchanged (0.1 = 10 % slower), whatever its mean.
_DETECTABLE_LIMIT: Final = 0.1
#: The same of a latency, whose tail scatters more. It is chosen, and not calibrated.
_LATENCY_DETECTABLE_LIMIT: Final = 0.15
#: Significance level of each check of the measurement itself. One look in a hundred is refused without a cause, and the
#: next one decides.
_CONTROL_ALPHA: Final = 0.01
#: Loss of test accuracy after the windows that is no regression: one image in a hundred.
_ACCURACY_MARGIN: Final = 0.01
#: More void blocks than this share are the sign of an unhealthy machine.
_UNHEALTHY_FRACTION: Final = 0.3
#: Turns of a process, and queries of a turn: more than the 368 that a p99 takes (`order_statistics.fewest_values`). The
#: tutorial's LeNet takes over a millisecond for one: by estimate, nine blocks of more would not fit into ten minutes.
_TURNS, _QUERIES = 8, 400
#: All looks, each with its confirmation, and as many void blocks as a healthy machine may have.
_MAX_BLOCKS: Final = 70
#: Relative drift from an invocation's first window to its last that is still steady. On the 2-core machines of
#: results/, windows drift by 5 % either way with the processor's clock; an invocation that is not warm, by 25 %.
_STEADINESS_MARGIN: Final = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRequest:
    """What a gate is asked to decide, and by which limits.

    Raises `ConfigurationError` where the limits contradict each other.
    """

    #: The name of a built-in suite, or the path of a TOML file.
    suite: str = GATE_SUITE
    metric: GateMetric = GateMetric.THROUGHPUT
    #: As `-k` takes it; None: every scenario of the suite.
    keyword: str | None = None
    #: Drawn anew for each gate: the test is exact because a coin decides the turns of each block.
    seed: int
    margin: float = 0.02
    tolerance: float = 0.10
    alpha: float = 0.05
    purpose: Purpose = Purpose.GATE
    max_blocks: int = _MAX_BLOCKS
    #: None: without a limit.
    budget_seconds: float | None = None

    def __post_init__(self) -> None:
        """Check the limits."""
        if not 0 < self.alpha < 1:
            raise ConfigurationError("--alpha: expected a probability between 0 and 1, e.g. 5%")
        if self.tolerance < self.margin:
            raise ConfigurationError("--tolerance: not below --margin: what is within the margin has not regressed")

    def scenarios(self, probe: Callable[[Framework, Device], Probe]) -> list[tuple[Scenario, int]]:
        """Return each scenario once, with its OpenMP threads per context on this machine."""
        runs = plan_here(self.suite, Overrides(), self.keyword, Recipe().seed, probe)
        cores = usable_core_count()
        return [
            (scenario, scenario.threads_per_context(cores)) for scenario in dict.fromkeys(run.scenario for run in runs)
        ]


@dataclass(frozen=True, slots=True)
class Sides:
    """The baseline and the contender: the code of each, and the Python that runs it."""

    sources: Mapping[Side, SourceTree]
    #: The baseline's, as the user gave it; None: this program's own.
    base_python: Path | None = None

    def __post_init__(self) -> None:
        """Raise `ConfigurationError` where the baseline's Python does not exist."""
        if self.base_python is not None and not self.base_python.is_file():
            raise ConfigurationError(
                f"--base-python {self.base_python}: no such file; name a Python, e.g. old/bin/python"
            )

    @property
    def interpreters(self) -> dict[Side, Interpreter]:
        """What the workers of each side run on."""
        pythons = {Side.BASELINE: str(self.base_python or sys.executable), Side.CONTENDER: sys.executable}
        return {side: Interpreter(pythons[side], self.sources[side].folder) for side in Side}

    @property
    def are_identical(self) -> bool:
        """Whether both sides are the same code under the same Python."""
        return len({(self.sources[side].tree_digest, self.interpreters[side].python) for side in Side}) == 1


def check_out_sides(base: str, scratch: Path, clone: Path, base_python: Path | None = None) -> Sides:
    """Copy the baseline and the working tree of the clone into the scratch folder.

    Raises `ConfigurationError` for a baseline or a Python that does not exist.
    """
    sources = {
        Side.BASELINE: source.check_out(base, Side.BASELINE, scratch, source=clone),
        Side.CONTENDER: source.check_out(source.WORKING_TREE, Side.CONTENDER, scratch, source=clone),
    }
    return Sides(sources, base_python)


def require_prediction(sides: Sides) -> None:
    """Raise `ConfigurationError` where the code of a side cannot predict: an older commit trains alone."""
    for side in Side:
        tree = sides.sources[side]
        if not (tree.folder / source.PACKAGE / "prediction.py").is_file():
            raise ConfigurationError(
                f"--metric latency: the {side} ({tree.name}) has no {source.PACKAGE}/prediction.py, which is what "
                "predicts: name a commit that has it, or compare the training (without --metric)"
            )


def describe_sides(sides: Sides) -> dict[Side, Software]:
    """Ask each side what it runs on.

    Raises `PilotError` where one cannot be imported: a change that breaks the import has failed, not its user.
    """
    return {side: _describe(side, sides.interpreters[side]) for side in Side}


def _describe(side: Side, interpreter: Interpreter) -> Software:
    try:
        return process.describe(interpreter, Cancellation())
    except SetupError as error:
        raise PilotError(f"the {side} does not work under this harness: {error}") from error


def require_same_sides(path: Path, gate_file: GateFile, sides: Sides) -> None:
    """Raise `IncomparableError` where the code or the software of a side is not what the file was begun with.

    Raises `PilotError` where a side does not work.
    """
    before = {Side.BASELINE: gate_file.baseline, Side.CONTENDER: gate_file.contender}
    for side in Side:
        if sides.sources[side].tree_digest != before[side].tree_digest:
            raise IncomparableError(
                f"{path}: the {side}'s code is not what it was ({before[side].name}); start a new measurement"
            )
    software = describe_sides(sides)
    for side in Side:
        if software[side] != before[side].software:
            raise IncomparableError(f"{path}: the {side}'s software is not what it was; start a new measurement")


def new_gate_file(
    request: GateRequest,
    scenarios: Sequence[tuple[Scenario, int]],
    sides: Sides,
    software: Mapping[Side, Software],
    data_directory: Path,
    dataset: Dataset,
) -> GateFile:
    """Return the file before its first block: a pilot run of both sides gives the length of its windows.

    `scenarios` come with their OpenMP threads. Raises `PilotError` where a side does not work, `StoreError` where this
    machine's calibration cannot be read.
    """
    environment = capture(software=software[Side.CONTENDER])
    is_latency = request.metric is GateMetric.LATENCY
    calibration = None if is_latency else calibration_for(environment)
    begin = time.monotonic()
    windows = window_sizes(
        scenarios,
        sessions=session_starters(sides.interpreters, Cancellation(), len(scenarios)),
        data_directory=data_directory,
        dataset=dataset,
        seed=request.seed,
        metric=request.metric,
    )
    gated = tuple(
        GatedScenario(
            scenario=scenario,
            omp_num_threads=threads,
            epoch_samples=windows[scenario].epoch_samples,
            window_epochs=windows[scenario].epochs,
            noise_floor=None if calibration is None else calibration.noise_floor(scenario),
            percentile=percentile,
        )
        for scenario, threads in scenarios
        for percentile in (GATED_PERCENTILES if is_latency else (None,))
    )
    return GateFile(
        created_at=utc_now(),
        environment=environment,
        dataset=dataset,
        baseline=_description(sides.sources[Side.BASELINE], software[Side.BASELINE], sides.base_python),
        contender=_description(sides.sources[Side.CONTENDER], software[Side.CONTENDER]),
        plan=msgspec.structs.replace(_plan(request, gated), pilot_seconds=time.monotonic() - begin),
    )


def _looks(request: GateRequest, rows: int) -> tuple[int, ...]:
    """Return the numbers of blocks to look at: more than `_LOOKS` where so many rows or so small an alpha take more."""
    first = math.ceil(math.log2(2 * rows * len(_LOOKS) / request.alpha))
    return tuple(look + max(0, first - _LOOKS[0]) for look in _LOOKS)


def _plan(request: GateRequest, scenarios: tuple[GatedScenario, ...]) -> GatePlan:
    """Return every limit that a verdict depends on: stored in the file, so that no later change of one moves it."""
    is_latency = request.metric is GateMetric.LATENCY
    return GatePlan(
        purpose=request.purpose,
        metric=request.metric,
        suite=request.suite,
        scenarios=scenarios,
        windows=_TURNS if is_latency else _WINDOWS,
        left_out_windows=0 if is_latency else _LEFT_OUT_WINDOWS,
        seed=request.seed,
        margin=request.margin,
        tolerance=request.tolerance,
        accuracy_margin=_ACCURACY_MARGIN,
        alpha=request.alpha,
        looks=_looks(request, len(scenarios)),
        confirmation_alpha=_CONFIRMATION_ALPHA,
        confirmation_looks=_CONFIRMATION_LOOKS,
        control_alpha=_CONTROL_ALPHA,
        detectable_limit=_LATENCY_DETECTABLE_LIMIT if is_latency else _DETECTABLE_LIMIT,
        steadiness_margin=_STEADINESS_MARGIN,
        void_steal_fraction=VOID_STEAL_FRACTION,
        void_anchor_ratio=VOID_ANCHOR_RATIO,
        void_at_both_ends=True,
        unhealthy_fraction=_UNHEALTHY_FRACTION,
        max_blocks=request.max_blocks,
        budget_seconds=request.budget_seconds,
    )


def window_sizes(
    scenarios: Sequence[tuple[Scenario, int]],
    *,
    sessions: Mapping[Side, StartSession],
    data_directory: Path,
    dataset: Dataset,
    seed: int,
    metric: GateMetric = GateMetric.THROUGHPUT,
) -> dict[Scenario, WindowSize]:
    """Find, by a pilot of each (scenario, OpenMP threads), the window that is long enough on the faster side.

    It also fills the caches of files and bytecode. A turn of queries has the same number of them, however long they
    take. Raises `PilotError` if a side does not work.
    """
    is_latency = metric is GateMetric.LATENCY
    fastest: dict[Scenario, float] = {}
    for (threads, engine, precision), group in by_variables(scenarios):
        request = session.session_request(data_directory, dataset, seed, threads, engine, group[0].framework, precision)
        running: dict[Side, Session] = {}
        with contextlib.ExitStack() as stack:
            for side in Side:
                with _naming(side):
                    running[side] = stack.enter_context(sessions[side](request))
            for side in Side:
                with _naming(side):
                    running[side].wait_until_ready()
                    for scenario in group:
                        seconds = pilot.seconds_per_sample(
                            running[side], scenario, dataset.train_samples, windows=_PILOT_WINDOWS
                        )
                        if is_latency:
                            running[side].prepare_prediction(())
                            running[side].run_queries(_QUERIES)
                        running[side].evaluate()
                        fastest[scenario] = min(seconds, fastest.get(scenario, math.inf))
    if is_latency:
        return dict.fromkeys(fastest, WindowSize(epoch_samples=_QUERIES, epochs=1))
    return {
        scenario: pilot.window_size(scenario.batch_size, seconds, dataset.train_samples)
        for scenario, seconds in fastest.items()
    }


@contextlib.contextmanager
def _naming(side: Side) -> Iterator[None]:
    """Turn what shows that a side does not work into a `PilotError` that names it."""
    try:
        yield
    except SessionError as error:
        detail = f"the {side} does not work under this harness: {session.explain_failure(error.failure)}"
        raise PilotError(detail) from error
    except SetupError as error:
        raise PilotError(f"the {side}: {error}") from error


def _description(tree: SourceTree, software: Software, python: Path | None = None) -> SideDescription:
    return SideDescription(
        name=tree.name,
        git_commit=tree.git_commit,
        tree_digest=tree.tree_digest,
        software=software,
        python=None if python is None else str(python),
    )

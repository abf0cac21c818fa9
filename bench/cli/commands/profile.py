"""`profile`: where the epochs of one scenario go."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import typer

from bench import errors
from bench.cli.app import app, examples
from bench.cli.completion import offer_contexts, offer_networks, offer_settings
from bench.cli.console import (
    add_to_job_summary,
    err,
    fail,
    note,
    print_tables,
    refuse_junit,
    spinner,
    tolerate_closed_pipe,
)
from bench.cli.datasets import dataset_of, note_dataset, prepare
from bench.cli.exit_status import Exit
from bench.cli.session import RESULTS_DIRECTORY, on_signals, require_gpus
from bench.errors import ConfigurationError
from bench.experiments.profile import trace
from bench.experiments.profile.breakdown import break_down
from bench.machine.capture import capture, usable_core_count
from bench.records import store
from bench.records.base import utc_now
from bench.records.environment import Environment
from bench.records.profile import PROFILE_SCHEMA_VERSION, ProfiledEpoch, ProfileFile, inconsistencies
from bench.render.formats.export import Format, render_markdown
from bench.render.phrases import format_count
from bench.render.progress.rounds import RoundsProgress
from bench.render.views.profiles import describe_closure, profile_tables
from bench.scenarios.axes import AUTO_CONTEXTS, AXES, LOOP_AXES, Framework, LoopName
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import Matrix, Overrides, Suite, axis_settings, expand, override
from bench.worker import process
from bench.worker.environment import worker_variables
from bench.worker.process import Answer, Cancellation, Interpreter, OnEvent, WorkerFailure
from bench.worker.protocol import (
    Event,
    OperatorsReply,
    OperatorsRequest,
    PhasesReply,
    PhasesRequest,
    ProfileTarget,
    RoundDone,
)
from mnist_core.datasets import DatasetName
from mnist_core.devices import available
from mnist_core.recipe import Hybridize, Network, Recipe

#: An even number gives either order of a pair the same weight.
ROUNDS = 16
TIMEOUT_SECONDS = 1800.0
#: What makes MXNet run, and so record, every operator by itself. The graphs of inference are not profiled.
_UNBULKED = {"MXNET_EXEC_BULK_EXEC_TRAIN": "0"}
AnswerT = TypeVar("AnswerT", bound=Answer)


@app.command(epilog=examples("profile --network mlp", "profile --network lenet --loop tuned --trace t.json"))
def profile(
    framework: Annotated[Framework, typer.Option(help="MXNet alone has a profiler here.")] = Framework.MXNET,
    network: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="mlp, lenet, or package.module:factory of your own.",
            autocompletion=offer_networks,
        ),
    ] = None,
    loop: Annotated[list[LoopName] | None, typer.Option(help="The tutorial's, or the fastest one known.")] = None,
    contexts: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DEVICES",
            help="A list of devices, e.g. 'cpu(0),cpu(1)', or auto.",
            autocompletion=offer_contexts,
        ),
    ] = None,
    batch_size: Annotated[list[int] | None, typer.Option(min=1, help="Images per update.")] = None,
    hybridize: Annotated[list[Hybridize] | None, typer.Option()] = None,
    cpu_threads: Annotated[list[int] | None, typer.Option(min=1, help="OpenMP threads per CPU context.")] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="AXIS=VALUE",
            help=f"Another part of the loop ({', '.join(LOOP_AXES)}); repeatable.",
            autocompletion=offer_settings,
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Updates of a measured epoch; default: as many as last long enough.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="How often every phase is measured.")] = ROUNDS,
    seed: Annotated[
        int, typer.Option(min=0, help="Seeds weights, shuffling and the order of windows.")
    ] = Recipe().seed,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds each of the two processes may take.")
    ] = TIMEOUT_SECONDS,
    data: Annotated[DatasetName, typer.Option(help="Which images; auto: MNIST if it can be had.")] = DatasetName.AUTO,
    data_dir: Annotated[Path | None, typer.Option(help="The folder with the four IDX files, gzip or raw.")] = None,
    chrome_trace: Annotated[
        Path | None, typer.Option("--trace", metavar="FILE.json", help="Write the epoch for ui.perfetto.dev.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help=f"Profile file; default: a new one in {RESULTS_DIRECTORY}.")
    ] = None,
    replay: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Show a profile file again; measure nothing.")
    ] = None,
    output_format: Annotated[Format, typer.Option("--format", help="Of what is printed at the end.")] = Format.TEXT,
) -> None:
    """Measure what each phase of an epoch takes, and each of MXNet's operators. One scenario; exit 3 if unsteady."""
    refuse_junit(output_format)
    wishes = Overrides(
        network=tuple(network or ()),
        loop=tuple(loop or ()),
        contexts=tuple(contexts or ()),
        batch_size=tuple(batch_size or ()),
        hybridize=tuple(hybridize or ()),
        cpu_threads=tuple(cpu_threads or ()),
        settings=axis_settings(settings or ()),
    )
    if replay is not None:
        others = (wishes, framework, steps, rounds, seed, timeout, data, data_dir, chrome_trace, output)
        untouched = (Overrides(), Framework.MXNET, None, ROUNDS, Recipe().seed, TIMEOUT_SECONDS, DatasetName.AUTO)
        defaults = (*untouched, None, None, None)
        if others != defaults:
            raise ConfigurationError("--replay shows what its file holds: leave out all but --format")
        report(read(replay), output_format)
    if framework is not Framework.MXNET:
        raise ConfigurationError(f"profile: {framework} is not supported, only MXNet's own loops are; leave it out")
    scenario = one_scenario(wishes)
    if chrome_trace is not None and not chrome_trace.parent.is_dir():
        raise ConfigurationError(f"--trace {chrome_trace}: no such folder")
    stamp = utc_now().replace(":", "").replace("-", "")
    path = output or RESULTS_DIRECTORY / f"profile-{stamp}.json"
    with store.exclusive(path.parent):
        if path.exists():
            raise ConfigurationError(f"{path} exists: name another --output")
        require_gpus(scenario.devices)
        measured, recorded = _measure(
            scenario, seed=seed, steps=steps, rounds=rounds, data=data, data_dir=data_dir, timeout_seconds=timeout
        )
        store.write(path, measured)
    note(f"saved in {path}")
    if chrome_trace is not None:
        chrome_trace.write_bytes(trace.to_chrome(recorded, scenario.name))
        note(f"trace in {chrome_trace}: open it in ui.perfetto.dev or chrome://tracing")
    report(measured, output_format)


def one_scenario(wishes: Overrides) -> Scenario:
    """Raises `ConfigurationError` where the wishes leave more than one."""
    every = Suite(title="profile", matrix=(Matrix(network=tuple(each.value for each in Network)),))
    gpus = tuple(str(device) for device in available()) if AUTO_CONTEXTS in wishes.contexts else ()
    scenarios = [planned.scenario for planned in expand(override(every, wishes), gpu_contexts=gpus)]
    distinct = list(dict.fromkeys(scenarios))
    if len(distinct) != 1:
        names = "; ".join(each.name for each in distinct[:2])
        more = f"; and {len(distinct) - 2} more" if len(distinct) > 2 else ""  # noqa: PLR2004  # those named
        raise ConfigurationError(
            f"profile is of one scenario, these are {len(distinct)}: {names}{more}; "
            f"give one value of {' and of '.join(_differing_options(distinct))}"
        )
    return distinct[0]


def _differing_options(scenarios: Sequence[Scenario]) -> list[str]:
    differing = [axis for axis in ("network", *AXES) if len({getattr(each, axis) for each in scenarios}) > 1]
    return [f"--set {axis}" if axis in LOOP_AXES else f"--{axis.replace('_', '-')}" for axis in differing]


def read(path: Path) -> ProfileFile:
    """Raises `StoreError` for a file that is no profile, `SchemaError` for one that is too new."""
    found = store.read_versioned(path, ProfileFile, store.FileKind.PROFILE, PROFILE_SCHEMA_VERSION)
    if wrong := inconsistencies(found):
        raise errors.StoreError(f"{path}: not a valid profile file: {wrong[0]}")
    return found


def report(measured: ProfileFile, output_format: Format) -> NoReturn:
    """Print where the epoch went, and exit: 3 where the phases are not the epoch."""
    breakdown = break_down(measured)
    made = profile_tables(measured, breakdown)
    with tolerate_closed_pipe():
        print_tables(made, output_format)
    add_to_job_summary(render_markdown(made))
    if not breakdown.closes:
        fail(f"the machine was too unsteady: {describe_closure(breakdown)}; measure again", Exit.INCONCLUSIVE)
    sys.exit(Exit.DONE)


def _measure(
    scenario: Scenario,
    *,
    seed: int,
    steps: int | None,
    rounds: int,
    data: DatasetName,
    data_dir: Path | None,
    timeout_seconds: float,
) -> tuple[ProfileFile, trace.Trace]:
    stop = Cancellation()
    # The framework first: whoever lacks it should not wait for data.
    with spinner(f"asking {scenario.framework} what it is"):
        software = process.describe(Interpreter(), stop, scenarios=[scenario])
    environment: Environment = capture(software=software)
    prepared = prepare(data, data_dir)
    target = ProfileTarget(
        scenario=scenario, seed=seed, data_directory=str(prepared.directory), dataset=dataset_of(prepared)
    )
    threads = scenario.threads_per_context(usable_core_count())
    asker = _Asker(scenario, threads, timeout_seconds, stop)
    with on_signals(stop), tempfile.TemporaryDirectory(prefix="mnist-bench-") as directory:
        note(f"phases of {scenario.name}: {format_count(rounds, 'round')}")
        progress = RoundsProgress(err, rounds)

        def tell(event: Event) -> None:
            if isinstance(event, RoundDone):
                progress.round_done(event.done)

        asked = PhasesRequest(target, steps, rounds, threads)
        phases = asker.ask(asked, PhasesReply, {}, showing=progress, on_event=tell).rounds
        operators = "operators: one epoch under MXNet's profiler"
        note(operators)
        profiled = asker.ask(
            OperatorsRequest(target, phases.steps, directory, threads),
            OperatorsReply,
            _UNBULKED,
            showing=spinner(operators),
        )
        try:
            with spinner("reading the profiler's trace"):
                recorded = trace.read(Path(directory))
        except trace.TraceError as error:
            fail(str(error), Exit.FAILED)
    note_dataset(prepared)
    measured = ProfileFile(
        created_at=utc_now(),
        environment=environment,
        dataset=target.dataset,
        scenario=scenario,
        seed=seed,
        omp_num_threads=threads,
        phases=phases,
        profiled=ProfiledEpoch(
            unprofiled_seconds=profiled.unprofiled_seconds,
            profiled_seconds=profiled.profiled_seconds,
            engine_threads=recorded.engine_threads,
            operators=trace.times(recorded),
        ),
    )
    return measured, recorded


@dataclass(frozen=True, slots=True)
class _Asker:
    scenario: Scenario
    threads: int
    timeout_seconds: float
    stop: Cancellation

    def ask(
        self,
        request: PhasesRequest | OperatorsRequest,
        kind: type[AnswerT],
        variables: dict[str, str],
        *,
        showing: AbstractContextManager[object],
        on_event: OnEvent = lambda _event: None,
    ) -> AnswerT:
        """A fresh process's answer; exits where there is none."""
        with showing:
            answer = process.send_request(
                Interpreter(),
                request,
                variables={**worker_variables(self.threads, self.scenario.engine), **variables},
                timeout_seconds=self.timeout_seconds,
                stop=self.stop,
                on_event=on_event,
            )
        if isinstance(answer, WorkerFailure):
            if self.stop.requested:
                fail("interrupted", Exit.INTERRUPTED)
            fail(f"{self.scenario.name}: {answer.reason}: {answer.detail}", Exit.FAILED)
        assert isinstance(answer, kind)
        return answer

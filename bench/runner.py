"""Which run next, in a fresh process, with a time-out, saved after each one.

The runner knows a worker only as a command line; scheduling is tested with a fake `Executor`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol, TypeAlias

import msgspec

from bench.protocol import (
    DescribeReply,
    DescribeRequest,
    EpochDone,
    FailureReply,
    FromWorker,
    Reply,
    Request,
    RunReply,
    RunRequest,
    UnusableReply,
)
from bench.record import Epoch, Failure, FailureReason, ResultSet, Run, RunKey, Software, key
from bench.scenario import ConfigurationError, PlannedRun, thread_variables
from mnist_core.devices import Device, DeviceKind, Probe

#: Lines of a failed worker's error output that are kept.
LOG_LINES = 40
#: Long enough for `import mxnet` on a loaded machine, short enough not to look like a hang.
DESCRIBE_TIMEOUT_SECONDS = 120.0
#: After its reply a worker has nothing left to do but unload libraries.
EXIT_SECONDS = 10.0


OnEpoch: TypeAlias = Callable[[int, Epoch], None]


class Stop:
    """SIGINT and SIGTERM as a flag and a killed worker, instead of an exception wherever the program happens to be.

    A signal can come between a run's last line and its being saved; with an exception that run would be lost.
    """

    def __init__(self) -> None:
        self.requested = False
        self._worker: subprocess.Popen[bytes] | None = None

    def __call__(self, _signal: int = 0, _frame: object = None) -> None:
        """A signal handler; may also be called directly, and more than once."""
        self.requested = True
        if self._worker is not None:
            kill_group(self._worker)

    @contextlib.contextmanager
    def ending(self, worker: subprocess.Popen[bytes]) -> Iterator[None]:
        """Inside, a request to stop ends this worker."""
        self._worker = worker
        try:
            if self.requested:  # it came while the worker was started
                kill_group(worker)
            yield
        finally:
            self._worker = None


class UnusableError(Exception):
    """No run of this suite can work here; one line with the next step."""


class Executor(Protocol):
    """Makes one run; everything that can go wrong with it comes back as a `Failure`."""

    def execute(self, request: RunRequest, timeout_seconds: float, on_epoch: OnEpoch) -> Run | Failure:
        """Raises `UnusableError` where no other run can work either."""


class Observer(Protocol):
    """Told what happens, as it happens; shows it or does not."""

    def started(self, planned: PlannedRun, position: int, total: int) -> None: ...
    def epoch(self, planned: PlannedRun, index: int, epoch: Epoch) -> None: ...
    def finished(self, planned: PlannedRun, outcome: Run | Failure) -> None: ...


def schedule(plan: Sequence[PlannedRun], seed: int) -> tuple[PlannedRun, ...]:
    """Repeats of different scenarios interleaved: round r holds every scenario's repeat r, in an order of its own.

    The machine drifts, so neighbours in time look alike; a scenario's repeats must not be neighbours.
    """
    generator = random.Random(seed)  # noqa: S311  # an order, not a secret
    rounds: dict[int, list[PlannedRun]] = {}
    for planned in plan:
        rounds.setdefault(planned.repeat, []).append(planned)
    ordered: list[PlannedRun] = []
    for repeat in sorted(rounds):
        generator.shuffle(rounds[repeat])
        ordered += rounds[repeat]
    return tuple(ordered)


def remaining(result_set: ResultSet) -> tuple[PlannedRun, ...]:
    """What `--resume` still has to do: not tried yet, or interrupted. Other failures stand."""
    settled: set[RunKey] = {key(run) for run in result_set.runs}
    settled |= {key(failure) for failure in result_set.failures if failure.reason is not FailureReason.INTERRUPTED}
    return tuple(planned for planned in result_set.plan if key(planned) not in settled)


def run_plan(
    result_set: ResultSet,
    *,
    executor: Executor,
    data_directory: Path,
    usable_cores: int,
    save: Callable[[ResultSet], None],
    observer: Observer,
    probe: Callable[[Device], Probe],
    stop: Stop,
) -> ResultSet:
    """Make every remaining run and save after each one, because an hour of measuring must survive whatever comes next.

    Asked to stop, it saves the run in progress, as interrupted if it had no result yet, and returns.
    """
    todo = schedule(remaining(result_set), result_set.seed)
    dropped = {key(planned) for planned in todo}
    result_set = msgspec.structs.replace(
        result_set, failures=tuple(failure for failure in result_set.failures if key(failure) not in dropped)
    )
    save(result_set)
    probes: dict[Device, Probe] = {}
    for position, planned in enumerate(todo, start=1):
        observer.started(planned, position, len(todo))
        outcome = _device_failure(planned, probes, probe) or executor.execute(
            RunRequest(
                scenario=planned.scenario,
                recipe=planned.recipe,
                repeat=planned.repeat,
                data_directory=str(data_directory),
                dataset=result_set.dataset,
                omp_num_threads=planned.scenario.threads_per_context(usable_cores),
            ),
            planned.timeout_seconds,
            lambda index, epoch, planned=planned: observer.epoch(planned, index, epoch),  # type: ignore[misc]
        )
        if stop.requested and isinstance(outcome, Failure):
            outcome = _failure(planned, FailureReason.INTERRUPTED, "stopped by the user")
        result_set = _with(result_set, outcome)
        save(result_set)
        observer.finished(planned, outcome)
        if stop.requested:
            break
    return result_set


def _with(result_set: ResultSet, outcome: Run | Failure) -> ResultSet:
    if isinstance(outcome, Run):
        return msgspec.structs.replace(result_set, runs=(*result_set.runs, outcome))
    return msgspec.structs.replace(result_set, failures=(*result_set.failures, outcome))


def _failure(run: PlannedRun | RunRequest, reason: FailureReason, detail: str, log: str = "") -> Failure:
    return Failure(scenario=run.scenario, recipe=run.recipe, repeat=run.repeat, reason=reason, detail=detail, log=log)


def _device_failure(
    planned: PlannedRun, probes: dict[Device, Probe], probe: Callable[[Device], Probe]
) -> Failure | None:
    """A GPU is asked once, in a process of its own, before a run may touch it; it never falls back to the CPU."""
    for device in planned.scenario.devices:
        if device.kind is not DeviceKind.GPU:
            continue
        if device not in probes:
            probes[device] = probe(device)
        if not probes[device].usable:
            return _failure(planned, FailureReason.NO_DEVICE, f"{device}: {probes[device].detail}")
    return None


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerProcess:
    """The real executor: a fresh Python process for each run."""

    python: str = sys.executable
    stop: Stop = dataclasses.field(default_factory=Stop)

    def execute(self, request: RunRequest, timeout_seconds: float, on_epoch: OnEpoch) -> Run | Failure:
        try:
            return self._execute(request, timeout_seconds, on_epoch)
        except OSError as error:  # no process, no memory, no file descriptor left: the next run may have better luck
            return _failure(request, FailureReason.CRASHED, f"the worker could not be run: {error}")

    def _execute(self, request: RunRequest, timeout_seconds: float, on_epoch: OnEpoch) -> Run | Failure:
        kills_before = _out_of_memory_kills()
        variables = thread_variables(request.omp_num_threads)
        with (
            _spawned(self.python, request, variables, timeout_seconds) as worker,
            self.stop.ending(worker.process),
        ):
            match worker.converse(on_epoch):
                case RunReply(run=run):
                    return run
                case FailureReply(reason=reason, detail=detail):
                    return _failure(request, reason, detail, worker.log())
                case UnusableReply(detail=detail):
                    raise UnusableError(detail)
            status = worker.end()
            if worker.timed_out.is_set():
                reason, detail = FailureReason.TIMEOUT, f"no result within {timeout_seconds:g} s"
            elif status == -signal.SIGKILL and _out_of_memory_kills() != kills_before:
                reason, detail = FailureReason.OUT_OF_MEMORY, "the kernel killed the worker: the machine's memory ended"
            else:
                reason, detail = FailureReason.CRASHED, _describe_status(status)
            return _failure(request, reason, detail, worker.log())

    def describe(self) -> Software:
        """What a worker loads when it imports the framework; raises `UnusableError` where it cannot."""
        with _spawned(self.python, DescribeRequest(), thread_variables(1), DESCRIBE_TIMEOUT_SECONDS) as worker:
            match worker.converse(lambda _index, _epoch: None):
                case DescribeReply(software=software):
                    return software
                case UnusableReply(detail=detail):
                    raise UnusableError(detail)
            if worker.timed_out.is_set():
                raise UnusableError(f"importing the framework took over {DESCRIBE_TIMEOUT_SECONDS:g} s")
            last_line = (worker.log().splitlines() or ["no error output"])[-1]
            raise UnusableError(f"the worker does not start: {_describe_status(worker.end())}: {last_line}")


@dataclasses.dataclass(frozen=True, slots=True)
class _Worker:
    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    timed_out: threading.Event

    def converse(self, on_epoch: OnEpoch) -> Reply | None:
        """The reply; None when the worker ended, or was ended, without one."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            try:
                message: FromWorker = msgspec.json.decode(line, type=FromWorker)
            except (msgspec.DecodeError, ConfigurationError):
                return None
            if not isinstance(message, EpochDone):
                return message
            on_epoch(message.index, message.epoch)
        return None

    def end(self) -> int:
        """Its exit status: given a moment to leave by itself, then killed."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.process.wait(EXIT_SECONDS)
        kill_group(self.process)
        return self.process.wait()

    def log(self) -> str:
        """The end of its error output."""
        self.errors.seek(0)
        lines = self.errors.read().decode("utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])


@contextlib.contextmanager
def _spawned(python: str, request: Request, variables: Mapping[str, str], timeout_seconds: float) -> Iterator[_Worker]:
    """A worker in a process group of its own: killed after its time, gone when the block is left."""
    package_root = str(Path(__file__).resolve().parents[1])
    # Not `-m bench.worker`: that would let a folder named `bench` in the current directory take our package's place.
    code = f"import sys; sys.path[0] = {package_root!r}; from bench.worker import main; main()"
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [python, "-c", code],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env={**os.environ, **variables},
            start_new_session=True,  # Ctrl-C is ours to handle: the terminal must not send it to the worker as well
        )
        timed_out = threading.Event()

        def stop() -> None:
            timed_out.set()
            kill_group(process)

        timer = threading.Timer(timeout_seconds, stop)
        timer.daemon = True
        try:
            timer.start()
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it died at once; its exit status says more
                process.stdin.write(msgspec.json.encode(request) + b"\n")
                process.stdin.flush()
            yield _Worker(process, errors, timed_out)
        finally:
            timer.cancel()
            kill_group(process)
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    assert pipe is not None
                    pipe.close()


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """The worker and whatever it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _describe_status(status: int) -> str:
    if status < 0:
        with contextlib.suppress(ValueError):
            return f"the worker was killed by {signal.Signals(-status).name}"
    return f"the worker ended with status {status} and no result"


def _out_of_memory_kills() -> str:
    """The kernel's own count of processes it killed for memory, of the machine or of our control group."""
    counts = []
    for path, field in (("/proc/vmstat", "oom_kill"), ("/sys/fs/cgroup/memory.events", "oom_kill")):
        with contextlib.suppress(OSError):
            text = Path(path).read_text(encoding="ascii", errors="replace")
            counts += [line for line in text.splitlines() if line.split()[:1] == [field]]
    return "\n".join(counts)

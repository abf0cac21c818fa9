"""Start a worker process, send it requests, and end it: at its time-out, on a signal, or when it is no longer needed.

Whatever goes wrong with a worker comes back as a `WorkerFailure`. The parent knows a worker only as a command line and
the messages of `protocol`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, TypeAlias, TypeVar

import msgspec

from bench import SOURCE_ROOT
from bench.errors import ConfigurationError, SetupError
from bench.records.environment import Software
from bench.records.result import FailureReason
from bench.scenarios.axes import Framework, is_custom
from bench.scenarios.scenario import Scenario
from bench.worker.environment import worker_environment, worker_variables
from bench.worker.exits import describe_end, explain_unreached, is_fault_of_code, out_of_memory_kills
from bench.worker.launch import HELLO, Launch, pulse
from bench.worker.protocol.base import Message
from bench.worker.protocol.hosts import HostReply
from bench.worker.protocol.replies import (
    DescribeReply,
    Event,
    FailureReply,
    FromWorker,
    ProbeReply,
    Reply,
    UnusableReply,
)
from bench.worker.protocol.requests import CustomNetwork, DescribeRequest, ProbeRequest, Request
from mnist_core.devices import PROBE_TIMEOUT_SECONDS, Device, Probe, Unusable, program
from mnist_core.recipe import Hybridize

#: Lines of a failed worker's error output that are kept.
LOG_LINES = 40
#: Long enough for `import mxnet` on a loaded machine, short enough not to look like a hang.
DESCRIBE_TIMEOUT_SECONDS = 120.0
#: After its reply a worker has nothing left to do but unload libraries.
EXIT_SECONDS = 10.0
#: A killed process is gone at once, or waits inside the kernel for something that may never come.
REAP_SECONDS = 5.0
_READ_BYTES = 1 << 16
#: What JAX writes before it aborts a process that has lost another rank.
_JAX_LOST_RANK_WORDS = "JAX distributed service detected fatal errors"
OnEvent: TypeAlias = Callable[[Event], None]
ReplyT = TypeVar("ReplyT", bound=Message)


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerFailure:
    """The reason why a worker gave no result."""

    reason: FailureReason
    #: One line.
    detail: str
    #: The end of its error output.
    log: str = ""
    #: The label of the machine that failed, not the training on it: its process ended, or gave no sign of life. None:
    #: it was the training, or no machine has a label.
    host: str | None = None


class Cancellation:
    """Signal handler: set `requested` and kill the live workers.

    Unlike a `KeyboardInterrupt`, it cannot strike between a run's last line and its save, which would lose the run.
    """

    def __init__(self) -> None:
        self.requested = False
        self._workers: list[WorkerProcess] = []

    def __call__(self, _signal: int = 0, _frame: object = None) -> None:
        """Request the end. May also be called directly, and more than once."""
        self.requested = True
        for worker in self._workers:
            worker.kill()

    @contextlib.contextmanager
    def kill_on_cancel(self, worker: WorkerProcess) -> Iterator[None]:
        """Within the block, a cancellation kills this worker."""
        self._workers = [*self._workers, worker]
        try:
            if self.requested:  # it came while the worker was started
                worker.kill()
            yield
        finally:
            self._workers = [other for other in self._workers if other is not worker]


@dataclasses.dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python to run workers on, and the measured code that they import."""

    python: str = sys.executable
    #: The folder that holds the `mnist_core` to measure; `bench` is always this source's own.
    measured: Path = SOURCE_ROOT
    #: Where it is on another host, which measures the mnist-bench that is installed there; None: on this machine.
    launch: Launch | None = None
    #: The label of its machine in a hosts file; None: there is none.
    host: str | None = None


def send_request(
    interpreter: Interpreter,
    request: Request,
    reply: type[ReplyT],
    *,
    variables: Mapping[str, str],
    timeout_seconds: float,
    stop: Cancellation,
    on_event: OnEvent = lambda _event: None,
) -> ReplyT | WorkerFailure:
    """Start a worker, send its only request, and return its reply, which is to be of this class.

    `variables` are added to the environment of this process: see `worker_variables`. Raise `SetupError` when the cause
    affects every worker, such as a missing framework.
    """
    try:
        with start(interpreter, variables, timeout_seconds, stop) as worker:
            worker.send(request)
            return worker.receive(reply, on_event)
    except OSError as error:  # no process, memory or file descriptor is left: the next one may have better luck
        return WorkerFailure(FailureReason.CRASHED, f"the worker could not be run: {error}")


def describe(
    interpreter: Interpreter,
    stop: Cancellation,
    framework: Framework = Framework.MXNET,
    scenarios: Iterable[Scenario] = (),
) -> Software:
    """Return what a worker loads when it imports the framework.

    Raise `SetupError` if it cannot import it, or cannot train a custom network of the scenarios.
    """
    compiled: dict[str, bool] = {}
    for scenario in scenarios:
        if is_custom(scenario.network):
            once = compiled.get(scenario.network, False)
            compiled[scenario.network] = once or scenario.hybridize is not Hybridize.OFF
    custom = tuple(CustomNetwork(reference, some) for reference, some in compiled.items())
    reply = send_request(
        interpreter,
        DescribeRequest(framework=framework, custom_networks=custom),
        DescribeReply,
        variables=worker_variables(1),
        timeout_seconds=DESCRIBE_TIMEOUT_SECONDS,
        stop=stop,
    )
    if isinstance(reply, DescribeReply):
        return reply.software
    if interpreter.launch is not None:
        why = explain_unreached(interpreter.launch, interpreter.python, reply.reason, reply.detail, reply.log)
        raise SetupError(f"{interpreter.launch.host}: {why}")
    if reply.reason is FailureReason.TIMEOUT:
        raise SetupError(f"importing the framework took over {DESCRIBE_TIMEOUT_SECONDS:g} s")
    last_line = (reply.log.splitlines() or ["no error output"])[-1]
    # A missing framework has a message of its own: this is what the worker imports before it.
    lacks_ours = last_line.startswith("ModuleNotFoundError")
    hint = f"; install mnist-bench for it: {interpreter.python} -m pip install {SOURCE_ROOT}" if lacks_ours else ""
    raise SetupError(f"the worker for {framework} does not start: {reply.detail}: {last_line}{hint}")


def probe(interpreter: Interpreter, stop: Cancellation, framework: Framework, device: Device) -> Probe:
    """Try a device out through a framework, in a process of its own; never raise for what that process does."""
    try:
        reply = send_request(
            interpreter,
            ProbeRequest(framework=framework, device=str(device)),
            ProbeReply,
            variables=worker_variables(1),
            timeout_seconds=PROBE_TIMEOUT_SECONDS,
            stop=stop,
        )
    except SetupError as error:
        return Probe(device, Unusable.NO_FRAMEWORK, str(error))
    if isinstance(reply, ProbeReply):
        return reply.probe
    if reply.reason is FailureReason.TIMEOUT:
        return Probe(device, Unusable.HUNG, f"{device} gave no answer within {PROBE_TIMEOUT_SECONDS:g} s")
    return Probe(device, Unusable.CRASHED, f"the trial of {device}: {reply.detail}")


@dataclasses.dataclass(frozen=True, slots=True)
class WorkerProcess:
    """A live worker, which answers each message in turn."""

    process: subprocess.Popen[bytes]
    errors: IO[bytes]
    timed_out: threading.Event
    timeout_seconds: float
    kills_before: str
    interpreter: Interpreter
    #: Set by an empty line, which is the answer to one.
    heard: threading.Event = dataclasses.field(default_factory=threading.Event)
    killed: threading.Event = dataclasses.field(default_factory=threading.Event)
    #: What the worker has written and nobody has read: one iterator for its life, since a reply may come with more.
    lines: Iterator[bytes] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        """Begin to read."""
        lines = self._read_lines()
        is_far = self.interpreter.launch is not None
        object.__setattr__(self, "lines", self._after_hello(lines) if is_far else lines)

    def kill(self) -> None:
        """Kill the worker and everything that it started."""
        self.killed.set()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def send(self, message: Message) -> None:
        self._write_line(msgspec.json.encode(message))

    def beat(self) -> None:
        """Give a sign of life: an empty line. Whoever reads the worker's lines meanwhile sees its own."""
        self._write_line(b"")

    def _write_line(self, line: bytes) -> None:
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ValueError):  # it died, or its end was seen: its status says more
            self.process.stdin.write(line + b"\n")
            self.process.stdin.flush()

    def receive(self, kind: type[ReplyT], on_event: OnEvent = lambda _event: None) -> ReplyT | WorkerFailure:
        """Return the next reply, which is to be of this class.

        Raise `SetupError` when the cause affects every worker, such as a missing framework.
        """
        match self._reply(on_event):
            case FailureReply(reason=reason, detail=detail):
                return WorkerFailure(reason, detail, self.log())
            case UnusableReply(detail=detail):
                raise SetupError(detail)
            case None:
                return self._explain_end()
            case reply if isinstance(reply, kind):
                return reply
            case reply:
                return WorkerFailure(FailureReason.CRASHED, f"the worker answered {reply!r}", self.log())

    def _reply(self, on_event: OnEvent) -> Reply | HostReply | None:
        """Return None if the worker ended, or was killed, without a reply."""
        for line in self.lines:
            if not line.strip():
                self.heard.set()
                continue
            try:
                message: FromWorker | HostReply = msgspec.json.decode(line, type=FromWorker | HostReply)
            except (msgspec.DecodeError, ConfigurationError):
                return None
            if not isinstance(message, Event):
                return message
            on_event(message)
        return None

    def _after_hello(self, lines: Iterator[bytes]) -> Iterator[bytes]:
        """Yield the lines of a far worker; what a shell printed before it goes to the error output."""
        for line in lines:
            if line.strip() == HELLO:
                break
            os.write(self.errors.fileno(), line + b"\n")
        yield from lines

    def _read_lines(self) -> Iterator[bytes]:
        """Yield what the worker writes, line by line, until its end, or until it outlives its killing.

        A process that waits for a driver or a file system that hangs cannot be killed, and keeps its pipe open.
        """
        assert self.process.stdout is not None
        descriptor, unfinished = self.process.stdout.fileno(), b""
        while True:
            was_killed = self.killed.is_set()
            if not select.select([descriptor], [], [], REAP_SECONDS)[0]:
                if was_killed:
                    return
                continue
            part = os.read(descriptor, _READ_BYTES)
            if not part:
                return
            *whole, unfinished = (unfinished + part).split(b"\n")
            yield from whole

    def _explain_end(self) -> WorkerFailure:
        status, host = self.end(), None
        if self.timed_out.is_set():
            reason, detail = FailureReason.TIMEOUT, f"no result within {self.timeout_seconds:g} s"
        elif status == -signal.SIGKILL and out_of_memory_kills() != self.kills_before:
            reason, detail = FailureReason.OUT_OF_MEMORY, "the kernel killed the worker: the machine's memory ended"
        elif _JAX_LOST_RANK_WORDS in self.log():  # whatever a command in front of it makes of SIGABRT
            reason, detail = FailureReason.RANK_LOST, "JAX aborted the worker, since it had lost another rank"
        else:
            reason, detail = FailureReason.CRASHED, describe_end(status, self.interpreter.launch, self.log())
            host = None if is_fault_of_code(status) else self.interpreter.host
        if status is None:
            detail += "; it could not be killed: it waits for a driver or a file system"
        return WorkerFailure(reason, detail, self.log(), host)

    def end(self) -> int | None:
        """Give the worker a moment to leave by itself, then kill it; return its exit status, None if it lives on."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        if not self.killed.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(EXIT_SECONDS)
        return self.reap()

    def reap(self) -> int | None:
        """Kill the worker; return its exit status, None if it lives on."""
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(REAP_SECONDS)
        return self.process.returncode

    def log(self) -> str:
        """Return the end of the worker's error output."""
        self.errors.seek(0)
        lines = self.errors.read().decode("utf-8", errors="replace").splitlines()
        return "\n".join(lines[-LOG_LINES:])


@contextlib.contextmanager
def start(
    interpreter: Interpreter, variables: Mapping[str, str], timeout_seconds: float, stop: Cancellation
) -> Iterator[WorkerProcess]:
    """Start a worker in a process group of its own, which is killed at its time-out and at the end of the block.

    Raise `OSError` if no process can be started.
    """
    kills_before = out_of_memory_kills()
    command, environment = _command(interpreter, variables)
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment,
            start_new_session=True,  # Ctrl-C is ours to handle: the terminal must not send it to the worker as well
        )
        timed_out = threading.Event()
        worker = WorkerProcess(process, errors, timed_out, timeout_seconds, kills_before, interpreter)

        def end() -> None:
            timed_out.set()
            worker.kill()

        timer = threading.Timer(timeout_seconds, end)
        timer.daemon = True
        try:
            timer.start()
            alive = contextlib.nullcontext() if interpreter.launch is None else pulse(worker.beat)
            with stop.kill_on_cancel(worker), alive:
                yield worker
        finally:
            timer.cancel()
            worker.reap()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(BrokenPipeError):
                    assert pipe is not None
                    pipe.close()


def _command(interpreter: Interpreter, variables: Mapping[str, str]) -> tuple[list[str], Mapping[str, str]]:
    """Return a worker's command, and the environment to start it in: on another host that of ssh or its like."""
    if interpreter.launch is not None:
        return interpreter.launch.command(interpreter.python, variables), os.environ
    return [interpreter.python, "-c", _code(interpreter.measured)], worker_environment(os.environ, variables)


def _code(measured: Path) -> str:
    """Return the program of a worker that measures the `mnist_core` in this folder, and nothing of it from elsewhere.

    Both sides of a gate are started in this same way.
    """
    return program({"mnist_core": measured / "mnist_core", "bench": SOURCE_ROOT / "bench"}, "bench.worker.older")

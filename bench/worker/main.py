"""The measured process: JSON lines on stdin and stdout, see `protocol`.

Started fresh for every run and every pass, with its thread variables already set. It ends when its stdin does, so that
it never outlives a parent that was killed.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import queue
import select
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Final, Protocol, TypeVar

import msgspec
import psutil
from typing_extensions import assert_never

import bench
import mnist_core
from bench.errors import ConfigurationError
from bench.records.result import FailureReason
from bench.scenarios.axes import Exchange
from bench.worker.environment import SILENCE_VARIABLE
from bench.worker.measure.ceilings import measure_ceiling
from bench.worker.measure.network import free_port
from bench.worker.measure.run import SessionServer, describe, measure_run, probe, serve, started
from bench.worker.protocol.base import DivergedError, Message, NumericsError
from bench.worker.protocol.commands import (
    Command,
    Evaluate,
    ExchangeArrays,
    PreparePrediction,
    RunOffline,
    RunQueries,
    RunWindow,
    SetUp,
)
from bench.worker.protocol.hosts import HostCommand, HostFacts, HostReply, HostRequest
from bench.worker.protocol.replies import (
    CeilingReply,
    DescribeReply,
    EpochDone,
    Event,
    FailureReply,
    FromWorker,
    OperatorsReply,
    PhasesReply,
    PortChosen,
    ProbeReply,
    Reply,
    RoundDone,
    UnusableReply,
)
from bench.worker.protocol.requests import (
    CeilingRequest,
    DescribeRequest,
    OperatorsRequest,
    PhasesRequest,
    ProbeRequest,
    Request,
    RunRequest,
    ServeRequest,
    SessionRequest,
)
from mnist_core.devices import parse_devices
from mnist_core.idx import DataError

T = TypeVar("T")
#: Two threads write lines.
_WRITING: Final = threading.Lock()
#: What gloo, NCCL and JAX's coordinator say when another rank is gone or silent.
_LOST_RANK_WORDS = (
    *("connection closed by peer", "connection reset by peer", "connection refused", "broken pipe", "socket closed"),
    *("timed out waiting", "monitoredbarrier", "watchdog", "coordination service", "heartbeat"),
)
#: What CUDA, cuDNN, MXNet's allocator and the C++ runtime say when memory ends.
_OUT_OF_MEMORY_WORDS = ("out of memory", "bad_alloc", "cudamalloc", "alloc_failed", "cannot allocate memory")


def main() -> None:
    """Answer one request, or be a pass until stdin ends. The exit status is 0 whenever a reply was written."""
    sys.path.append(str(Path.cwd()))  # a user's own network; behind everything installed, so that it can shadow nothing
    with _reply_channel() as channel:
        lines = _lines(lambda: _write_line(channel, b""))
        request_line = next(lines, b"")
        measured = handle_request(request_line, lambda event: _send(channel, event))
        if isinstance(measured, Message):
            _send(channel, measured)
            return
        if isinstance(measured, SessionServer):
            _send(channel, started())
            for line in lines:
                _send(channel, handle_command(measured, line))
        else:
            _send(channel, measured.facts)
            for line in lines:
                _send(channel, handle_host_command(measured, line))


def handle_request(request_line: bytes, on_event: Callable[[Event], None]) -> Reply | SessionServer | _HostServer:
    """The reply to a request; failures of the measured code become replies, faults of the harness raise."""
    try:
        request = msgspec.json.decode(request_line, type=Request | HostRequest)
    except (msgspec.DecodeError, ConfigurationError) as error:
        return UnusableReply(detail=f"worker and parent disagree on the request: {error}")
    if isinstance(request, HostRequest):
        return _guarded(lambda: _hosts().serve(request))
    trains_nothing = isinstance(request, DescribeRequest | ProbeRequest | ServeRequest)
    if not trains_nothing and os.environ.get("OMP_NUM_THREADS") != str(request.omp_num_threads):
        return UnusableReply(detail=f"OMP_NUM_THREADS is not {request.omp_num_threads} in the worker's environment")
    return _guarded(lambda: _measured(request, on_event))


def _measured(request: Request, on_event: Callable[[Event], None]) -> Reply | SessionServer:
    match request:
        case DescribeRequest():
            return _described(request)
        case ProbeRequest(framework=framework, device=name):
            (device,) = parse_devices(name)
            return ProbeReply(probe=probe(framework, device))
        case SessionRequest() | ServeRequest():
            request = _met(request, on_event)
            return SessionServer(request) if isinstance(request, SessionRequest) else serve(request)
        case CeilingRequest():
            return CeilingReply(ceiling=measure_ceiling(request))
        case PhasesRequest() | OperatorsRequest():
            return _profiling().handle_request(request, lambda done: on_event(RoundDone(done)))
        case RunRequest():
            return measure_run(request, lambda index, epoch: on_event(EpochDone(index=index, epoch=epoch)))
        case _:
            assert_never(request)


def _met(request: SessionRequest | ServeRequest, on_event: Callable[[Event], None]) -> SessionRequest | ServeRequest:
    """Return the request with the port at which ranks meet. Without one it is this process that waits: it chooses."""
    place = request.place
    if place is None or place.port is not None or place.exchange is Exchange.NONE:
        return request
    port = free_port(place.address)
    on_event(PortChosen(port))
    return msgspec.structs.replace(request, place=msgspec.structs.replace(place, port=port))


def _described(request: DescribeRequest) -> Reply:
    software = describe(request.framework)
    if request.custom_networks:  # MXNet's alone, so that it is installed
        networks = importlib.import_module("mnist_core.networks")
        for custom in request.custom_networks:
            if (fault := networks.fault_of(custom.reference, compiled=custom.compiled)) is not None:
                return UnusableReply(detail=fault)
    return DescribeReply(software=software)


class _Profiling(Protocol):
    def handle_request(
        self, request: PhasesRequest | OperatorsRequest, on_round: Callable[[int], None]
    ) -> PhasesReply | OperatorsReply: ...


def _profiling() -> _Profiling:
    """Import the profiler only now: it needs MXNet, which a peer's Python does not have."""
    module: _Profiling = importlib.import_module("bench.worker.measure.phases")
    return module


class _HostServer(Protocol):
    @property
    def facts(self) -> HostFacts: ...

    def answer(self, command: HostCommand) -> HostReply: ...


class _Hosts(Protocol):
    def serve(self, request: HostRequest) -> _HostServer: ...


def _hosts() -> _Hosts:
    """Import what looks at a host only now: it needs today's `mnist_core`, which a gate's worker may not have."""
    module: _Hosts = importlib.import_module("bench.worker.measure.host")
    return module


def handle_host_command(server: _HostServer, line: bytes) -> Reply | HostReply:
    """The reply to a command about a host."""
    try:
        command = msgspec.json.decode(line, type=HostCommand)
    except (msgspec.DecodeError, ConfigurationError) as error:
        return UnusableReply(detail=f"worker and parent disagree on a command: {error}")
    return _guarded(lambda: server.answer(command))


def handle_command(measured: SessionServer, line: bytes) -> Reply:
    """The reply to a command of a pass."""
    try:
        command = msgspec.json.decode(line, type=Command)
    except (msgspec.DecodeError, ConfigurationError) as error:
        return UnusableReply(detail=f"worker and parent disagree on a command: {error}")
    return _guarded(lambda: _answer(measured, command))


def _answer(measured: SessionServer, command: Command) -> Reply:
    reply: Reply
    match command:
        case SetUp(scenario=scenario, samples=samples):
            reply = measured.set_up(scenario, samples)
        case RunWindow(epochs=epochs, lead_in=lead_in):
            reply = measured.run_window(epochs, lead_in)
        case Evaluate():
            reply = measured.evaluate()
        case PreparePrediction(batch_sizes=batch_sizes):
            reply = measured.prepare_prediction(batch_sizes)
        case RunQueries(queries=queries):
            reply = measured.predictions.run_queries(queries)
        case RunOffline(batch_size=batch_size, samples=samples):
            reply = measured.predictions.run_offline(batch_size, samples)
        case ExchangeArrays():
            reply = measured.exchange(command)
        case _:
            assert_never(command)
    return reply


def _guarded(measured_code: Callable[[], T]) -> T | FailureReply | UnusableReply:
    try:
        return measured_code()
    except DivergedError as error:
        return FailureReply(reason=FailureReason.DIVERGED, detail=str(error))
    except NumericsError as error:
        return FailureReply(reason=FailureReason.PRECISION_NOT_IN_EFFECT, detail=str(error))
    except (DataError, ImportError) as error:  # no framework here: say so in a reply, not in a traceback
        return UnusableReply(detail=str(error))
    except Exception as error:  # noqa: BLE001  # whatever the measured code raises is a result, its traceback the log
        traceback.print_exc()
        return FailureReply(reason=_reason(error), detail=_one_line(error))


def _lines(answer_empty: Callable[[], None]) -> Iterator[bytes]:
    """Yield the lines that the parent sends. When it closes the pipe, end this process at once.

    On another host the connection may die without a word: the parent then sends an empty line now and then, and this
    process ends when none has come for too long. Each is answered, whatever this process does meanwhile: so the parent
    can tell one that works, or waits for another one, from one that was stopped.

    Not sys.stdin: a thread inside its lock would make the interpreter abort when the process ends by itself.
    """
    received: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    patience = os.environ.get(SILENCE_VARIABLE)
    limit = None if patience is None else float(patience)

    def receive() -> None:
        unfinished = b""
        try:
            while select.select([0], [], [], limit)[0] and (part := os.read(0, 1 << 16)):
                *whole, unfinished = (unfinished + part).split(b"\n")
                for line in whole:
                    if line:
                        received.put(line)
                    else:
                        answer_empty()
        finally:  # whatever ends this thread: nobody else would notice that the parent is gone
            if patience is not None:  # nor would anybody end what this process has started there
                _kill_children()
            os._exit(1)

    threading.Thread(target=receive, daemon=True).start()
    while True:
        yield received.get()


def _kill_children() -> None:
    with contextlib.suppress(psutil.Error):
        for child in psutil.Process().children(recursive=True):
            child.kill()


def _reason(error: BaseException) -> FailureReason:
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY_WORDS):
        return FailureReason.OUT_OF_MEMORY
    if any(words in text for words in _LOST_RANK_WORDS):
        return FailureReason.RANK_LOST
    return FailureReason.CRASHED


def _one_line(error: BaseException) -> str:
    """Say what was raised, and where in the user's own files.

    MXNet's errors are stack traces of many lines; the last one says what happened.
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__) + _own_place(error)


def _own_place(error: BaseException) -> str:
    """Return the last place that is in a file below the current folder and not ours; "" where there is none."""
    here = Path.cwd()
    ours = [Path(module.__file__).parent for module in (bench, mnist_core) if module.__file__]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        is_ours = any(file.is_relative_to(folder) for folder in ours)
        if file.is_relative_to(here) and not is_ours and "site-packages" not in file.parts:
            return f" ({file.relative_to(here)}, line {frame.lineno})"
    return ""


@contextlib.contextmanager
def _reply_channel() -> Iterator[BinaryIO]:
    """The real stdout, for replies alone: what MXNet's C++ code or a user's network prints goes to stderr."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    with channel:
        yield channel


def _send(channel: BinaryIO, message: FromWorker | HostReply) -> None:
    _write_line(channel, msgspec.json.encode(message))


def _write_line(channel: BinaryIO, line: bytes) -> None:
    with _WRITING:
        channel.write(line + b"\n")
        channel.flush()

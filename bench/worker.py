"""The measured process: one JSON request on stdin, JSON lines on stdout, the last one the reply.

Started fresh for every run, with its thread variables already set. It ends when its stdin does, so that it never
outlives a parent that was killed.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from bench.protocol import (
    DescribeReply,
    DescribeRequest,
    DivergedError,
    EpochDone,
    FailureReply,
    FromWorker,
    Reply,
    Request,
    RunReply,
    RunRequest,
    UnusableReply,
)
from bench.record import Epoch, FailureReason
from bench.scenario import ConfigurationError
from mnist_core.idx import DataError
from mnist_core.lifeline import end_with_stdin

try:
    from bench import measure
except ImportError as error:  # no framework here: say so in a reply, not in a traceback
    _UNAVAILABLE: str | None = str(error)
else:
    _UNAVAILABLE = None

#: What CUDA, cuDNN, MXNet's allocator and the C++ runtime say when memory ends.
_OUT_OF_MEMORY_WORDS = ("out of memory", "bad_alloc", "cudamalloc", "alloc_failed", "cannot allocate memory")


def main() -> None:
    """Answer one request. The exit status is 0 whenever a reply was written."""
    sys.path.append(str(Path.cwd()))  # a user's own network; behind everything installed, so that it can shadow nothing
    with _reply_channel() as channel:
        request_line = sys.stdin.buffer.readline()
        end_with_stdin()
        _send(channel, answer(request_line, lambda event: _send(channel, event)))


def answer(request_line: bytes, on_event: Callable[[FromWorker], None]) -> Reply:
    """The reply to a request; failures of the measured code become replies, faults of the harness raise."""
    try:
        request = msgspec.json.decode(request_line, type=Request)
    except (msgspec.DecodeError, ConfigurationError) as error:
        return UnusableReply(detail=f"worker and parent disagree on the request: {error}")
    if _UNAVAILABLE is not None:
        return UnusableReply(detail=_UNAVAILABLE)
    if isinstance(request, DescribeRequest):
        return DescribeReply(software=measure.describe())
    return _measured(request, lambda index, epoch: on_event(EpochDone(index=index, epoch=epoch)))


def _measured(request: RunRequest, on_epoch: Callable[[int, Epoch], None]) -> Reply:
    if os.environ.get("OMP_NUM_THREADS") != str(request.omp_num_threads):
        return UnusableReply(detail=f"OMP_NUM_THREADS is not {request.omp_num_threads} in the worker's environment")
    try:
        return RunReply(run=measure.measure(request, on_epoch))
    except DivergedError as error:
        return FailureReply(reason=FailureReason.DIVERGED, detail=str(error))
    except DataError as error:
        return UnusableReply(detail=str(error))
    except Exception as error:  # noqa: BLE001  # whatever the measured code raises is a result, its traceback the log
        traceback.print_exc()
        return FailureReply(reason=_reason(error), detail=_one_line(error))


def _reason(error: BaseException) -> FailureReason:
    text = str(error).lower()
    if isinstance(error, MemoryError) or any(words in text for words in _OUT_OF_MEMORY_WORDS):
        return FailureReason.OUT_OF_MEMORY
    return FailureReason.CRASHED


def _one_line(error: BaseException) -> str:
    """MXNet's errors are stack traces of many lines; the last one says what happened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__


@contextlib.contextmanager
def _reply_channel() -> Iterator[BinaryIO]:
    """The real stdout, for replies alone: what MXNet's C++ code or a user's network prints goes to stderr."""
    channel = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    with channel:
        yield channel


def _send(channel: BinaryIO, message: FromWorker) -> None:
    channel.write(msgspec.json.encode(message) + b"\n")
    channel.flush()

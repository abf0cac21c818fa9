"""MXNet's own trace -> what each operator took, and a trace that Perfetto and chrome://tracing read.

MXNet writes every operator twice, once for its device and once for the list of all operators, and threads by a 64-bit
hash, which JavaScript cannot hold. With the naive engine it also writes the operators of a bound graph once more: its
`Push` records them around the function that it hands to `PushAsync`, which records them itself (naive_engine.cc). The
two have one name and lie within each other, and only the inner one is counted here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from bench.records.profile import OperatorTimes
from bench.worker.protocol.requests import PHASES_DOMAIN, RAW_TRACE_FILE

_MICROSECOND: Final = 1e-6
_OPERATOR: Final = "operator"
_API: Final = "MXNET_C_API"
#: Process numbers in the trace that is written: the loop, and the engine's threads.
_PYTHON, _ENGINE = 1, 2


class TraceError(Exception):
    """A trace that cannot be read or written; one line."""


@dataclass(frozen=True, slots=True)
class Span:
    """Something that a thread did from one time to another, in microseconds of some clock."""

    name: str
    category: str
    thread: int
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Trace:
    """One epoch."""

    operators: tuple[Span, ...]
    #: The Python thread's: phases, and calls of MXNet within them.
    calls: tuple[Span, ...]
    #: The devices that each of the engine's threads worked for.
    devices: dict[int, tuple[str, ...]]

    @property
    def engine_threads(self) -> int:
        """Threads that executed operators, without the loop's own, which frees memory, unless the engine is naive."""
        return len(self.devices.keys() - {span.thread for span in self.calls})


def read(directory: Path) -> Trace:
    """The `RAW_FILE` in it. Raises `TraceError` for what is no trace of MXNet's."""
    try:
        events = msgspec.json.decode((directory / RAW_TRACE_FILE).read_bytes())["traceEvents"]
        devices = {e["pid"]: e["args"]["name"] for e in events if e["ph"] == "M"}
        spans = list(_spans(events, {("B", "E"): {_OPERATOR}, ("b", "e"): {_API, PHASES_DOMAIN}}, devices))
    except OSError as error:
        raise TraceError(f"MXNet's trace: {error.strerror or error}") from error
    except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
        raise TraceError(f"MXNet's trace is none that this program knows: {error}") from error
    executed = [(span, device) for span, device in spans if span.category == _OPERATOR]
    threads = dict.fromkeys(span.thread for span, _ in executed)
    return Trace(
        operators=tuple(_once([span for span, _ in executed])),
        calls=tuple(span for span, _ in spans if span.category != _OPERATOR),
        devices={
            thread: tuple(dict.fromkeys(device for span, device in executed if span.thread == thread))
            for thread in threads
        },
    )


def _spans(
    events: Iterable[dict[str, Any]], wanted: dict[tuple[str, str], set[str]], devices: dict[int, str]
) -> Iterator[tuple[Span, str]]:
    """Each with the name of its device, in the order in which they ended."""
    ends = {end: categories for (_begin, end), categories in wanted.items()}
    begins = {begin: categories for (begin, _end), categories in wanted.items()}
    open_since: dict[tuple[str, str, int, int], int] = {}
    for event in events:
        kind, category = event["ph"], event.get("cat", "")
        if category in begins.get(kind, ()):
            open_since[category, event["name"], event["pid"], event["tid"]] = event["ts"]
        elif category in ends.get(kind, ()):
            begin = open_since.pop((category, event["name"], event["pid"], event["tid"]))
            yield Span(event["name"], category, event["tid"], begin, event["ts"]), devices[event["pid"]]


def _once(spans: Sequence[Span]) -> Iterator[Span]:
    """Drop the second record of an operator, which follows the first one on its thread and encloses it."""
    inner: dict[int, Span | None] = {}
    for span in spans:
        last = inner.get(span.thread)
        if last is not None and last.name == span.name and span.begin <= last.begin and last.end <= span.end:
            inner[span.thread] = None
            continue
        inner[span.thread] = span
        yield span


def times(trace: Trace) -> tuple[OperatorTimes, ...]:
    """Return the times of each operator, the greatest total first."""
    grouped: dict[str, list[float]] = {}
    for span in trace.operators:
        grouped.setdefault(span.name, []).append((span.end - span.begin) * _MICROSECOND)
    totals = [
        OperatorTimes(
            name=name,
            calls=len(seconds),
            total_seconds=sum(seconds),
            min_seconds=min(seconds),
            max_seconds=max(seconds),
        )
        for name, seconds in grouped.items()
    ]
    return tuple(sorted(totals, key=lambda each: each.total_seconds, reverse=True))


def to_chrome(trace: Trace, title: str) -> bytes:
    """The trace event format, as JSON: one process for the Python thread, one for the engine's threads."""
    every = [*trace.calls, *trace.operators]
    start = min((span.begin for span in every), default=0)
    lanes = {thread: lane for lane, thread in enumerate(trace.devices, start=1)}
    events: list[dict[str, Any]] = [
        _name("process_name", _PYTHON, 0, f"Python: {title}"),
        _name("process_name", _ENGINE, 0, "MXNet's engine"),
        _name("thread_name", _PYTHON, 1, "training loop"),
        *(
            _name("thread_name", _ENGINE, lane, f"{', '.join(trace.devices[thread])}: thread {lane}")
            for thread, lane in lanes.items()
        ),
    ]
    for span in sorted(every, key=lambda span: (span.begin, -span.end)):
        is_operator = span.category == _OPERATOR
        events.append(
            {
                "name": span.name,
                "cat": span.category,
                "ph": "X",
                "ts": span.begin - start,
                "dur": span.end - span.begin,
                "pid": _ENGINE if is_operator else _PYTHON,
                "tid": lanes[span.thread] if is_operator else 1,
            }
        )
    return msgspec.json.encode({"traceEvents": events, "displayTimeUnit": "ms"}) + b"\n"


def _name(kind: str, process: int, thread: int, name: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}

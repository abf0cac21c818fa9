"""Where the phases of a training loop meet: the functions that each of them is made of, to be skipped or watched.

The loop runs as it is. What is exchanged, for as long as a block lasts, are the functions of MXNet that it calls, and
those of its own parts that call no single one of them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from bench.records.profile import EpochPhase
from mnist_core import loop
from mnist_core.mxnet_border import gluon, mx, nd


class EpochCutError(Exception):
    """The epoch has come to where it was to end; its caller expects it."""


class Watcher(Protocol):
    """Told when a phase begins and ends. Between two of them the loop is at its input."""

    def enter(self, phase: EpochPhase) -> None: ...
    def leave(self, phase: EpochPhase) -> None: ...


@dataclass(frozen=True, slots=True)
class _Hook:
    phase: EpochPhase
    owner: type
    name: str


#: Some call others of them; the outermost counts.
_HOOKS: Final = (
    _Hook(EpochPhase.FORWARD, gluon.Block, "__call__"),
    _Hook(EpochPhase.FORWARD, mx.executor.Executor, "forward"),
    _Hook(EpochPhase.BACKWARD, nd.NDArray, "backward"),
    _Hook(EpochPhase.BACKWARD, mx.executor.Executor, "backward"),
    _Hook(EpochPhase.METRIC, mx.metric.Accuracy, "update"),
    _Hook(EpochPhase.METRIC, loop._BatchMetric, "update"),  # noqa: SLF001  # nobody else looks between a loop's parts
    _Hook(EpochPhase.METRIC, loop._EpochMetric, "update"),  # noqa: SLF001
    _Hook(EpochPhase.METRIC, loop._CountCorrect, "__call__"),  # noqa: SLF001
    _Hook(EpochPhase.UPDATE, gluon.Trainer, "step"),
    _Hook(EpochPhase.UPDATE, loop._TrainerUpdate, "__call__"),  # noqa: SLF001
    _Hook(EpochPhase.UPDATE, loop._FlatUpdate, "__call__"),  # noqa: SLF001
)
_ORDER: Final = tuple(EpochPhase)


@contextlib.contextmanager
def truncated_after(phase: EpochPhase) -> Iterator[None]:
    """Inside, an epoch does everything up to this phase and nothing of the later ones.

    Up to `SHUFFLE` it raises `EpochCutError` when its first batch is there.
    """
    skip = _cut if phase is EpochPhase.SHUFFLE else _last_argument
    later = [hook for hook in _HOOKS if _ORDER.index(hook.phase) > _ORDER.index(phase)]
    with _exchanged(dict.fromkeys(later, skip)):
        yield


def _cut(*_arguments: Any, **_more: Any) -> None:  # noqa: ANN401  # whatever the real one takes
    raise EpochCutError


def _last_argument(*arguments: Any, **_more: Any) -> Any:  # noqa: ANN401  # as above
    """A skipped network gives back its images, a skipped loss its labels: what comes next finds an array."""
    return arguments[-1]


@contextlib.contextmanager
def traced(watcher: Watcher) -> Iterator[None]:
    """Inside, the watcher is told of every phase but `SHUFFLE` and `INPUT`, which are what lies between the others."""
    inside = False

    def around(hook: _Hook) -> Callable[..., Any]:
        original = getattr(hook.owner, hook.name)

        def call(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401  # whatever the real one takes and gives
            nonlocal inside
            if inside:
                return original(*arguments, **more)
            inside = True
            watcher.enter(hook.phase)
            try:
                return original(*arguments, **more)
            finally:
                watcher.leave(hook.phase)
                inside = False

        return call

    with _exchanged({hook: around(hook) for hook in _HOOKS}):
        yield


@contextlib.contextmanager
def _exchanged(functions: dict[_Hook, Callable[..., Any]]) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for hook, function in functions.items():
            stack.callback(_restore, hook, vars(hook.owner).get(hook.name))
            setattr(hook.owner, hook.name, function)
        yield


def _restore(hook: _Hook, own: Callable[..., Any] | None) -> None:
    if own is None:  # it was inherited
        delattr(hook.owner, hook.name)
    else:
        setattr(hook.owner, hook.name, own)

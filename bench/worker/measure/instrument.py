"""Instrument a training loop: skip its later phases, or tell an observer when each phase begins and ends.

The loop itself stays as it is. For the length of a block the functions that its phases are made of are exchanged, see
`mnist_core.loop.phase_functions`. Profiles alone are measured so, never the sides of a gate.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol

from bench.records.profile import EpochPhase
from mnist_core import loop


class EpochCutError(Exception):
    """The epoch has reached the point where it was to end; the code that truncated it catches this."""


class PhaseObserver(Protocol):
    """Is told when a phase begins and ends. Between two phases the loop is at its input."""

    def enter(self, phase: EpochPhase) -> None: ...
    def leave(self, phase: EpochPhase) -> None: ...


@dataclass(frozen=True, slots=True)
class _Hook:
    phase: EpochPhase
    owner: type
    name: str


_HOOKS: Final = tuple(_Hook(EpochPhase(phase), owner, name) for phase, owner, name in loop.phase_functions())
_ORDER: Final = tuple(EpochPhase)


@contextlib.contextmanager
def truncated_after(phase: EpochPhase) -> Iterator[None]:
    """Within the block, train epochs that skip every phase after this one.

    After `SHUFFLE` an epoch raises `EpochCutError` as soon as its first batch is there.
    """
    skip = _cut if phase is EpochPhase.SHUFFLE else _last_argument
    later = [hook for hook in _HOOKS if _ORDER.index(hook.phase) > _ORDER.index(phase)]
    with _exchanged(dict.fromkeys(later, skip)):
        yield


def _cut(*_arguments: Any, **_more: Any) -> None:  # noqa: ANN401  # whatever the real one takes
    raise EpochCutError


def _last_argument(*arguments: Any, **_more: Any) -> Any:  # noqa: ANN401  # as above
    """Return a skipped network's images, or a skipped loss's labels, so that the next function finds an array."""
    return arguments[-1]


@contextlib.contextmanager
def traced(observer: PhaseObserver) -> Iterator[None]:
    """Within the block, tell the observer of every phase but `SHUFFLE` and `INPUT`, which lie between the others."""
    inside = False

    def around(hook: _Hook) -> Callable[..., Any]:
        original = getattr(hook.owner, hook.name)

        def call(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401  # whatever the real one takes and gives
            nonlocal inside
            if inside:
                return original(*arguments, **more)
            inside = True
            observer.enter(hook.phase)
            try:
                return original(*arguments, **more)
            finally:
                observer.leave(hook.phase)
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

"""The axes of a listing of scenarios: those that differ are columns, and what all rows share stands above the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from bench.render.model.captions import common_setting
from bench.render.model.columns import AXES, LOOP, MAIN_AXES, SHOWN_AXES, Axis, tells_of, varies
from bench.render.model.table import at_priority, hidden_column
from bench.scenarios.scenario import Scenario, axis_value

#: The priority of an axis that rows can be told apart without: below that of speed-up and accuracy.
_SPARE_AXIS: Final = 3


def listed_axes(scenarios: Sequence[Scenario], *, with_network: bool = False) -> list[Axis]:
    """Return a listing's columns of axes: all of them, for programs only where all rows are alike.

    A single row, which differs from nothing, keeps what describes it. `with_network` shows the network in any case.
    """
    first = {*MAIN_AXES, *(["network"] if with_network else [])}
    shown = [axis for axis in SHOWN_AXES if _is_shown(axis, scenarios, with_network=with_network)]
    spare = _spare_axes([axis for axis in shown if axis.heading.name != "network"], scenarios)
    return [
        hidden_column(axis) if axis not in shown else at_priority(axis, _SPARE_AXIS) if axis in spare else axis
        for axis in sorted((*AXES, LOOP), key=lambda axis: axis.heading.name not in first)
    ]


def shared_setting(scenarios: Sequence[Scenario]) -> list[tuple[str, str]]:
    """Return the caption's line on what all rows of a listing share, but for their network; none for a single row."""
    same = [axis for axis in SHOWN_AXES if axis.heading.name != "network" and not varies(axis, scenarios)]
    return common_setting(scenarios[0], same) if len(scenarios) > 1 else []


def _is_shown(axis: Axis, scenarios: Sequence[Scenario], *, with_network: bool) -> bool:
    if axis.heading.name == "network" and with_network:
        return True
    return varies(axis, scenarios) or (len(scenarios) == 1 and tells_of(axis, scenarios))


def _spare_axes(axes: Sequence[Axis], scenarios: Sequence[Scenario]) -> list[Axis]:
    """Return the axes without which the others tell as many rows apart; those that tell least come first."""
    values = {axis.heading.name: [axis_value(scenario, axis.heading.name) for scenario in scenarios] for axis in axes}
    kept, told = dict(values), len(set(zip(*values.values(), strict=True)))
    for name in sorted(values, key=lambda name: len(set(values[name]))):
        others = [each for axis, each in kept.items() if axis != name]
        if others and len(set(zip(*others, strict=True))) == told:
            del kept[name]
    return [axis for axis in axes if axis.heading.name not in kept]

"""What tells scenarios apart: the columns of a listing, and the labels of files and scenarios in a picture."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from bench.render.model.axis_columns import AXES, LOOP, MAIN_AXES, SHOWN_AXES, Axis, tells_of, varies
from bench.render.model.table import at_priority, hidden_column
from bench.render.model.words.captions import common_setting, describe_setting
from bench.render.phrases import clean_text
from bench.scenarios.axes import Framework
from bench.scenarios.scenario import Scenario, axis_value

_SEPARATORS = "-_./ "


def short_names(names: Sequence[str]) -> dict[str, str]:
    """Drop the words that all names begin or end with: run-amd-epyc and run-xeon become amd-epyc and xeon."""
    split = [re.findall(r"[^-_./ ]*[-_./ ]*", name)[:-1] for name in dict.fromkeys(names)]
    shortest = min(map(len, split), default=0)
    begin = _common(split, shortest - 1)
    end = _common([words[::-1] for words in split], shortest - 1 - begin)
    short = ["".join(words[begin : len(words) - end]).strip(_SEPARATORS) for words in split]
    usable = len(short) > 1 and all(short) and len({*short}) == len(short)
    return dict(zip(dict.fromkeys(names), short if usable else dict.fromkeys(names), strict=True))


def _common(split: Sequence[Sequence[str]], most: int) -> int:
    """Count the words that all begin with."""
    count = 0
    while count < most and len({words[count].strip(_SEPARATORS) for words in split}) == 1:
        count += 1
    return count


def full_setting(scenario: Scenario, without: str = "", among: Collection[Scenario] = ()) -> str:
    """Describe a scenario by its main axes and those off the tutorial's setting, `without` one of them.

    MXNet is named only where another framework is `among` those that a reader might take it for.
    """
    shown = [axis for axis in SHOWN_AXES if axis.heading.name != without and tells_of(axis, [scenario])]
    words = describe_setting(scenario, shown)
    plain = {Framework.MXNET, scenario.framework, *(each.framework for each in among)} == {Framework.MXNET}
    return words if plain else f"{scenario.framework}, {words}"


@dataclass(frozen=True, slots=True)
class Labels:
    """What tells the scenarios of a picture apart."""

    #: The short name of each file; empty where there is one alone.
    files: dict[str, str]
    #: The axes on which they differ.
    axes: frozenset[str]
    #: Whether they run on devices of more than one kind.
    kinds: bool

    def of(self, file: str, scenario: Scenario, without: str = "") -> str:
        """Label a scenario of a file; `without` is the axis along which the picture itself is drawn."""
        axes = [axis for axis in SHOWN_AXES if axis.heading.name in self.axes - {without}]
        words = [self.files.get(file, "")]
        if without == "contexts" and self.kinds:
            words.append(" and ".join(dict.fromkeys(device.kind.value.upper() for device in scenario.devices)))
        if "framework" in self.axes:
            words.append(str(scenario.framework))
        words.append(describe_setting(scenario, axes))
        return clean_text(", ".join(filter(None, words)) or full_setting(scenario, without))


def labels_of(scenarios: Iterable[tuple[str, Scenario]]) -> Labels:
    """Find what tells the scenarios apart; each comes as (file, scenario)."""
    pairs = list(scenarios)
    files = list(dict.fromkeys(file for file, _scenario in pairs))
    differing = (axis.heading.name for axis in SHOWN_AXES if varies(axis, [scenario for _file, scenario in pairs]))
    return Labels(
        files=short_names(files) if len(files) > 1 else {},
        axes=frozenset(differing) - {"network"},
        kinds=len({device.kind for _file, scenario in pairs for device in scenario.devices}) > 1,
    )


# --- in a listing

#: The priority of an axis that rows can be told apart without: below that of speed-up and accuracy.
_SPARE_AXIS: Final = 3


def listed_axes(scenarios: Sequence[Scenario], *, with_network: bool = False) -> list[Axis]:
    """Return a listing's columns of axes: all of them, for programs only where all rows are alike.

    A single row, which differs from nothing, keeps what describes it. `with_network` is for a table of several
    networks, which has a column of them in any case.
    """
    first = {*MAIN_AXES, *(["network"] if with_network else [])}
    shown = [axis for axis in SHOWN_AXES if _is_shown(axis, scenarios, with_network=with_network)]
    spare = [] if with_network or len(scenarios) == 1 else _spare_axes(shown, scenarios)
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

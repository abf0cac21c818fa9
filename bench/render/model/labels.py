"""Labels of files and scenarios in a picture: only the parts of their names that tell them apart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.render.model.captions import describe_setting
from bench.render.model.columns import SHOWN_AXES, tells_of, varies
from bench.render.phrases import clean_text
from bench.scenarios.axes import Framework
from bench.scenarios.scenario import Scenario

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


def full_setting(scenario: Scenario, without: str = "") -> str:
    """Describe a scenario by its main axes and those off the tutorial's setting, `without` one of them."""
    shown = [axis for axis in SHOWN_AXES if axis.heading.name != without and tells_of(axis, [scenario])]
    words = describe_setting(scenario, shown)
    return words if scenario.framework is Framework.MXNET else f"{scenario.framework}, {words}"


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

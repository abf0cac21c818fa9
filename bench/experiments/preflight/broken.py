"""Which machine is cut off from the others, after a training on them failed and none of its processes could tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from bench.experiments.preflight.ask import HostAnswer, Preflight, ask_hosts
from bench.records.result import Dataset
from bench.scenarios.axes import Framework
from bench.worker.interpreters import Interpreters
from bench.worker.process import Cancellation
from bench.worker.seats import Machine

#: Longer than Python takes to start on a loaded machine: all are there, or their processes would have been mute.
_ANSWER_SECONDS: Final = 10.0
#: No data are there, which would only take time.
_NO_DATA: Final = "/"


@dataclass(frozen=True, slots=True)
class Broken:
    """What is wrong between machines."""

    #: The label of the one that is to blame; None: that cannot be told.
    host: str | None
    words: str


def find_broken(
    machines: Sequence[Machine], framework: Framework, here: Interpreters, dataset: Dataset, stop: Cancellation
) -> Broken | None:
    """Ask the machines what is wrong between them; None: nothing is now. It takes a few seconds at most."""
    hosts = [msgspec.structs.replace(machine.host, data_directory=_NO_DATA) for machine in machines]
    seen = ask_hosts(hosts, here, [framework], dataset, _NO_DATA, stop, answer_seconds=_ANSWER_SECONDS)
    return judge(seen, [machine.label for machine in machines])


def judge(seen: Preflight, labels: Sequence[str]) -> Broken | None:
    """Return what the answers of machines say is wrong; their labels are other ones than those of a hosts file."""
    own = {answer.label: label for answer, label in zip(seen.hosts, labels, strict=True)}
    silent = [answer for answer in seen.hosts if answer.facts is None]
    if silent:
        host = own[silent[0].label] if len(silent) == 1 else None
        words = "; ".join(f"{own[each.label]} does not answer: {each.pythons[0].fault}" for each in silent)
        return Broken(host, words)
    down = [answer for answer in seen.hosts if answer.interface is not None and not answer.interface.is_up]
    if down:
        host = own[down[0].label] if len(down) == 1 else None
        return Broken(host, "; ".join(f"the interface {_name(each)} of {own[each.label]} is down" for each in down))
    cut = {(own[answer.label], own[other]) for answer in seen.hosts for other in answer.unreached}
    if not cut:
        return None
    always = [label for label in labels if all(label in pair for pair in cut)]
    words = ", ".join(f"{sender} does not reach {receiver}" for sender, receiver in sorted(cut))
    return Broken(always[0] if len(always) == 1 else None, words)


def _name(answer: HostAnswer) -> str:
    return "" if answer.interface is None else answer.interface.name

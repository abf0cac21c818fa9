"""Why rows of two result files must not be compared, and what the difference is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import msgspec

from bench.analysis.across.entries import Entry
from bench.analysis.groups import RowKey
from bench.machine.fingerprint import difference
from bench.records.result import Dataset
from bench.scenarios.scenario import Scenario, axis_text
from mnist_core.recipe import Recipe


def explain_other_data(baseline: Dataset, contender: Dataset) -> str | None:
    if baseline.digest == contender.digest:
        return None
    names = (f"{dataset.name} ({dataset.digest[:12]})" for dataset in (baseline, contender))
    return f"other data: {next(names)} in the baseline, {next(names)} in the contender"


def explain_cold_turns(baseline: Entry | None, contender: Entry | None) -> str | None:
    """Return why turns that measure a cold start must not be compared with those that epochs led in to; None: they may.

    The difference would be that of two ways to measure.
    """
    if baseline is None or contender is None:
        return None
    for name, one, other in (("baseline", baseline, contender), ("contender", contender, baseline)):
        if one.is_cold and other.is_led_in:
            return (
                f"the {name}'s turns are cold, without the epochs that lead in to them today: measure the {name} again"
            )
    return None


def explain_incomparable(
    baseline: Mapping[RowKey, Entry], contender: Mapping[RowKey, Entry], *, across_machines: bool
) -> dict[RowKey, str]:
    """Return why rows of both files must not be compared, and why rows of only one are not simply missing there.

    That is where the other file has the same scenario under another recipe, or, under the same recipe, exactly one
    scenario that differs in a single axis. Machines differ in their devices, so across machines other contexts do not
    count.
    """
    alone = [key for key in baseline if key not in contender]
    others = [key for key in contender if key not in baseline]
    cold = {key: explain_cold_turns(entry, contender.get(key)) for key, entry in baseline.items()}
    reasons = {key: reason for key, reason in cold.items() if reason is not None}
    for before in alone:
        for after in others:
            if before[0] == after[0]:
                changes = (
                    difference(field.name, getattr(before[1], field.name), getattr(after[1], field.name))
                    for field in dataclasses.fields(Recipe)
                    if getattr(before[1], field.name) != getattr(after[1], field.name)
                )
                reasons[before] = reasons[after] = f"another recipe: {', '.join(map(str, changes))}"
    fits = {
        before: [after for after in others if after not in reasons and _changed_axis(before, after) is not None]
        for before in alone
        if before not in reasons
    }
    for before, candidates in fits.items():
        rivals = [other for other, theirs in fits.items() if candidates and candidates[0] in theirs]
        if len(candidates) == 1 and rivals == [before]:
            after = candidates[0]
            axis = _changed_axis(before, after)
            assert axis is not None
            if not (across_machines and axis == "contexts"):
                change = difference(axis, axis_text(before[0], axis), axis_text(after[0], axis))
                reasons[before] = reasons[after] = f"another scenario: {change}"
    return reasons


def _changed_axis(before: RowKey, after: RowKey) -> str | None:
    """Return the one axis in which two rows differ; None if there are more, or their recipes differ."""
    if before[1] != after[1]:
        return None
    axes = (field.name for field in msgspec.structs.fields(Scenario))
    changed = [name for name in axes if getattr(before[0], name) != getattr(after[0], name)]
    return changed[0] if len(changed) == 1 else None

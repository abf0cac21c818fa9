"""What of a plan this machine can compute in the precisions that it names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bench.cli.console import note
from bench.errors import ConfigurationError
from bench.machine.capture import capture
from bench.render.phrases import format_count
from bench.scenarios.precision import Hardware, missing_in
from bench.scenarios.scenario import Scenario
from bench.scenarios.suite import Overrides, PlannedRun
from mnist_core.recipe import Precision


def computable(plan: Sequence[PlannedRun], overrides: Overrides, *, is_here: bool) -> tuple[PlannedRun, ...]:
    """Return the runs whose precision this machine can compute; a note says which scenarios of a suite are left out.

    All of them where they are not measured here. Raises `ConfigurationError` where the command line has asked for the
    precision, or nothing is left.
    """
    reasons = _reasons(planned.scenario for planned in plan) if is_here else {}
    kept = tuple(planned for planned in plan if planned.scenario not in reasons)
    if reasons and (not kept or "precision" in dict(overrides.settings)):
        raise ConfigurationError(next(iter(reasons.values())))
    for reason in dict.fromkeys(reasons.values()):
        scenarios = [scenario for scenario, its in reasons.items() if its == reason]
        note(f"{format_count(len(scenarios), 'scenario')} left out: {reason}")
    return kept


def require_computable(scenarios: Iterable[Scenario]) -> None:
    """Raise `ConfigurationError` for the first scenario whose precision this machine cannot compute."""
    for reason in _reasons(scenarios).values():
        raise ConfigurationError(reason)


def _reasons(scenarios: Iterable[Scenario]) -> dict[Scenario, str]:
    """Return why this machine cannot compute scenarios; it is looked at only where they need more than float32."""
    asked = [each for each in dict.fromkeys(scenarios) if each.precision is not Precision.FLOAT32]
    if not asked:
        return {}
    here = capture()
    hardware = Hardware(
        here.host_processor_instruction_sets,
        [each.compute_capability for each in here.accelerators if each.compute_capability is not None],
    )
    found = ((scenario, missing_in(hardware, scenario)) for scenario in asked)
    return {scenario: reason for scenario, reason in found if reason is not None}

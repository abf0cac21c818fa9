"""What a suite asks for on this machine, and the frameworks that it needs."""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Sequence

from bench.errors import ConfigurationError
from bench.experiments.run.executor import SubprocessExecutor
from bench.machine.linux.cpu import vector_floats
from bench.records.environment import Software
from bench.scenarios.axes import AUTO_CONTEXTS, Framework
from bench.scenarios.selection import BEST, select
from bench.scenarios.suite import Overrides, PlannedRun, expand, load_suite, override, with_gpus
from mnist_core.devices import Device, Probe, probe_row


def plan_here(
    suite: str,
    overrides: Overrides,
    keyword: str | None,
    seed: int,
    probe: Callable[[Framework, Device], Probe],
    machines: int = 1,
    *,
    has_gpu: bool = False,
) -> tuple[PlannedRun, ...]:
    """Return the runs of a suite on so many machines; `auto` stands for the GPUs that a framework can use, or the CPU.

    Devices are tried out with `probe` where the suite says `auto`, and where it has rows for GPUs and this machine
    `has_gpu`. Raises `ConfigurationError` for a suite that cannot be read, and where `keyword` leaves none of its
    scenarios.
    """
    floats = vector_floats()
    written = load_suite(suite)
    usable = functools.cache(lambda framework: _usable_gpus(functools.partial(probe, framework)))
    frameworks = {framework for matrix in written.on_gpu for framework in matrix.framework} if has_gpu else set()
    gpus_of = {framework: [str(device) for device in usable(framework)] for framework in frameworks}
    chosen = override(with_gpus(written, gpus_of), overrides, floats)
    auto = {framework for matrix in chosen.matrix if AUTO_CONTEXTS in matrix.contexts for framework in matrix.framework}
    gpus = sorted({device for framework in Framework if framework in auto for device in usable(framework)})
    plan = expand(
        chosen, seed=seed, gpu_contexts=[str(device) for device in gpus], machines=machines, vector_floats=floats
    )
    if keyword is not None:
        plan = select(plan, keyword)
    if not plan:
        listing = f"mnist-bench run --suite {shlex.quote(suite)} --dry-run"
        best = f"; {BEST!r} is known of results alone: compare FILE --baseline-scenario {BEST}"
        hint = best if keyword is not None and keyword.strip().lower() == BEST else ""
        raise ConfigurationError(
            f"no scenario is left: nothing in the suite matches ({listing} lists what it has){hint}"
        )
    return plan


def _usable_gpus(try_out: Callable[[Device], Probe]) -> list[Device]:
    return [tried.device for tried in probe_row(try_out) if tried.usable]


def describe_frameworks(executor: SubprocessExecutor, plan: Sequence[PlannedRun]) -> list[Software]:
    """Ask each framework of a plan what it is, in the order of `Framework`.

    Raises `SetupError` where one is not installed, or cannot train a custom network of the plan.
    """
    scenarios = [planned.scenario for planned in plan]
    needed = {scenario.framework for scenario in scenarios}
    return [
        executor.describe(framework, [scenario for scenario in scenarios if scenario.framework is framework])
        for framework in Framework
        if framework in needed
    ]

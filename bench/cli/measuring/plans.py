"""What `run` says of its plan: the scenarios and how long they take, and how well speed-ups are known at the end."""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import SOURCE_ROOT
from bench.cli import options
from bench.cli.console import note, out, spinner, warn
from bench.errors import ConfigurationError, StoreError
from bench.experiments.gate import source
from bench.experiments.run import policy
from bench.experiments.run.eta import expected_seconds, pace_of
from bench.experiments.run.plan import plan_here
from bench.experiments.run.policy import MOST_BLOCKS
from bench.experiments.run.runner import remaining
from bench.machine.gpus.accelerators import describe_accelerators
from bench.machine.linux.system_files import ROOT
from bench.machine.privacy import host_hash
from bench.records import store
from bench.records.result import ResultSet
from bench.render import units
from bench.render.phrases import format_count
from bench.render.progress.run import format_reached
from bench.scenarios.axes import Framework
from bench.scenarios.suite import Overrides, PlannedRun, load_suite
from bench.worker.interpreters import Interpreters
from mnist_core.datasets import TEST_COUNT, TRAIN_COUNT
from mnist_core.devices import Device, DeviceKind, Probe

#: Newest files that are looked at for one of the suite.
_FILES_LOOKED_AT: Final = 20


def plan_of(
    suite: str,
    overrides: Overrides,
    keyword: str | None,
    seed: int,
    probe: Callable[[Framework, Device], Probe],
    interpreters: Interpreters,
    *,
    machines: int,
) -> tuple[PlannedRun, ...]:
    """Return the runs of a suite on the machines of a hosts file, or on this one where there are none.

    Say so where the suite has rows for GPUs that nobody left out, one is here, and no framework can use it; and where
    its peers are optional and one is not installed here.
    """
    has_gpu = machines == 0 and describe_accelerators().quantity > 0
    with spinner("trying the devices out"):
        plan = plan_here(suite, overrides, keyword, seed, probe, machines=max(1, machines), has_gpu=has_gpu)
    is_whole = not (keyword or overrides.framework or overrides.contexts)
    devices = (device for planned in plan for device in planned.scenario.devices)
    if has_gpu and is_whole and load_suite(suite).on_gpu and all(each.kind is DeviceKind.CPU for each in devices):
        warn(
            "a GPU is here, and no framework that is installed can use it: nox -s bench installs the builds that can; "
            "mnist-bench environment says more"
        )
    if machines or not load_suite(suite).peers_are_optional:
        return plan
    given = {*overrides.framework, *interpreters.python, Framework.MXNET}
    missing = [each for each in Framework if each not in given and importlib.util.find_spec(each.value) is None]
    left_out = {planned.scenario for planned in plan if planned.scenario.framework in missing}
    if left_out:
        note(
            f"{format_count(len(left_out), 'scenario')} left out, of frameworks that are not installed here "
            f"({', '.join(missing)}): nox -s peers -- --suite {suite} measures them, too"
        )
    return tuple(planned for planned in plan if planned.scenario not in left_out)


@dataclass(frozen=True, slots=True)
class Estimate:
    """How long runs take, roughly."""

    train_samples: int
    test_samples: int
    #: Seconds that an expected second takes here, and how sure that is: words before the time, and why.
    pace: float
    basis: tuple[str, str]

    def seconds(self, planned: PlannedRun) -> float:
        return self.pace * expected_seconds(planned, self.train_samples, self.test_samples)

    def describe(self, plan: Iterable[PlannedRun]) -> str:
        return f"{self.basis[0]} {units.roughly(sum(map(self.seconds, plan)))} ({self.basis[1]})"


def estimate_of(suite: str, train_samples: int, test_samples: int) -> Estimate:
    """Estimate by the pace of this machine's newest file of the suite, if there is one."""
    paths = filter(Path.is_file, options.RESULTS_DIRECTORY.glob("*.json"))  # a link may lead nowhere
    for path in sorted(paths, key=lambda path: path.stat().st_mtime, reverse=True)[:_FILES_LOOKED_AT]:
        with contextlib.suppress(StoreError):  # a file of another kind, or a broken one
            found = store.read(path, ResultSet)
            is_ours = found.suite == suite and found.environment.host_hash == host_hash(ROOT)
            if is_ours and (pace := pace_of(found)) is not None:
                return Estimate(
                    train_samples, test_samples, pace, ("about", f"a rough estimate, at the pace of {path}")
                )
    return Estimate(train_samples, test_samples, 1.0, ("at most about", "a rough estimate, by a 2-core machine"))


def reject_without_effect(plan: Sequence[PlannedRun], *, turns: bool, predict: bool) -> None:
    """Raise `ConfigurationError` where what was asked for on the command line is for other scenarios."""
    if turns and not any(planned.in_turns for planned in plan):
        raise ConfigurationError(
            "--precision and --budget are for scenarios that take turns, and there are none here: choose a suite "
            "with some, such as standard, or leave them out"
        )
    if predict and not any(planned.predict for planned in plan):
        raise ConfigurationError(
            "--predict is for scenarios of one process, and all of these have ranks, which only train: choose "
            "--ranks 1, or leave it out"
        )


def note_plan(result_set: ResultSet, path: Path, estimate: Estimate, budget_seconds: float, *, ceilings: bool) -> None:
    todo = remaining(result_set)
    count = len(todo)
    if source.clone_around(Path.cwd()) not in {None, SOURCE_ROOT}:
        warn(f"{SOURCE_ROOT} is measured, not the clone around this folder; pip install -e . changes that")
    if result_set.failures and not count:
        warn("failed runs are not retried on --resume; use a new --output to measure them again")
    if not (count or ceilings or result_set.precision):
        note(f"nothing is left to measure in {path}")
        return
    predicting, ranks = sum(each.predict for each in todo), sum(each.scenario.has_ranks for each in todo)
    if predicting and ranks:
        warn(f"ranks only train: {format_count(predicting, 'run')} will predict, and {ranks:,} with ranks will not")
    note(
        f"{format_count(count, 'run')} on {result_set.dataset.name} ({result_set.dataset.source}), into {path}, "
        f"{estimate.describe(todo)}{' and the ceilings' if ceilings else ''}"
        f"{_describe_policy(result_set.precision, budget_seconds)}"
    )


def _describe_policy(precision: float | None, budget_seconds: float) -> str:
    """Say what decides how many blocks there are, beside the suite."""
    words = ""
    if precision is not None:
        wanted = units.percentage(precision)
        words += f"; then more blocks, so that speed-ups are known to {wanted}, at most {MOST_BLOCKS} a network"
    if math.isfinite(budget_seconds):
        words += f"; no block begins that would end after {units.roughly(budget_seconds)}"
    return words


def note_reached(result_set: ResultSet, path: Path, *, is_unfinished: bool) -> None:
    """Say how well speed-ups are known, how well they should be, and why they are not known better."""
    known, precision = policy.reached(policy.contests(result_set)), result_set.precision
    words = "no speed-up has an interval yet"
    if known is not None:
        words = format_reached(known)
    if precision is not None:
        words += f"; asked {units.percentage(precision)}"
    if is_unfinished:
        words += f"; the budget ended it: mnist-bench run --resume {path} goes on"
    elif precision is not None and (known is None or known.worst > precision):
        words += f"; the first blocks told how many there are, at most {MOST_BLOCKS} a network"
    note(words)


@functools.lru_cache(maxsize=64)  # a plan of a hundred thousand runs has few of them
def _describe_training(epochs: int, samples: int | None, *, in_turns: bool) -> str:
    part = f"{samples:,} images" if samples else "all images"
    return f"{format_count(epochs, 'turn' if in_turns else 'epoch')} of {part}"


def show_plan(plan: Sequence[PlannedRun], suite: str, precision: float | None, budget_seconds: float) -> None:
    """Print each scenario with its processes and the seconds of one, on MNIST."""
    estimate = estimate_of(suite, TRAIN_COUNT, TEST_COUNT)
    processes: dict[str, int] = {}
    seconds: dict[str, float] = {}
    for planned in plan:
        recipe = planned.recipe
        training = _describe_training(recipe.epochs, recipe.samples, in_turns=planned.in_turns)
        line = f"{planned.scenario.name}  ·  {training}{', then prediction' if planned.predict else ''}"
        processes[line] = processes.get(line, 0) + 1
        seconds[line] = estimate.seconds(planned)
    listed = (f"{count} x {seconds[line]:6.0f} s  {line}\n" for line, count in processes.items())
    out.file.write("".join(listed))  # the console takes longer for a hundred thousand lines than all the rest
    out.print(
        f"{format_count(len(processes), 'scenario')}, {format_count(len(plan), 'run')}, "
        f"{estimate.describe(plan)}{_describe_policy(precision, budget_seconds)}",
        highlight=False,
        soft_wrap=True,
    )

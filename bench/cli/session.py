"""What verbs that measure share: the plan, what was asked of this machine, and going on with a file."""

from __future__ import annotations

import contextlib
import functools
import shlex
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from bench import errors
from bench.cli.console import (
    fail,
    spinner,
)
from bench.cli.datasets import prepare
from bench.cli.exit_status import Exit
from bench.errors import ConfigurationError, IncomparableError
from bench.experiments.run.runner import SubprocessExecutor
from bench.records.environment import Environment, Software
from bench.records.result import Dataset
from bench.scenarios.axes import AUTO_CONTEXTS, Framework
from bench.scenarios.selection import select
from bench.scenarios.suite import (
    Overrides,
    PlannedRun,
    expand,
    load_suite,
    override,
)
from bench.worker import process
from bench.worker.process import Cancellation, Interpreter, Interpreters
from mnist_core import datasets
from mnist_core.datasets import DatasetName
from mnist_core.devices import Device, DeviceKind, probe_row

#: What a difference of an environment's facts is, in words.
_FACTS: Final = {
    "software": "other versions of the measured software",
    "peers": "other versions of the frameworks beside MXNet",
    "mnist_bench_version": "another version of mnist-bench",
    "git_commit": "another commit of mnist-bench",
    "usable_core_count": "another number of usable cores",
}


def require_same_machine(path: Path, before: Environment, here: Environment, facts: Sequence[str]) -> None:
    """One environment heads all of a file's rows. Raises `IncomparableError` where it would not be true of the rest."""
    if here.host_hash is None or here.host_hash != before.host_hash:
        raise IncomparableError(f"{path}: was begun on another machine; its rest must be measured there")
    if changed := [fact for fact in facts if getattr(before, fact) != getattr(here, fact)]:
        words = " and ".join(_FACTS[fact] for fact in changed)
        raise IncomparableError(f"{path}: was begun with {words}; measure anew")


def prepare_same(path: Path, dataset: Dataset, data_dir: Path | None) -> datasets.Prepared:
    """Raises `IncomparableError` where other images are here than the file was begun on."""
    try:
        name = DatasetName(dataset.name)
    except ValueError:
        raise errors.StoreError(f"{path}: its data set {dataset.name!r} is unknown here") from None
    prepared = prepare(DatasetName.AUTO if name is DatasetName.CUSTOM else name, data_dir)
    if prepared.digest != dataset.digest:
        raise IncomparableError(
            f"{path}: was begun on other data ({dataset.name} {dataset.digest[:12]}); name the same with --data-dir"
        )
    return prepared


def require_gpus(devices: Iterable[Device]) -> None:
    """Exits where MXNet cannot use one of them; says why."""
    for device in devices:
        if device.kind is not DeviceKind.GPU:
            continue
        with spinner(f"trying {device} out"):
            found = process.probe(Interpreter(), Cancellation(), Framework.MXNET, device)
        if not found.usable:
            fail(f"{device}: {found.detail}", Exit.FAILED)


@contextlib.contextmanager
def on_signals(handler: Callable[[int, object], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


RESULTS_DIRECTORY = Path("results/runs")


def describe_all(interpreters: Interpreters, plan: Sequence[PlannedRun]) -> list[Software]:
    """What each framework of the plan is, in the order of `Framework`.

    Raises `UnusableError` where one is missing, or cannot train a network of the user's own.
    """
    wanted = {planned.scenario.framework for planned in plan}
    worker = SubprocessExecutor(interpreters)
    found = []
    for framework in Framework:
        if framework in wanted:
            scenarios = [each.scenario for each in plan if each.scenario.framework is framework]
            with spinner(f"asking {framework} what it is"):
                found.append(worker.describe(framework, scenarios))
    return found


def plan_here(
    suite: str, wishes: Overrides, keyword: str | None, seed: int, interpreters: Interpreters | None = None
) -> tuple[PlannedRun, ...]:
    """What the suite asks for on this machine; `auto` contexts are the GPUs some framework can use, else the CPU."""
    wanted = override(load_suite(suite), wishes)
    probe = SubprocessExecutor(interpreters or Interpreters()).probe
    frameworks = {
        framework for matrix in wanted.matrix if AUTO_CONTEXTS in matrix.contexts for framework in matrix.framework
    }
    with spinner("trying the devices out"):
        rows = [probe_row(functools.partial(probe, framework)) for framework in Framework if framework in frameworks]
    gpus = sorted({tried.device for row in rows for tried in row if tried.usable})
    plan = expand(wanted, seed=seed, gpu_contexts=[str(device) for device in gpus])
    if keyword is not None:
        plan = select(plan, keyword)
    if not plan:
        listing = f"mnist-bench run --suite {shlex.quote(suite)} --dry-run"
        raise ConfigurationError(f"no scenario is left: nothing in the suite matches ({listing} lists what it has)")
    return plan

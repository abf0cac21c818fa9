"""What a search needs before its first round: the settings to choose from, and a file with its plan."""

from __future__ import annotations

from pathlib import Path

import msgspec

from bench.errors import ConfigurationError
from bench.experiments.tune.pool import session_starter
from bench.experiments.tune.rounds import plan
from bench.experiments.tune.search_space import Space, search_space
from bench.machine.capture import capture, usable_core_count
from bench.machine.linux.cpu import vector_floats
from bench.records.base import utc_now
from bench.records.environment import Software
from bench.records.result import Dataset
from bench.records.tune import Candidate, TuneFile
from bench.scenarios.axes import AUTO_CONTEXTS, canonical_contexts
from bench.scenarios.suite import Overrides
from bench.worker.process import Cancellation
from mnist_core.devices import DeviceKind, available


def space_here(network: str, batch_size: int, restrictions: Overrides) -> Space:
    """Return the settings to choose from on this machine, whose GPUs are tried out only where one may be chosen.

    Raises `ConfigurationError` where the restrictions exclude all of them, or all but the tutorial's loop.
    """
    gpus = []
    if not restrictions.contexts or AUTO_CONTEXTS in restrictions.contexts:
        gpus = [str(device) for device in available() if device.kind is DeviceKind.GPU]
    contexts = tuple(",".join(canonical_contexts(text, gpu_contexts=gpus)) for text in restrictions.contexts)
    restrictions = msgspec.structs.replace(restrictions, contexts=contexts)
    space = search_space(
        network,
        batch_size,
        cores=usable_core_count(),
        gpus=gpus,
        vector_floats=vector_floats(),
        overrides=restrictions,
    )
    if {*space.scenarios} <= {space.reference}:
        raise ConfigurationError("tune: only the tutorial's loop is left to choose: leave out a restriction")
    return space


def new_tune_file(
    space: Space,
    software: Software,
    data_directory: Path,
    dataset: Dataset,
    *,
    exhaustive: bool,
    budget_seconds: float | None,
    seed: int,
) -> TuneFile:
    """Return the file before its first round: a pilot run of the tutorial's loop gives the lengths of its windows.

    `budget_seconds` None: the search ends by itself. Raises `PilotError` where the tutorial's loop does not work,
    `SetupError` where nothing can.
    """
    cores = usable_core_count()
    candidates = [
        Candidate(scenario=scenario, omp_num_threads=scenario.threads_per_context(cores))
        for scenario in dict.fromkeys((space.reference, *space.scenarios))
    ]
    return TuneFile(
        created_at=utc_now(),
        environment=capture(software=software),
        dataset=dataset,
        plan=plan(
            candidates,
            reference_may_win=space.reference in space.scenarios,
            exhaustive=exhaustive,
            budget_seconds=budget_seconds,
            start_session=session_starter(Cancellation()),
            data_directory=data_directory,
            dataset=dataset,
            seed=seed,
        ),
    )

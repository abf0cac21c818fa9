"""Today's worker needs certain names of an older `mnist_core`, since a gate runs such pairs."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import msgspec
import pytest

from bench.errors import SetupError
from bench.scenarios.scenario import Scenario
from bench.worker import process
from bench.worker.environment import worker_variables
from bench.worker.process import Cancellation, Interpreter
from bench.worker.protocol.replies import RunReply
from bench.worker.protocol.requests import RunRequest
from mnist_core import INTERFACE, OLDEST_COMMIT, datasets
from mnist_core.datasets import DatasetName
from mnist_core.recipe import Layers, Precision, Recipe
from tests import ROOT
from tests.support.idx_files import small_idx_folder
from tests.support.records import a_dataset, tuned

pytestmark = pytest.mark.system

#: Loaded by name: MXNet's backend. Not `measure.phases`, which profiles this checkout's own code alone.
_LOADED_BY_NAME = "bench.worker.backends.mxnet"


def names_of(path: Path) -> set[str]:
    """Return "module.name" for everything that a module of ours takes from `mnist_core`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    modules: set[str] = set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "mnist_core":
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mnist_core."):
            module = (node.module or "").removeprefix("mnist_core.")
            names |= {f"{module}.{alias.name}" for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            names.add(f"{node.value.id}.{node.attr}")
    return names


def test_the_interface_is_what_the_worker_imports() -> None:
    """A name that is used and not listed could be renamed, and break every gate against an older commit."""
    code = (
        "import importlib, sys, bench.worker.main\n"
        f"importlib.import_module({_LOADED_BY_NAME!r})\n"
        "print(*(module.__file__ for name, module in sys.modules.items() if name.startswith('bench.')), sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    used = set().union(*(names_of(Path(line)) for line in done.stdout.splitlines()))
    assert used == {f"{module}.{name}" for module, names in INTERFACE.items() for name in names}


def test_the_interface_is_there() -> None:
    for module, names in INTERFACE.items():
        loaded = __import__(f"mnist_core.{module}", fromlist=names)
        assert [name for name in names if not hasattr(loaded, name)] == []


@pytest.fixture(scope="module")
def oldest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the oldest `mnist_core` that a gate may name."""
    archive = subprocess.run(
        ["git", "archive", OLDEST_COMMIT, "mnist_core"], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"commit {OLDEST_COMMIT} is not in this clone")
    folder = tmp_path_factory.mktemp("oldest")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(folder)
    return folder


@pytest.mark.parametrize("scenario", [Scenario(network="mlp"), tuned("lenet")], ids=["tutorial", "tuned"])
def test_the_oldest_commit_of_a_gate_is_still_measured(oldest: Path, tmp_path: Path, scenario: Scenario) -> None:
    """Both loops train on the images that they are given, and their accuracy is counted."""
    reply = measured(oldest, tmp_path, scenario)
    assert isinstance(reply, RunReply), reply
    assert [epoch.samples for epoch in reply.run.epochs] == [300]


def measured(code: Path, tmp_path: Path, scenario: Scenario) -> object:
    """Run a scenario with the `mnist_core` in this folder; return the worker's reply."""
    folder = small_idx_folder(tmp_path / "data", train=300, test=50)
    prepared = datasets.obtain(DatasetName.AUTO, data_dir=folder, environ={})
    request = RunRequest(
        scenario=scenario,
        recipe=Recipe(epochs=1),
        repeat=0,
        data_directory=str(prepared.directory),
        dataset=a_dataset(name="custom", digest=prepared.digest, train_samples=300, test_samples=50),
        omp_num_threads=1,
    )
    return process.send_request(
        Interpreter(measured=code),
        request,
        RunReply,
        variables=worker_variables(1),
        timeout_seconds=120,
        stop=Cancellation(),
    )


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"layers": Layers.PADDED_8}, "layers=padded_8"), ({"precision": Precision.BFLOAT16}, "precision=bfloat16")],
)
def test_a_value_that_an_older_commit_lacks_is_refused(
    oldest: Path, tmp_path: Path, changed: dict[str, object], named: str
) -> None:
    """It would pass over what it does not know, and be measured as what it is not."""
    scenario = msgspec.structs.replace(Scenario(network="lenet"), **changed)
    with pytest.raises(SetupError, match=f"^the measured commit has no {named}: choose scenarios that it has"):
        measured(oldest, tmp_path, scenario)

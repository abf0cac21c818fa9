"""Who may import whom (what each module is for stands in docs/architecture.md)."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

from tests import ROOT

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("bench", "mnist_core")
    for path in sorted((ROOT / folder).rglob("*.py"))
}


@functools.cache  # every rule asks for all of them
def imports(path: Path) -> tuple[str, ...]:
    """Full names of all a module imports: "a.b" for `import a.b`, "a.b.c" for `from a.b import c`."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names += (f"{node.module}.{alias.name}" for alias in node.names)
    return tuple(names)


def importers(package: str) -> set[str]:
    return {
        name
        for name, path in MODULES.items()
        if any(imported == package or imported.startswith(f"{package}.") for imported in imports(path))
    }


def test_the_core_never_imports_the_bench() -> None:
    """mnist_core can be measured by another harness."""
    assert not {name for name in importers("bench") if name.startswith("mnist_core")}


def test_mxnet_is_met_at_one_border() -> None:
    """One module imports mxnet; in bench only the backends and the profiler get it from there, loaded by name."""
    assert importers("mxnet") == {"mnist_core.mxnet_border"}
    behind = {
        name
        for border in ("mnist_core.mxnet_border", "mnist_core.networks", "mnist_core.training")
        for name in importers(border)
    }
    assert {name for name in behind if name.startswith("bench")} == {
        "bench.worker.backends.mxnet",
        "bench.worker.backends.mxnet_loop",
        "bench.worker.measure.phases",
        "bench.worker.measure.instrument",
    }
    assert importers("bench.worker.measure.phases") == set()
    assert importers("bench.worker.measure.run") == {"bench.worker.main"}
    assert importers("bench.worker.main") == set()


def test_each_peer_is_met_in_its_own_modules() -> None:
    """Loaded by name, where its framework is installed; nothing else needs them."""
    assert importers("jax") == {"bench.worker.backends.jax"}
    assert importers("torch") == {"bench.worker.backends.pytorch", "bench.worker.backends.pytorch_steps"}
    assert importers("bench.worker.backends.pytorch_steps") == {"bench.worker.backends.pytorch"}
    for framework in ("torch", "jax"):
        assert importers(f"bench.worker.backends.common.{framework}_workload") == set()


@pytest.mark.parametrize(
    ("package", "allowed"),
    [
        ("rich", ("bench.render", "bench.cli")),
        ("typer", ("bench.cli",)),
        (
            "time",
            (
                "bench.worker.measure.run",
                "bench.worker.measure.ceilings",
                "bench.worker.measure.phases",
                "bench.experiments.gate.blocks",
                "bench.experiments.tune.rounds",
            ),
        ),
        ("psutil", ("bench.machine.capture", "bench.worker.measure.run")),
        (
            "subprocess",
            ("bench.worker.process", "bench.machine.capture", "bench.experiments.gate.source", "mnist_core.devices"),
        ),
        ("pytest_benchmark", ()),
        ("pytest", ()),
    ],
)
def test_effects_sit_at_the_edges(package: str, allowed: tuple[str, ...]) -> None:
    """Printing, clocks and processes have their rooms."""
    strangers = {name for name in importers(package) if not name.startswith(allowed)} if allowed else importers(package)
    assert not strangers


def test_no_import_hides_inside_a_function() -> None:
    """It would hide a cycle."""
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)):
            hidden = [n for n in ast.walk(function) if isinstance(n, ast.Import | ast.ImportFrom)]
            assert not hidden, f"{name}.{function.name}"


def test_there_is_no_cycle() -> None:
    """Modules can be ordered so that each imports only earlier ones."""
    graph = {
        name: {other for other in MODULES if any(i == other or i.rpartition(".")[0] == other for i in imports(path))}
        - {name}
        for name, path in MODULES.items()
    }
    while graph:
        leaves = {name for name, needs in graph.items() if not needs & graph.keys()}
        assert leaves, f"a cycle among {sorted(graph)}"
        graph = {name: needs for name, needs in graph.items() if name not in leaves}


def test_reading_results_needs_no_framework() -> None:
    """The command line comes up without any of them in the process."""
    code = (
        "import sys; sys.modules |= dict.fromkeys(('mxnet', 'torch', 'jax')); import bench.cli; "
        "assert 'mnist_core.training' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)

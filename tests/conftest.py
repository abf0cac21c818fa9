"""These fixtures and hooks serve many tests."""

from __future__ import annotations

import importlib.util
import signal
import sys
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest

from bench import cli
from tests import PEER_PYTHONS
from tests.support.cli import Command

# A machine that has other work to do is slow; no example is wrong for that.
hypothesis.settings.register_profile("patient", parent=hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("patient")

MXNET_IS_MISSING = importlib.util.find_spec("mxnet") is None


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-golden", action="store_true", help="write tests/render/golden again; read the difference")
    parser.addoption("--fuzz", type=int, default=500, help="inputs of each kind for tests/cli/test_fuzz.py")
    parser.addoption("--fuzz-seed", type=int, default=14, help="another seed makes other inputs")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Skip a module of the marker `system` which cannot even be imported because MXNet is not installed."""
    report = yield
    excused = MXNET_IS_MISSING and isinstance(collector, pytest.Module)
    if report.failed and excused and "pytest.mark.system" in collector.path.read_text(encoding="utf-8"):
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, "Skipped: MXNet is not installed")
    return report


@pytest.fixture(autouse=True)
def _no_python_of_a_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide the interpreters which the caller has named for tests/system/test_peers.py."""
    for name in PEER_PYTHONS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """Run `mnist-bench ARGS` in this process, in an empty folder; return its exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MNIST_BENCH_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object) -> int:
        monkeypatch.setattr(sys, "argv", ["mnist-bench", *map(str, arguments)])
        try:
            with pytest.raises(SystemExit) as caught:
                cli.main()
        finally:
            signal.signal(signal.SIGTERM, handler)
        return int(caught.value.code or 0)

    return run

"""Everything a developer or a CI job runs: `nox -s quick` while working, then `lint`, `typecheck` and `tests`."""

# /// script
# dependencies = ["nox[uv]>=2025.2.9"]
# ///
# nox reads the block above and runs itself with uv at hand: uv makes environments quickly, and brings a fitting Python
# where the machine's own is newer than MXNet's wheels allow.

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import nox

if sys.version_info < (3, 10):  # noqa: UP036  # the package needs it, but nox may run on anything
    sys.exit(f"this needs Python 3.10 or newer, and nox runs on {sys.version.split()[0]}: run nox with a newer one")
sys.path.insert(0, str(Path(__file__).parent))  # for what of this clone needs nothing but Python
from bench.machine.gpus.builds import ask_driver, choose

#: MXNet 1.9.1 needs numpy < 2, which stops at Python 3.12. Best tried first.
PYTHONS = ("3.11", "3.12", "3.10")

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "typecheck", "tests"]
nox.options.error_on_missing_interpreters = True


# Containers often have it. Each of the many processes that tests start would compile the whole package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# uv has certificates of its own, which do not include that of a company's proxy. pip asks the system, and so shall uv.
os.environ.setdefault("UV_SYSTEM_CERTS", "1")


def fitting_python() -> str:
    """This interpreter's version where MXNet runs on it, else one that uv finds or downloads; else exits."""
    own = f"{sys.version_info.major}.{sys.version_info.minor}"
    if own in PYTHONS:
        return own
    uv = shutil.which("uv")
    if uv is not None:
        for version in PYTHONS:
            if _succeeds(uv, "python", "find", "--no-python-downloads", version):
                return version
        if _succeeds(uv, "python", "install", PYTHONS[0]):
            return PYTHONS[0]
    sys.exit(
        f"MXNet 1.9.1 does not run on Python {own}, and no Python {' or '.join(sorted(PYTHONS))} was found or could be "
        "downloaded: install one of them and run nox with it"
    )


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


PYTHON = fitting_python()


def install(session: nox.Session, *groups: str) -> None:
    """The package with MXNet's CPU build, and the named dependency groups."""
    requirements = [requirement for group in groups for requirement in nox.project.dependency_groups(PYPROJECT, group)]
    session.install("-e", ".[cpu]", *requirements)


PYPROJECT = nox.project.load_toml("pyproject.toml")

#: The builds of the frameworks that this machine's NVIDIA driver can run.
BUILDS = choose(ask_driver())

#: The frameworks beside MXNet, and the Python that each is installed for, once it is.
PEERS = {"torch": "", "jax": ""}
#: The one that runs nox; JAX needs 3.11. Installed with pip, whose own configuration may name the build of a framework
#: for this machine: uv reads none of it.
PEER_PYTHON = None if sys.version_info >= (3, 11) else PYTHONS[0]


@nox.session(python=PYTHON, reuse_venv=True, default=False)
def quick(session: nox.Session) -> None:
    """Every test that is quick and starts no real worker, on all cores and without MXNet: about a minute."""
    session.install("-e", ".", *nox.project.dependency_groups(PYPROJECT, "test"))
    session.run("pytest", "-n", "auto", "--dist", "worksteal", "-m", "not system and not slow", *session.posargs)


@nox.session(python=PYTHON)
def tests(session: nox.Session) -> None:
    """The whole test suite on all cores; with branch coverage, as CI wants it: `nox -s tests -- --cov`."""
    install(session, "test")
    # Tests wait for processes of theirs: with two workers on two cores a core was idle for half of the time.
    workers = math.ceil(1.5 * (os.cpu_count() or 1))
    session.run("pytest", "-n", str(workers), "--dist", "worksteal", *session.posargs)


@nox.session(python=PYTHON, default=False)
def conditions(session: nox.Session) -> None:
    """Run the quick tests as callers of all kinds start them: `nox -s conditions -- [--all] [NAME ...]`."""
    install(session, "test")
    session.run("python", "-m", "tests.system.conditions", *session.posargs)


@nox.session(python=PYTHON)
def lint(session: nox.Session) -> None:
    """ruff, rules and format, and who may import whom."""
    session.install(*nox.project.dependency_groups(PYPROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports", env={"PYTHONPATH": "."})  # it reads the source, and needs nothing that this imports


@nox.session(python=PYTHON)
def typecheck(session: nox.Session) -> None:
    """mypy, strict, over everything."""
    install(session, "test", "typecheck")
    session.install("nox")
    session.run("mypy")
    session.run("mypy", "noxfile.py")


def measure(session: nox.Session, *arguments: str) -> None:
    """Run `mnist-bench ARGS`, which ends by itself after Ctrl-C: it saves, and says how to go on.

    By itself nox kills a command half a second after it.
    """
    session.run("mnist-bench", *arguments, interrupt_timeout=None, terminate_timeout=None)


def measure_with(session: nox.Session, peers: Sequence[str], *arguments: str) -> None:
    """Run `mnist-bench ARGS` with the builds of MXNet and of these peers that suit this machine, and say which."""
    session.log(BUILDS.describe(["mxnet", *peers]))
    session.install("-e", f".[{BUILDS.builds['mxnet'].extra}]")
    pythons = [word for name in peers for word in ("--python", f"{name}={PEERS[name]}")]
    measure(session, *arguments, *pythons, *session.posargs)


#: Sessions that are a verb of the command, installed with MXNet and nothing in its way: no coverage, no tracing.
VERBS = {
    "compare": ("compare", "Compare stored results."),
    "regress": ("gate", "Decide whether the code became slower. nox fails with 1 whatever the gate's own status."),
    "calibrate": ("calibrate", "Record what this machine does to identical code, for later gates."),
}


def make_session(name: str, verb: str, summary: str) -> None:
    """Define the session `name`: `nox -s NAME -- ARGS` is `mnist-bench VERB ARGS`."""

    def run(session: nox.Session) -> None:
        install(session)
        measure(session, verb, *session.posargs)

    run.__doc__ = f"{summary} `nox -s {name} -- ARGS` is `mnist-bench {verb} ARGS`."
    nox.session(name=name, python=PYTHON, default=False)(run)


for _name, (_verb, _summary) in VERBS.items():
    make_session(_name, _verb, _summary)


@nox.session(python=PYTHON, default=False, requires=[f"peer({name})" for name in BUILDS.peers_on_gpu])
def bench(session: nox.Session) -> None:
    """Measure, on a GPU too where one can be used. `nox -s bench -- ARGS` is `mnist-bench run ARGS`."""
    measure_with(session, BUILDS.peers_on_gpu, "run")


@nox.session(python=PYTHON, default=False)
def tune(session: nox.Session) -> None:
    """Find this machine's fastest settings of the loop. `nox -s tune -- ARGS` is `mnist-bench tune ARGS`."""
    measure_with(session, (), "tune")


@nox.session(python=PYTHON, default=False)
def rivals(session: nox.Session) -> None:
    """Play a calibration's blocks to our gate and to the rules in use today."""
    install(session, "test")
    session.run("python", "-m", "tests.benchmarks.rivals", *session.posargs)


@nox.session(python=PYTHON, default=False)
def micro(session: nox.Session) -> None:
    """Time each part of a step under pytest-benchmark: `nox -s micro -- -k "step and mlp" --benchmark-json FILE`."""
    install(session, "test")
    session.run(
        *("pytest", "tests/benchmarks", "-o", "python_files=micro_*.py", "-p", "no:randomly", "--benchmark-only"),
        *session.posargs,
        env={"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")},
    )


@nox.session(python=PEER_PYTHON, venv_backend="virtualenv", reuse_venv=True, default=False)
@nox.parametrize("framework", [nox.param(name, id=name) for name in PEERS])
def peer(session: nox.Session, framework: str) -> None:
    """The environment of one framework beside MXNet; kept for later runs."""
    build = BUILDS.builds[framework]
    session.install("-e", f".[{build.extra}]", *build.pip_options)
    PEERS[framework] = f"{session.bin}/python"


@nox.session(python=PYTHON, default=False, requires=[f"peer({name})" for name in PEERS])
def peer_tests(session: nox.Session) -> None:
    """The tests of PyTorch and JAX, each in its own environment, which `tests` skips."""
    install(session, "test")
    pythons = {f"MNIST_BENCH_PYTHON_{name.upper()}": path for name, path in PEERS.items()}
    ranks = "tests/system/test_ranks.py::test_ranks_of_a_peer_train_what_one_process_trains"
    files = [
        "tests/system/test_peers.py",
        "tests/system/test_peer_precision.py",
        f"{ranks}[of_torch-3]",
        f"{ranks}[of_jax-3]",
    ]
    session.run("pytest", "-n", "auto", "--dist", "worksteal", *files, *session.posargs, env=pythons)


@nox.session(python=PYTHON, default=False, requires=[f"peer({name})" for name in PEERS])
def peers(session: nox.Session) -> None:
    """MXNet beside PyTorch and JAX, each from its own environment: `nox -s peers -- ARGS`, as of `mnist-bench run`."""
    measure_with(session, list(PEERS), "run", "--suite", "peers")


@nox.session(python=PYTHON, default=False)
def tables(session: nox.Session) -> None:
    """Make every table in the documents again from its committed result file."""
    install(session, "test")  # one of them is of a script that uses pytest-benchmark's own comparison
    session.run("python", "-m", "tests.docs.documents")


@nox.session(python=PYTHON, default=False)
def overhead(session: nox.Session) -> None:
    """Measure what mnist_core's loop costs over the tutorial's own, interleaved."""
    install(session)
    session.run("python", "-m", "tests.benchmarks.harness_overhead", *session.posargs)


@nox.session(python=PYTHON, default=False)
def browser(session: nox.Session) -> None:
    """The report in a real Chromium: `apt-get install chromium` or the like beforehand."""
    install(session, "test", "browser")
    session.run("pytest", "tests/system/test_browser.py", "-rs", *session.posargs)


@nox.session(python=PYTHON, default=False)
def screenshots(session: nox.Session) -> None:
    """Draw the README's pictures of a report again."""
    install(session, "browser")
    session.run("python", "-m", "tests.docs.screenshots")


@nox.session(python=PYTHON, default=False)
def docs(session: nox.Session) -> None:
    """Run every command that the documents show: `nox -s docs -- WORD` only those with that word."""
    install(session, "test")
    session.run("python", "-m", "tests.docs.commands", *session.posargs)


@nox.session(python=PEER_PYTHON, default=False)
def site(session: nox.Session) -> None:
    """Build the documentation site into build/site; a link that leads nowhere or a page that is not linked fails."""
    session.install("-e", ".", *nox.project.dependency_groups(PYPROJECT, "docs", "test"))
    session.run("pytest", "tests/docs/test_site.py")
    session.run("python", "-m", "tests.docs.site", "build")
    session.run("zensical", "build", "--strict", "--clean", "--config-file", "build/mkdocs.yml")


@nox.session(python=PYTHON, default=False)
def notebook(session: nox.Session) -> None:
    """Run docs/tutorial.ipynb and keep what it shows."""
    install(session, "test")
    session.run("python", "-m", "tests.docs.notebook")

"""The code of the two sides comes from where it was asked for, and is removed afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.errors import ConfigurationError
from bench.experiments.gate import source
from bench.experiments.gate.slowdown import inject
from bench.experiments.gate.source import SourceTree
from bench.experiments.scratch import scratch_folder
from bench.machine.software import tree_digest
from bench.records.gate import GateMetric
from bench.stats.paired import Side
from tests import ROOT


def git(folder: Path, *arguments: str) -> str:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        **{f"GIT_{who}_{what}": "x@example.org" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
    }
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Make a repository with one commit of a package, tagged `old`, and a change that is not committed."""
    folder = tmp_path / "repository"
    package = folder / "mnist_core"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "training.py").write_text("SPEED = 1\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    git(folder, "tag", "old")
    (package / "training.py").write_text("SPEED = 2\n")
    return folder


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    folder = tmp_path / "scratch"
    folder.mkdir()
    return folder


def speed(tree: SourceTree) -> str:
    return (tree.folder / "mnist_core" / "training.py").read_text()


def test_a_reference_is_what_was_committed_and_the_working_tree_what_is_there(repository: Path, scratch: Path) -> None:
    """Both have paths of the same length, and the repository is left as it was."""
    before = git(repository, "status", "--porcelain"), git(repository, "worktree", "list")
    baseline = source.check_out("old", Side.BASELINE, scratch, source=repository)
    contender = source.check_out(source.WORKING_TREE, Side.CONTENDER, scratch, source=repository)
    assert (speed(baseline), speed(contender)) == ("SPEED = 1\n", "SPEED = 2\n")
    assert (baseline.git_commit, contender.git_commit) == (git(repository, "rev-parse", "old"), None)
    assert len(str(baseline.folder)) == len(str(contender.folder))
    assert (git(repository, "status", "--porcelain"), git(repository, "worktree", "list")) == before


def test_a_later_edit_reaches_neither_side(repository: Path, scratch: Path) -> None:
    """What is measured is what was there when the gate began."""
    contender = source.check_out(source.WORKING_TREE, Side.CONTENDER, scratch, source=repository)
    (repository / "mnist_core" / "training.py").write_text("SPEED = 3\n")
    assert speed(contender) == "SPEED = 2\n"


def test_the_digest_is_of_names_and_contents(repository: Path, scratch: Path) -> None:
    """Equal code has an equal digest wherever it comes from, and compiled files do not count."""
    folder = source.check_out(str(repository), Side.BASELINE, scratch, source=repository)
    tree = source.check_out(source.WORKING_TREE, Side.CONTENDER, scratch, source=repository)
    assert folder.tree_digest == tree.tree_digest
    cache = tree.folder / "mnist_core" / "__pycache__"
    cache.mkdir()
    (cache / "training.pyc").write_bytes(b"compiled")
    assert tree_digest(tree.folder, "mnist_core") == folder.tree_digest
    (tree.folder / "mnist_core" / "training.py").rename(tree.folder / "mnist_core" / "trainings.py")
    assert tree_digest(tree.folder, "mnist_core") != folder.tree_digest


@pytest.mark.parametrize("reference", ["no-such-branch", "-x", "--output=x", "", "old:mnist_core"])
def test_what_is_neither_folder_nor_reference_is_one_line(repository: Path, scratch: Path, reference: str) -> None:
    """A name that looks like an option never reaches git."""
    with pytest.raises(ConfigurationError, match="--base") as caught:
        source.check_out(reference, Side.BASELINE, scratch, source=repository)
    assert "\n" not in str(caught.value)


def test_a_folder_or_commit_without_the_package_is_one_line(repository: Path, scratch: Path, tmp_path: Path) -> None:
    """The line says what is missing there."""
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ConfigurationError, match="no package mnist_core in this folder"):
        source.check_out(str(empty), Side.BASELINE, scratch, source=repository)
    git(repository, "rm", "-rqf", "mnist_core")
    git(repository, "commit", "-qm", "second")
    with pytest.raises(ConfigurationError, match="no package mnist_core in this commit"):
        source.check_out("HEAD", Side.CONTENDER, scratch, source=repository)


def test_a_scratch_folder_is_gone_after_its_block() -> None:
    """All that was put there is gone, too."""
    with scratch_folder() as folder:
        (folder / "a").mkdir()
        (folder / "a" / "file").write_text("x")
    assert not folder.exists()


def test_a_scratch_folder_is_gone_after_its_process_was_killed() -> None:
    """SIGKILL leaves the process no chance to clean up, so the cleaner does it."""
    code = (
        "from bench.experiments.scratch import scratch_folder\nimport time\n"
        "with scratch_folder() as f: print(f, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert folder.is_dir()
        process.send_signal(signal.SIGKILL)
        process.wait()
    deadline = time.monotonic() + 30
    while folder.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not folder.exists()


@pytest.mark.system
def test_the_injected_slowdown_is_spun_into_each_step(scratch: Path) -> None:
    """The package's own code is there, followed by a step that takes longer by the ratio."""
    side = source.check_out(str(ROOT), Side.CONTENDER, scratch)
    inject(side.folder, 0.5)
    changed = source.redescribe(side, "slower")
    assert changed.tree_digest != side.tree_digest
    code = f"""
import sys, types
sys.path[0] = {str(side.folder)!r}
from mnist_core import training
plain, calls = training._plain_train_batch, []
import time
def step(*arguments):
    time.sleep(0.02)
    return "losses"
training._plain_train_batch = step
seconds = []
for _ in range(5):
    begin = time.perf_counter()
    assert training.train_batch(1, 2, 3) == "losses"
    seconds.append(time.perf_counter() - begin)
assert min(seconds) >= 0.03, seconds
"""
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.system
def test_the_injected_slowdown_is_spun_into_each_prediction(scratch: Path) -> None:
    """A prediction takes longer by the ratio, and finds the same digit."""
    side = source.check_out(str(ROOT), Side.CONTENDER, scratch)
    inject(side.folder, 0.5, GateMetric.LATENCY)
    code = f"""
import sys, time
sys.path[0] = {str(side.folder)!r}
import numpy
from mnist_core import prediction
from mnist_core.mxnet_border import mx
def net(images):
    time.sleep(0.02)
    return images.reshape((1, -1))
image = numpy.zeros((1, 1, 28, 28), numpy.float32)
image[0, 0, 0, 7] = 1
predict = prediction.gluon_predictor(net, mx.cpu())
seconds = []
for _ in range(5):
    begin = time.perf_counter()
    assert predict(image) == [7]
    seconds.append(time.perf_counter() - begin)
assert min(seconds) >= 0.03, seconds
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_working_tree_is_that_of_the_clone_one_stands_in(repository: Path, tmp_path: Path) -> None:
    """An installed program measures the clone it is started in, not itself; outside of any it says so."""
    (repository / "pyproject.toml").touch()
    (repository / "deep" / "down").mkdir(parents=True)
    assert source.clone_of(repository / "deep" / "down") == repository
    assert source.clone_of(tmp_path / "elsewhere") == ROOT


def test_outside_of_a_clone_there_is_no_working_tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source, "SOURCE_ROOT", tmp_path / "site-packages")
    with pytest.raises(ConfigurationError, match="start it inside of one"):
        source.clone_of(tmp_path)


@pytest.mark.parametrize(
    "name", [".#training.py", ".training.py.swp", "training.py~", "#training.py#", "training.py.orig"]
)
def test_what_an_editor_leaves_is_no_change(repository: Path, scratch: Path, name: str) -> None:
    """Emacs' lock is a link that leads nowhere, and a swap file is no module: neither can be measured."""
    git(repository, "checkout", "-q", "--", ".")
    left = repository / "mnist_core" / name
    left.symlink_to("user@host.1234:1700000000") if name.startswith(".#") else left.write_text("b0VIM")
    working = source.check_out(source.WORKING_TREE, Side.CONTENDER, scratch, source=repository)
    committed = source.check_out("old", Side.BASELINE, scratch, source=repository)
    assert working.tree_digest == committed.tree_digest
    assert not (working.folder / "mnist_core" / name).exists()


def test_a_new_module_is_a_change(repository: Path, scratch: Path) -> None:
    """It is one also before git knows it, and in a folder of its own."""
    git(repository, "checkout", "-q", "--", ".")
    (repository / "mnist_core" / "data").mkdir()
    (repository / "mnist_core" / "data" / "new.py").write_text("")
    working = source.check_out(source.WORKING_TREE, Side.CONTENDER, scratch, source=repository)
    committed = source.check_out("old", Side.BASELINE, scratch, source=repository)
    assert working.tree_digest != committed.tree_digest


def test_gits_own_words_reach_the_user(
    repository: Path, scratch: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clone without blobs and without its origin says so itself, and so does a repository of somebody else's."""
    git(repository, "config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "--no-checkout", "--filter=blob:none", f"file://{repository}", str(clone))
    git(clone, "remote", "set-url", "origin", f"file://{tmp_path}/gone")
    with pytest.raises(ConfigurationError, match=r"--base HEAD: git says: .*gone") as caught:
        source.check_out("HEAD", Side.BASELINE, scratch, source=clone)
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # git's own way to test safe.directory
    with pytest.raises(ConfigurationError, match=r"--base old: git says: .*dubious ownership.*safe\.directory"):
        source.check_out("old", Side.CONTENDER, scratch, source=repository)


def test_a_base_that_has_moved_on_is_told(repository: Path, scratch: Path) -> None:
    """Only commits to the package count, and only those that the working tree's history lacks."""
    git(repository, "checkout", "-q", "--", ".")
    (repository / "README").write_text("")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "words")
    git(repository, "checkout", "-qb", "mine", "old")
    main = git(repository, "rev-parse", "--abbrev-ref", "@{-1}")
    base = source.check_out(main, Side.BASELINE, scratch, source=repository)
    assert source.commits_ahead(base, repository) is None
    git(repository, "checkout", "-q", main)
    (repository / "mnist_core" / "training.py").write_text("SPEED = 3\n")
    git(repository, "commit", "-qam", "faster")
    git(repository, "checkout", "-q", "mine")
    base = source.check_out(main, Side.CONTENDER, scratch, source=repository)
    assert source.commits_ahead(base, repository) == (1, git(repository, "rev-parse", "old"))


def test_a_stray_module_in_the_current_folder_disturbs_no_cleaner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "random.py").write_text("raise SystemExit('a stray module was imported')")
    monkeypatch.chdir(tmp_path)
    with scratch_folder() as folder:
        assert folder.is_dir()
    assert not folder.exists()

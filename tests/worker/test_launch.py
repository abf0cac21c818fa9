"""How a worker gets to another host: its command, what a shell makes of it, and how it ends there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.errors import SetupError
from bench.records.result import FailureReason
from bench.scenarios.axes import Framework
from bench.scenarios.hosts import Host
from bench.worker import launch, process
from bench.worker.environment import SILENCE_VARIABLE, WITHHELD, worker_variables
from bench.worker.exits import describe_end, explain_unreached, is_fault_of_code
from bench.worker.interpreters import Interpreters, interpreter_on
from bench.worker.launch import Launch, launch_of
from bench.worker.process import Cancellation, Interpreter, WorkerFailure, WorkerProcess
from bench.worker.protocol.hosts import Echo, Echoed, HostFacts
from tests.support.hosts import put_fake_ssh
from tests.support.preflight import REQUEST

SSH = Launch("node1", ("ssh", "node1"), through_shell=True)
PREFIX = Launch("c1", ("docker", "exec", "-i", "c1"))
#: Prints what it was started with.
SHOW = "import json, os, sys; json.dump([sys.argv[1:], dict(os.environ)], sys.stdout)"
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30)


def test_a_prefix_gets_the_words_of_the_command_as_they_are() -> None:
    command = PREFIX.command("/opt/my python", {"OMP_NUM_THREADS": "2"})
    assert command[:4] == ["docker", "exec", "-i", "c1"]
    assert command[4] == "env"
    assert all(command[index + 1] in WITHHELD for index, word in enumerate(command) if word == "-u")
    assert "OMP_NUM_THREADS=2" in command
    assert command[-3:-1] == ["/opt/my python", "-c"]


def test_ssh_asks_nothing_and_leaves_the_rule_for_host_keys_to_the_user() -> None:
    found = launch_of(Host(address="node1", ssh="ana@gateway"))
    assert found is not None
    assert found.prefix[0] == "ssh"
    assert found.prefix[-1] == "ana@gateway"
    assert "BatchMode=yes" in found.prefix
    assert not any("HostKey" in word or "KnownHosts" in word for word in found.prefix)


@pytest.mark.parametrize("shell", ["sh", "bash", "dash", "zsh", "fish", "csh", "tcsh", "ksh"])
def test_every_login_shell_passes_the_command_on(shell: str) -> None:
    path = shutil.which(shell)
    if path is None:
        pytest.skip(f"{shell} is not installed")
    line = SSH.command(sys.executable, {"A": "b c"})[-1]
    program = line.rindex("'", 0, len(line) - 1)
    shown = subprocess.run(
        [path, "-c", line[:program] + f"'{SHOW}' x"], check=True, capture_output=True, env={**os.environ, "A": "other"}
    )
    arguments, environment = json.loads(shown.stdout)
    assert arguments == ["x"]
    assert environment["A"] == "b c"


def test_the_program_holds_nothing_that_some_shell_reads_in_quotes() -> None:
    assert not {*"'\\!\n"} & {*PREFIX.command("p", {})[-1]}


@given(TEXTS.filter(lambda text: text and not text.startswith("~")), TEXTS)
def test_a_shell_reads_the_same_words_again(python: str, value: str) -> None:
    through_shell, direct = (each.command(python, {"A": value}) for each in (SSH, PREFIX))
    shown = subprocess.run(
        ["/bin/sh", "-c", through_shell[-1].replace("exec env", "exec printf '%s\\0'", 1).encode()],
        check=True,
        capture_output=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert shown.stdout.split(b"\0")[:-1] == [word.encode() for word in direct[5:]]


def test_only_a_home_directory_is_left_to_the_shell() -> None:
    words = SSH.command("~/my bench/python", {})[-1]
    assert " ~/'my bench/python' -c " in words


def test_hosts_of_this_machine_need_no_launch() -> None:
    own = socket.gethostname()
    assert [launch_of(Host(address=address)) for address in ("localhost", "127.0.0.1", "::1", own)] == [None] * 4
    assert launch_of(Host(address="node1", launch=())) is None


def test_an_ssh_that_is_named_is_used_even_for_this_machine() -> None:
    assert launch_of(Host(address="127.0.0.1", ssh="localhost")) is not None


def test_each_framework_has_its_python_on_each_host() -> None:
    here = Interpreters({Framework.TORCH: "/here/torch"})
    far = Host(address="node1", framework_python={Framework.JAX: "/far/jax"})
    local = Host(address="node0", launch=(), python="/own/python")
    pythons = [[interpreter_on(host, each, here).python for each in Framework] for host in (far, local)]
    assert pythons == [["python3", "python3", "/far/jax"], ["/own/python", "/here/torch", "/own/python"]]


# --- real workers -----------------------------------------------------------------------------------------------------


def far_interpreter(python: str = sys.executable) -> Interpreter:
    return interpreter_on(Host(address="node1", ssh="node1", python=python), Framework.MXNET, Interpreters())


def answer_of(interpreter: Interpreter, seconds: float = 60.0) -> HostFacts | WorkerFailure:
    with process.start(interpreter, worker_variables(1), seconds, Cancellation()) as worker:
        worker.send(REQUEST)
        return worker.receive(HostFacts)


@pytest.mark.system
@pytest.mark.parametrize(
    "before",
    [
        'echo Welcome; echo \'{"type": "failed"}\'',
        "printf 'no line break'",
        "printf 'mnist-bench'; printf '\\377\\376\\n'",
    ],
)
def test_what_a_shell_prints_at_its_start_is_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str
) -> None:
    put_fake_ssh(tmp_path / "bin", monkeypatch, before=before)
    assert isinstance(answer_of(far_interpreter()), HostFacts)


@pytest.mark.system
def test_a_far_worker_has_the_variables_of_its_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those withheld are not there, whatever the far shell sets."""
    put_fake_ssh(tmp_path / "bin", monkeypatch, before="export OMP_THREAD_LIMIT=1 OMP_NUM_THREADS=7")
    with process.start(far_interpreter(), worker_variables(3), 60.0, Cancellation()) as worker:
        worker.send(REQUEST)
        assert isinstance(worker.receive(HostFacts), HostFacts)
        environment = worker_of(worker).environ()
        assert environment["OMP_NUM_THREADS"] == "3"
        assert "OMP_THREAD_LIMIT" not in environment


def worker_of(worker: WorkerProcess) -> psutil.Process:
    """Return the far process; the fake ssh became it by `exec`."""
    return psutil.Process(worker.process.pid)


@pytest.mark.system
@pytest.mark.parametrize(
    ("before", "python", "words"),
    [
        ("", "/nowhere/python", "there is no /nowhere/python: write python ="),
        ("unset PYTHONPATH", "SANDBOX", "its Python has no mnist-bench"),
        ("echo This account is not available.; exit 1", sys.executable, "This account is not available."),
        (
            "echo 'Host key verification failed.' >&2; exit 255",
            sys.executable,
            "its host key is unknown: run ssh node1",
        ),
    ],
)
def test_a_worker_that_does_not_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, python: str, words: str
) -> None:
    put_fake_ssh(tmp_path / "bin", monkeypatch, before=before)
    if python == "SANDBOX":  # a Python without anything installed
        python = str(tmp_path / "python")
        Path(python).write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n', encoding="utf-8")
        Path(python).chmod(0o755)
    interpreter = far_interpreter(python)
    failure = answer_of(interpreter)
    assert isinstance(failure, WorkerFailure)
    line = explain_unreached(interpreter.launch, python, failure.reason, failure.detail, failure.log)
    assert words in line
    assert len(line.splitlines()) == 1


@pytest.mark.system
def test_a_far_framework_is_described_or_the_host_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_fake_ssh(tmp_path / "bin", monkeypatch, before="echo hello")
    assert process.describe(far_interpreter(), Cancellation()).framework == "mxnet"
    with pytest.raises(SetupError, match="node1: there is no /nowhere/python: write python ="):
        process.describe(far_interpreter("/nowhere/python"), Cancellation())


@pytest.mark.system
def test_a_host_that_hangs_ends_at_its_time_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_fake_ssh(tmp_path / "bin", monkeypatch, before="exec sleep 600")
    failure = answer_of(far_interpreter(), seconds=1.0)
    assert isinstance(failure, WorkerFailure)
    assert failure.reason is FailureReason.TIMEOUT


@pytest.mark.system
def test_a_far_worker_ends_with_its_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The far process is not in our process group: only the end of its stdin reaches it."""
    put_fake_ssh(tmp_path / "bin", monkeypatch, before=f'echo $$ > "{tmp_path}/ssh"')
    far = tmp_path / "bin" / "ssh"
    # The worker in a session of its own, and between us and it a process that dies with our kill, as ssh does.
    far.write_text(far.read_text().replace("exec /bin/sh", "setsid /bin/sh"), encoding="utf-8")
    with process.start(far_interpreter(), worker_variables(1), 60.0, Cancellation()) as worker:
        worker.send(REQUEST)
        assert isinstance(worker.receive(HostFacts), HostFacts)
        (child,) = psutil.Process(worker.process.pid).children(recursive=True)[-1:]
        assert os.getpgid(child.pid) != os.getpgid(worker.process.pid)
        os.killpg(worker.process.pid, signal.SIGKILL)
        assert worker.process.stdin is not None
        worker.process.stdin.close()
        child.wait(60.0)


@pytest.mark.system
def test_a_worker_that_hears_nothing_ends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the network between is cut: the pipe stays open, and nobody is at its other end."""
    put_fake_ssh(tmp_path / "bin", monkeypatch)
    monkeypatch.setattr(launch, "SILENCE_SECONDS", 1.0)
    with process.start(far_interpreter(), worker_variables(1), 60.0, Cancellation()) as worker:
        assert worker.process.wait(50.0) == 1


@pytest.mark.system
def test_a_pulse_keeps_a_quiet_worker_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_fake_ssh(tmp_path / "bin", monkeypatch)
    monkeypatch.setattr(launch, "SILENCE_SECONDS", 5.0)
    monkeypatch.setattr(launch, "PULSE_SECONDS", 0.2)
    with process.start(far_interpreter(), worker_variables(1), 60.0, Cancellation()) as worker:
        worker.send(REQUEST)
        assert isinstance(worker.receive(HostFacts), HostFacts)
        time.sleep(8.0)
        worker.send(Echo())
        assert isinstance(worker.receive(Echoed), Echoed)


def test_a_worker_of_this_machine_waits_for_ever() -> None:
    """Its parent's end closes the pipe: no silence means anything."""
    assert SILENCE_VARIABLE not in worker_variables(1)


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("ana@node1: Permission denied (publickey,password).", "it wants a password"),
        ("Host key verification failed.", "its host key is unknown: run ssh node1 once by hand"),
        (
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            "its host key is not the known one: ask why",
        ),
        ("ssh: Could not resolve hostname node1: Name or service not known", "node1 is no name that is known here"),
        ("ssh: connect to host node1 port 22: Connection refused", "nothing listens at its ssh port"),
        ("ssh: connect to host node1 port 22: Connection timed out", "it does not answer: is it on"),
        ("env: 'python9': No such file or directory", "there is no PYTHON"),
        ("env: can't execute 'python9': No such file or directory", "there is no PYTHON"),
        ("env: '/root/p': Permission denied", "PYTHON cannot be executed"),
        ("Traceback\nModuleNotFoundError: No module named 'bench'", "its Python has no mnist-bench"),
        ("Traceback\nModuleNotFoundError: No module named 'msgspec'", "its mnist-bench is incomplete"),
        ("something else", "ended with status 9: something else"),
    ],
)
def test_what_the_error_output_says_comes_with_what_helps(log: str, words: str) -> None:
    line = explain_unreached(SSH, "PYTHON", FailureReason.CRASHED, "ended with status 9", log)
    assert words in line
    assert len(line.splitlines()) == 1


DOCKER = Launch("c1", ("docker", "exec", "-i", "c1"))


@pytest.mark.parametrize(
    ("status", "way", "told", "is_code"),
    [
        (-9, None, "the worker was killed by SIGKILL", False),
        (-11, None, "the worker was killed by SIGSEGV", True),
        (3, None, "the worker ended with status 3 and no result", False),
        (137, DOCKER, "the worker was killed by SIGKILL: last words", False),
        (134, DOCKER, "the worker was killed by SIGABRT: last words", True),
        (255, DOCKER, "the worker ended with status 255 and no result: last words", False),
        (255, SSH, "the connection to it ended: last words", False),
        (1, SSH, "the worker ended with status 1 and no result: last words", False),
        (None, SSH, "the worker gave no result", False),
    ],
)
def test_the_end_of_a_far_worker_is_that_of_its_command(
    *, status: int | None, way: Launch | None, told: str, is_code: bool
) -> None:
    """Its last words stand beside it; and what faulty code ends with is no fault of a machine."""
    assert describe_end(status, way, "first words\nlast words") == told
    assert is_fault_of_code(status) is is_code

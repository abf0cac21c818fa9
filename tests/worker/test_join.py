"""Ranks of a job: how they find each other and whom they do not let in, and the far workers behind a relay."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Pipe
from pathlib import Path

import msgspec
import psutil
import pytest

from bench.cli.exit_status import Exit
from bench.errors import ConfigurationError, SetupError
from bench.experiments.scratch import scratch_folder
from bench.scenarios.axes import Framework
from bench.scenarios.hosts import Host
from bench.scenarios.job_managers import JobPlace
from bench.worker import process
from bench.worker.environment import worker_variables
from bench.worker.exits import explain_unreached
from bench.worker.interpreters import Interpreters, interpreter_on
from bench.worker.join import agent, hub, key, wire
from bench.worker.join.hub import Job, hosts_of, lead
from bench.worker.join.relay import Kind
from bench.worker.join.wire import Hello, Leave, Start
from bench.worker.launch import Launch
from bench.worker.process import Cancellation, WorkerFailure
from bench.worker.protocol.hosts import HostFacts
from tests.support.preflight import REQUEST

KEY = b"0123456789abcdef"
SECONDS = 60.0
STATUS, FAILED = 0, 7


def a_place(rank: int = 0, ranks: int = 2, job: str = "17.0") -> JobPlace:
    return JobPlace(rank=rank, ranks=ranks, address="127.0.0.1", job=job)


def a_hello(rank: int = 1, ranks: int = 2, job: str = "17.0") -> Hello:
    return Hello(rank=rank, ranks=ranks, job=job, python=sys.executable, framework_python={}, data_directory=None)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def status_of(error: BaseException | None) -> int:
    return STATUS if error is None else FAILED


def follow(port: int, rank: int = 1, ranks: int = 2, *, own_key: bytes = KEY, seconds: float = SECONDS) -> Leave:
    return agent.follow(a_place(rank, ranks), port, a_hello(rank, ranks), lambda: own_key, seconds)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


@contextlib.contextmanager
def a_lead(place: JobPlace, port: int, seconds: float) -> Iterator[Job]:
    with scratch_folder("/tmp") as folder, lead(place, port, KEY, seconds, status_of, folder) as job:
        yield job


@contextlib.contextmanager
def a_job(threads: ThreadPoolExecutor) -> Iterator[tuple[Job, Future[Leave]]]:
    """Run a job of two ranks, of which the second is a thread."""
    port = free_port()
    follower = threads.submit(follow, port)
    with a_lead(a_place(), port, SECONDS) as job:
        yield job, follower


@pytest.fixture
def job(threads: ThreadPoolExecutor) -> Iterator[Job]:
    with a_job(threads) as (job, _):
        yield job


def start(job: Job, *command: str) -> subprocess.Popen[bytes]:
    """Start a command on rank 1's machine, as a worker is started."""
    pipe = subprocess.PIPE
    return subprocess.Popen([*job.prefix(1), *command], stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def is_over(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


# --- far workers ------------------------------------------------------------------------------------------------------


def test_a_relay_is_the_far_worker(job: Job) -> None:
    with start(job, "sh", "-c", "read line; echo got $line; cat; echo oops >&2; exit 3") as relay:
        output, errors = relay.communicate(b"this\nand\n" + bytes(300_000), timeout=SECONDS)
    assert output == b"got this\nand\n" + bytes(300_000)
    assert errors == b"oops\n"
    assert relay.returncode == 3


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_far_worker_that_a_signal_ends_is_told_as_one_of_this_machine(job: Job, number: signal.Signals) -> None:
    with start(job, "sh", "-c", f"kill -{number.value} $$") as relay:
        relay.communicate(timeout=SECONDS)
    assert relay.returncode == -number


def test_a_command_that_does_not_exist_there_is_told(job: Job) -> None:
    with start(job, "/nowhere/env") as relay:
        _, errors = relay.communicate(timeout=SECONDS)
    assert errors == b"/nowhere/env could not be started: No such file or directory\n"
    assert relay.returncode == 127


def test_nobody_waits_for_a_worker_whose_output_is_not_read(job: Job) -> None:
    with start(job, "sh", "-c", "head -c 3000000 /dev/zero") as slow:
        with start(job, "sh", "-c", "sleep 0.3; echo done") as other:
            output, _ = other.communicate(timeout=SECONDS)
        assert output == b"done\n"
        assert slow.poll() is None
        output, _ = slow.communicate(timeout=SECONDS)
    assert len(output) == 3_000_000


def test_a_far_worker_dies_with_its_relay(job: Job) -> None:
    """Even one that hears nothing, as one that is stopped."""
    with start(job, "sh", "-c", "echo $$; exec sleep 600") as relay:
        assert relay.stdout is not None
        worker = psutil.Process(int(relay.stdout.readline()))
        worker.suspend()
        os.killpg(relay.pid, signal.SIGKILL)
        worker.wait(SECONDS)


def test_a_worker_that_ended_leaves_nothing_behind(job: Job) -> None:
    with start(job, "sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!") as relay:
        output, _ = relay.communicate(timeout=SECONDS)
    wait_until(lambda: is_over(int(output)))


def test_real_workers_answer_through_a_relay(job: Job) -> None:
    host = Host(address="10.0.0.2", launch=job.prefix(1), python=sys.executable)
    interpreter = interpreter_on(host, Framework.MXNET, Interpreters())
    with process.start(interpreter, worker_variables(1), SECONDS, Cancellation()) as worker:
        worker.send(REQUEST)
        assert isinstance(worker.receive(HostFacts), HostFacts)


# --- how a job ends ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_fine", [True, False])
def test_ranks_end_with_the_status_of_rank_0_and_their_workers_with_them(
    threads: ThreadPoolExecutor, *, is_fine: bool
) -> None:
    with contextlib.ExitStack() as outlives:
        with contextlib.suppress(ValueError), a_job(threads) as (job, follower):
            relay = outlives.enter_context(start(job, "sh", "-c", "echo $$; exec sleep 600"))
            assert relay.stdout is not None
            worker = int(relay.stdout.readline())
            if not is_fine:
                raise ValueError
        assert follower.result(SECONDS) == Leave(status=STATUS if is_fine else FAILED)
        wait_until(lambda: is_over(worker))
    assert relay.returncode == -signal.SIGKILL
    assert not Path(job.relays).parent.exists()


def test_a_rank_ends_when_rank_0_does(threads: ThreadPoolExecutor) -> None:
    with a_job(threads) as (job, follower):
        hang_up(job.members[1].connection)
        with pytest.raises(SetupError, match="rank 1: rank 0 has ended, or its machine does not answer"):
            follower.result(SECONDS)


def hang_up(connection: Connection) -> None:
    with socket.socket(fileno=os.dup(connection.fileno())) as same:
        same.shutdown(socket.SHUT_RDWR)


def test_a_rank_that_ends_is_named_by_its_workers(job: Job) -> None:
    with start(job, "sh", "-c", "echo; exec sleep 600") as relay:
        assert relay.stdout is not None
        relay.stdout.readline()
        hang_up(job.members[1].connection)
        _, errors = relay.communicate(timeout=SECONDS)
    assert relay.returncode == 1
    assert b"rank 1 of the job has ended" in errors
    assert job.lost_ranks == [1]
    interpreter = process.Interpreter(launch=Launch("n1", job.prefix(1)))
    with process.start(interpreter, {}, SECONDS, Cancellation()) as worker:  # nor does it start another one
        failure = worker.receive(HostFacts)
    assert isinstance(failure, WorkerFailure)
    line = explain_unreached(interpreter.launch, "python", failure.reason, failure.detail, failure.log)
    assert line == "the worker ended with status 1 and no result: " + errors.decode().strip()


def test_a_rank_that_cannot_be_told_anything_has_ended_too() -> None:
    """Whoever writes to it may notice before whoever reads does."""
    ours, theirs = Pipe()
    with socket.create_server(("127.0.0.1", 0)) as listener, connect(listener.getsockname()[1]) as far, ours, theirs:
        near, _ = listener.accept()
        near.shutdown(socket.SHUT_WR)
        member = hub._Member(a_hello(), Connection(near.detach()), "10.0.0.2")
        member.serve(theirs, Start(rank=1, command=("true",)))
        assert member.is_lost
        assert ours.recv_bytes().startswith(Kind.ERRORS + b"rank 1 of the job has ended")
        assert ours.recv_bytes() == Kind.STATUS + b"1"
        far.close()
        member.thread.join(SECONDS)


def test_no_command_to_try_by_hand_is_named_where_there_is_none(job: Job) -> None:
    launch = Launch("n1", job.prefix(1))
    assert launch.by_hand is None
    assert Launch("n1", ("docker", "exec", "c")).by_hand == "docker exec c true"


# --- who is let in ----------------------------------------------------------------------------------------------------


def connect(port: int) -> socket.socket:
    """Connect to rank 0, which may not listen yet."""
    return agent._connect(a_place(1), port, SECONDS)


def scan(port: int) -> list[socket.socket]:
    """Connect as programs do that know nothing of us: silent, and with all kinds of bytes."""
    texts = (
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        struct.pack("!i", 1 << 30),
        struct.pack("!i", -1),
        struct.pack("!i", 5) + b"#CHAL",
    )
    scanners = []
    for text in texts:
        scanners.append(connect(port))
        scanners[-1].sendall(text)
    return scanners


def say(port: int, frame: bytes) -> Leave:
    """Say something as somebody who knows the key, but is no rank; return the answer."""
    with wire.greet(connect(port), KEY, is_rank_0=False) as connection:
        connection.send_bytes(frame)
        _, kind, data = wire.receive(connection)
    assert kind is Kind.LEAVE
    return wire.decode(data, Leave)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> Job:
    """Let the next `lead` fill a job that the test can look at meanwhile."""
    job = Job()
    monkeypatch.setattr(hub, "Job", lambda: job)
    return job


def test_only_ranks_of_the_job_are_let_in(threads: ThreadPoolExecutor, shared: Job) -> None:
    port = free_port()
    leading: Future[list[int]] = threads.submit(lead_three, port)
    scanners = scan(port)
    first = threads.submit(follow, port, 1, 3)
    wait_until(lambda: 1 in shared.members)
    with pytest.raises(ConfigurationError, match="rank 2 has another key than rank 0: set MNIST_BENCH_JOIN_KEY"):
        follow(port, 2, 3, own_key=b"another key than that")
    for hello, why in (
        (a_hello(2, 4), "this rank counts 4 ranks, and rank 0 3: start all of them by one command"),
        (a_hello(2, 3, job="18.0"), "another job is at rank 0's port: give each job a --join-port of its own"),
        (a_hello(0, 3), "rank 0 waits for the ranks 1 to 2"),
        (a_hello(-1, 3), "rank 0 waits for the ranks 1 to 2"),
        (a_hello(1, 3), "rank 0 has a rank of this number: start one process for each rank"),
    ):
        leave = say(port, bytes(4) + Kind.HELLO + msgspec.json.encode(hello))
        assert leave.status == 2
        assert why in str(leave.why)
    for frame in (b"", b"x", bytes(4) + b"?", bytes(4) + Kind.HELLO + b"no JSON", bytes(4) + Kind.HELLO + b"{}"):
        assert "install one mnist-bench on all machines" in str(say(port, frame).why)
    with pytest.raises((EOFError, OSError)):
        say(port, bytes(100_000))
    assert threads.submit(follow, port, 2, 3).result(SECONDS) == Leave(status=STATUS)
    assert first.result(SECONDS) == Leave(status=STATUS)
    assert leading.result(SECONDS) == [1, 2]
    for scanner in scanners:
        scanner.close()


def lead_three(port: int) -> list[int]:
    with a_lead(a_place(ranks=3), port, SECONDS) as job:
        with pytest.raises(ConnectionRefusedError):  # nobody can come any more
            socket.create_connection(("127.0.0.1", port)).close()
        return sorted(job.members)


def test_ranks_that_do_not_come_are_named() -> None:
    port = free_port()
    words = f"ranks 1, 2, 3 of 4 did not come within 0.1 s to 127.0.0.1, port {port}: start the same command on all"
    with pytest.raises(SetupError, match=words), a_lead(a_place(ranks=4), port, 0.1):
        raise AssertionError


def test_many_missing_ranks_and_other_keys_are_one_line() -> None:
    strangers = ["10.0.0.2", "10.0.0.3"]
    line = hub._explain_missing(range(1, 900), a_place(ranks=1000), "127.0.0.1", 28470, 120.0, strangers)
    assert line.startswith("ranks 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, … of 1000 did not come within 120 s")
    assert "; another key had somebody at 10.0.0.2, 10.0.0.3: start" in line


def test_a_name_that_leads_to_loopback_on_its_own_machine_is_told() -> None:
    """As Debian has it; the others find the real address, at which nobody listens."""
    place = JobPlace(rank=0, ranks=2, address="node1", job="")
    line = hub._explain_missing([1], place, "127.0.1.1", 28470, 120.0, [])
    assert "that is 127.0.1.1 here, which no other machine reaches: give --join-address this machine's IP" in line


def test_a_rank_that_ends_before_the_others_have_come_may_come_again(threads: ThreadPoolExecutor, shared: Job) -> None:
    """As a pod that is started anew."""
    port = free_port()
    leading: Future[list[int]] = threads.submit(lead_three, port)
    with wire.greet(connect(port), KEY, is_rank_0=False) as connection:
        wire.send(connection, 0, Kind.HELLO, msgspec.json.encode(a_hello(1, 3)))
        wait_until(lambda: 1 in shared.members)
    wait_until(lambda: shared.members[1].is_lost)
    followers = [threads.submit(follow, port, rank, 3) for rank in (1, 2)]
    assert [each.result(SECONDS) for each in followers] == [Leave(status=STATUS)] * 2
    assert leading.result(SECONDS) == [1, 2]


def test_rank_0_says_why_it_cannot_listen() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        faults = {
            ("127.0.0.1", other.getsockname()[1]): "another program has this port: name another --join-port",
            ("192.0.2.1", free_port()): "it is not on that machine: --join-address must name rank 0's own",
            ("no.such.name.invalid", free_port()): "the name is not known here: name another --join-address",
            ("a" * 100, free_port()): "the name is not known here: name another --join-address",
        }
        for (address, port), words in faults.items():
            place = JobPlace(rank=0, ranks=2, address=address, job="")
            with pytest.raises(ConfigurationError, match=words), a_lead(place, port, 0.0):
                raise AssertionError


def test_a_rank_says_that_rank_0_is_not_there() -> None:
    port = free_port()
    with pytest.raises(
        SetupError, match=rf"rank 1: no rank 0 at 127.0.0.1, port {port}, within 0.1 s \(connection ref"
    ):
        follow(port, seconds=0.1)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, r"no greeting within 1 s"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "bad message length"),
        (struct.pack("!i", 3) + b"abc", "message = b'abc'|another key"),
        ("end", "it hung up|reset"),
    ],
)
def test_a_rank_does_not_take_another_program_for_rank_0(
    monkeypatch: pytest.MonkeyPatch, threads: ThreadPoolExecutor, answer: bytes | str | None, words: str
) -> None:
    monkeypatch.setattr(wire, "GREETING_SECONDS", 1)
    monkeypatch.setattr(agent, "GREETING_SECONDS", 1)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        found = threads.submit(follow, port)
        connected, _ = other.accept()
        with connected:
            if isinstance(answer, bytes):
                connected.sendall(answer)
            if answer == "end":
                connected.close()
            error = found.exception(SECONDS)
    assert isinstance(error, SetupError | ConfigurationError)
    assert re.search(words, str(error))
    assert len(str(error).splitlines()) == 1


def test_a_connection_to_itself_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody listens, the kernel may connect a port to itself."""

    class Itself(socket.socket):
        def getpeername(self) -> object:
            return self.getsockname()

    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: Itself())
    with pytest.raises(SetupError, match=r"no rank 0 at .* \(connection refused\)"):
        follow(free_port(), seconds=0.0)


def test_another_key_is_another_key_on_both_sides(threads: ThreadPoolExecutor) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        other = threads.submit(wire.greet, connect(port), b"b" * 16, is_rank_0=False)
        connected, _ = listener.accept()
        with pytest.raises(AuthenticationError):
            wire.greet(connected, KEY, is_rank_0=True)
        assert isinstance(other.exception(SECONDS), AuthenticationError)


# --- the hosts --------------------------------------------------------------------------------------------------------


def test_ranks_of_one_machine_are_its_slots() -> None:
    far = [(a_hello(rank, 6), "10.0.0.2" if rank % 2 else "10.0.0.3") for rank in (4, 3, 2, 1)]
    hosts = hosts_of("10.0.0.1", [*far, (a_hello(5, 6), "10.0.0.1")], lambda rank: ("relay", str(rank)))
    assert [(host.address, host.slots, host.launch) for host in hosts] == [
        ("10.0.0.1", 2, ()),
        ("10.0.0.2", 2, ("relay", "1")),
        ("10.0.0.3", 2, ("relay", "2")),
    ]


def test_a_host_has_what_its_own_command_line_says() -> None:
    hello = msgspec.structs.replace(
        a_hello(), python="/far/python", framework_python={Framework.TORCH: "/far/torch"}, data_directory="/far/data"
    )
    here, far = hosts_of("10.0.0.1", [(hello, "10.0.0.2")], lambda rank: ("relay", str(rank)))
    assert (here.python, here.framework_python, here.data_directory) == (None, {}, None)
    assert (far.python, far.framework_python, far.data_directory) == (
        "/far/python",
        {Framework.TORCH: "/far/torch"},
        "/far/data",
    )


def test_machines_of_a_job_are_told_from_those_of_a_file() -> None:
    hosts = hosts_of("10.0.0.1", [(a_hello(), "10.0.0.2")], Job(relays="/x").prefix)
    assert hub.is_of_job(hosts)
    assert not hub.is_of_job([Host(address="10.0.0.1", launch=()), Host(address="10.0.0.2", launch=("docker", "exec"))])


# --- the key ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(key, "key_path", lambda: tmp_path / "config" / "join_key")
    return tmp_path / "config" / "join_key"


def test_a_key_in_a_variable_counts_and_no_process_inherits_it(path: Path) -> None:
    variables = {"MNIST_BENCH_JOIN_KEY": " 0123456789abcdef\n", "A": "b"}
    assert key.find_key(variables, make=True) == KEY
    assert variables == {"A": "b"}
    assert not path.exists()


def test_rank_0_makes_a_key_once_that_the_user_alone_can_read(path: Path) -> None:
    made = key.find_key({}, make=True)
    assert len(made) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [key.find_key({}, make=make) for make in (True, False)] == [made, made]
    assert [*path.parent.iterdir()] == [path]


def test_a_key_that_was_made_meanwhile_stays(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = key.find_key({}, make=True)
    key._make(path)
    assert key.find_key({}, make=False) == made


@pytest.mark.parametrize(
    ("content", "mode", "variables", "words"),
    [
        (None, 0o600, {}, r"no key in .*join_key \(No such file or directory\): set MNIST_BENCH_JOIN_KEY to the same"),
        (
            "0123456789abcdef",
            0o640,
            {},
            "other users can read the key: chmod 600 .*join_key; or set MNIST_BENCH_JOIN_KEY",
        ),
        ("0123456789abcde\n", 0o600, {}, "join_key is shorter than 16 characters: set MNIST_BENCH_JOIN_KEY"),
        ("\xe4" * 20, 0o600, {}, "not a text in ASCII"),
        ("0123456789abcdef", 0o600, {"MNIST_BENCH_JOIN_KEY": ""}, "MNIST_BENCH_JOIN_KEY is shorter than 16 characters"),
    ],
)
def test_a_key_that_is_none_is_one_line(
    path: Path, content: str | None, mode: int, variables: Mapping[str, str], words: str
) -> None:
    path.parent.mkdir()
    if content is not None:
        path.write_text(content, encoding="latin-1")
        path.chmod(mode)
    with pytest.raises(ConfigurationError, match=words):
        key.find_key({**variables}, make=False)


def test_a_home_that_cannot_be_written_to_is_one_line(path: Path) -> None:
    path.parent.write_text("", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"no key in .*: set MNIST_BENCH_JOIN_KEY"):
        key.find_key({}, make=True)


def test_what_rank_0_refuses_is_wrong_usage() -> None:
    """`worker` does not know the command line, which has the same number."""
    assert Exit(hub._REFUSED) is Exit.USAGE

"""A live worker is started from outside, asked, and ended when it takes too long."""

from __future__ import annotations

import time
from pathlib import Path

import msgspec
import pytest

from bench.records.result import FailureReason
from bench.worker import session
from bench.worker.process import Cancellation, Interpreter, WorkerFailure
from bench.worker.protocol.requests import SessionRequest
from bench.worker.session import SessionError
from mnist_core.recipe import Engine
from tests.support.records import a_dataset, a_scenario
from tests.support.sessions import READY, a_window


def a_pass_request() -> SessionRequest:
    return session.session_request(Path("/data"), a_dataset(), 1, 1, Engine.NAIVE)


def a_python(folder: Path, script: str) -> Interpreter:
    """Make a Python that does what a shell script says instead."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return Interpreter(str(path))


def test_a_command_that_takes_too_long_ends_the_process(tmp_path: Path) -> None:
    """It ends with its own reason, long before the time for the whole process is over."""
    interpreter = a_python(
        tmp_path, f"read request; echo '{msgspec.json.encode(READY).decode()}'; echo words >&2; exec sleep 600"
    )
    begin = time.monotonic()
    with session.start(
        interpreter, a_pass_request(), life_seconds=600, command_seconds=0.5, stop=Cancellation()
    ) as running:
        running.wait_until_ready()
        with pytest.raises(SessionError) as caught:
            running.set_up(a_scenario(), 100)
    assert caught.value.failure == WorkerFailure(FailureReason.TIMEOUT, "no answer within 0.5 s", "words")
    assert time.monotonic() - begin < 60


def test_a_process_that_ends_by_itself_is_no_time_out(tmp_path: Path) -> None:
    interpreter = a_python(tmp_path, "read request; exit 3")
    with (
        session.start(
            interpreter, a_pass_request(), life_seconds=600, command_seconds=300, stop=Cancellation()
        ) as running,
        pytest.raises(SessionError) as caught,
    ):
        running.wait_until_ready()
    assert caught.value.failure.reason is FailureReason.CRASHED


def test_a_process_that_cannot_be_started_is_said_so(tmp_path: Path) -> None:
    interpreter = Interpreter(str(tmp_path / "missing"))
    with (
        pytest.raises(SessionError, match="could not be run"),
        session.start(interpreter, a_pass_request(), life_seconds=600, stop=Cancellation()),
    ):
        pass


def test_a_window_is_believed_only_with_all_its_images() -> None:
    done = a_window(200, 1.0)
    assert session.check_sample_count(done, 200) is done
    with pytest.raises(SessionError, match="200 images, not 100"):
        session.check_sample_count(done, 100)


@pytest.mark.parametrize(
    ("log", "words"),
    [
        ("", "crashed: status 1"),
        ("first\nImportError: no", "crashed: status 1: ImportError: no"),
        ("so it ended with status 1", "crashed: status 1: so it ended with status 1"),
        ("status 1", "crashed: status 1"),
    ],
)
def test_a_cause_ends_with_its_own_last_words(log: str, words: str) -> None:
    """They are left out where the detail has them already."""
    assert session.explain_failure(WorkerFailure(FailureReason.CRASHED, "status 1", log)) == words

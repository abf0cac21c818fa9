from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_core.devices import (
    Device,
    DeviceError,
    DeviceKind,
    Probe,
    Unusable,
    available,
    format_devices,
    installed_cuda_build,
    last_line,
    parse_devices,
    probe,
    probe_gpus,
    program,
)

GPU0, GPU1, GPU2 = (Device(DeviceKind.GPU, index) for index in range(3))
A10 = Probe(GPU0, gpu_name="NVIDIA A10", compute_capability="8.6", memory_bytes=24 << 30, driver="535.104.05")


@given(
    st.lists(
        st.builds(Device, st.sampled_from(DeviceKind), st.integers(min_value=0, max_value=9999)),
        min_size=1,
        unique=True,
    ).map(tuple)
)
def test_devices_survive_being_written_and_read(devices: tuple[Device, ...]) -> None:
    """What `format_devices` writes, `parse_devices` reads back, in the same order."""
    assert parse_devices(format_devices(devices)) == devices


@given(st.text() | st.text(alphabet="cpugd()0123456789,-: \n"))
def test_any_text_is_devices_or_one_clear_line(text: str) -> None:
    """No text makes the reader fail in another way than with a `DeviceError` of one line."""
    try:
        devices = parse_devices(text)
    except DeviceError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017  # either outcome is right
    else:
        assert len(devices) >= 1


@pytest.mark.parametrize(
    ("text", "written"),
    [("cpu", "cpu(0)"), (" gpu ,cpu( 2 )", "gpu(0),cpu(2)"), ("gpu(1),gpu(0)", "gpu(1),gpu(0)"), ("cpu(01)", "cpu(1)")],
)
def test_devices_are_read_with_some_leniency(text: str, written: str) -> None:
    """Blanks do not matter, a kind alone is its first device, and the order is the writer's."""
    assert format_devices(parse_devices(text)) == written


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "a device is missing in ''"),
        ("cpu(0),", "a device is missing in 'cpu(0),'"),
        ("cpu(-1)", "'cpu(-1)': devices are counted from 0"),
        ("cpu(0),cpu", "cpu(0) is listed twice: a network has one copy"),
        ("gpu:1", "unknown device 'gpu:1': did you mean gpu(1)?"),
        ("cuda:1", "unknown device 'cuda:1': did you mean gpu(1)?"),
        ("GPU", "unknown device 'GPU': did you mean gpu(0)?"),
        ("cpu 3", "unknown device 'cpu 3': did you mean cpu(3)?"),
        ("gup(1)", "unknown device 'gup(1)': did you mean gpu(1)?"),
        ("pcu", "unknown device 'pcu': did you mean cpu(0)?"),
        ("tpu(0)", "unknown device 'tpu(0)': write cpu(0)"),
        ("auto", "unknown device 'auto': write cpu(0)"),
        ("gpu(12345)", "unknown device 'gpu(12345)': write cpu(0)"),
        ("cpu(٣)", "unknown device 'cpu(٣)': write cpu(0)"),
    ],
)
def test_a_wrong_device_is_explained(text: str, complaint: str) -> None:
    """The error names the part that is wrong and, where it can be guessed, what was meant."""
    with pytest.raises(DeviceError) as caught:
        parse_devices(text)

    assert str(caught.value).startswith(complaint)


def test_devices_sort_by_kind_and_index() -> None:
    """CPUs come before GPUs, and 10 after 2."""
    assert format_devices(sorted(parse_devices("gpu(0),cpu(10),cpu(2)"))) == "cpu(2),cpu(10),gpu(0)"


@pytest.mark.parametrize("found", [A10, Probe(GPU1, Unusable.NO_DRIVER, "none here")])
def test_a_reply_survives_being_written_and_read(found: Probe) -> None:
    """The child's line gives the parent the same record."""
    assert Probe.from_json(found.to_json()) == found


FakePython = Callable[[str], str]


@pytest.fixture
def fake_python(tmp_path: Path) -> FakePython:
    """Make a stand-in for the interpreter from a shell script, which is given the program of the child and `gpu(0)`."""

    def make(script: str) -> str:
        path = tmp_path / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return str(path)

    return make


def test_a_usable_gpu_is_reported_with_its_facts(fake_python: FakePython) -> None:
    """The last line of the child's output is the reply; what a library said before does not matter."""
    python = fake_python(f"echo chatter\necho '{A10.to_json()}'")

    found = probe(GPU0, python=python)

    assert found == A10
    assert found.usable


def test_the_childs_reason_is_the_answer(fake_python: FakePython) -> None:
    """A reason that the child found out arrives as it was sent."""
    full = Probe(GPU0, Unusable.OUT_OF_MEMORY, "gpu(0): out of memory", gpu_name="NVIDIA A10")

    found = probe(GPU0, python=fake_python(f"echo '{full.to_json()}'"))

    assert found == full
    assert not found.usable


def test_the_child_is_asked_for_the_device(fake_python: FakePython) -> None:
    """The command line is the program of the child and the device."""
    found = probe(GPU1, python=fake_python('echo "asked: $*" >&2; exit 1'))

    assert found.detail.endswith("from mnist_core.probe import main; main() gpu(1)")


@pytest.mark.parametrize("name", ["random", "shutil", "tempfile", "importlib", "mnist_core"])
def test_nothing_is_taken_from_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """A stray `random.py` there hid every GPU: Python takes it for its own, and MXNet does not start."""
    (tmp_path / f"{name}.py").write_text("raise SystemExit('a stray module was imported')")
    package = tmp_path / "folder" / "mnist_core"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "entry.py").write_text(f"import {name}, shutil, tempfile, random\ndef main(): print({name}.__name__)")
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, "-c", program({"mnist_core": package}, "mnist_core.entry")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.stdout, ended.stderr) == (f"{name}\n", "")


@pytest.mark.slow
def test_a_hung_child_is_ended_with_its_children(fake_python: FakePython, tmp_path: Path) -> None:
    """The time-out is an answer, and neither the child nor what it started lives on."""
    python = fake_python(f"sleep 30 &\necho $$ $! > '{tmp_path}/pids'\nwait")

    found = probe(GPU0, python=python, timeout_seconds=1)

    assert found == Probe(GPU0, Unusable.HUNG, "gpu(0) gave no answer within 1 s")
    for pid in map(int, (tmp_path / "pids").read_text().split()):
        assert ends_soon(pid)


def test_an_interrupted_trial_leaves_no_child(
    fake_python: FakePython, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C does not reach the child's own session, so the parent ends it."""
    python = fake_python("sleep 30")
    children: list[int] = []

    def communicate(self: subprocess.Popen[str], timeout: float) -> None:
        children.append(self.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "communicate", communicate)

    with pytest.raises(KeyboardInterrupt):
        probe(GPU0, python=python)

    assert ends_soon(children[0])


def ends_soon(pid: int) -> bool:
    """Return whether a process is gone, or dead and only waits to be reaped, within five seconds."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        ("echo 'Segmentation fault: 11' >&2; kill -SEGV $$", "was killed by SIGSEGV: Segmentation fault: 11"),
        ("echo 'first' >&2; echo 'ValueError: x' >&2; exit 1", "ended with status 1: ValueError: x"),
        ("echo hello", "gave no readable answer: 'hello'"),
        ("echo 42", "gave no readable answer: '42'"),
        ("echo '{}'", "gave no readable answer: '{}'"),
        ("true", "gave no readable answer: ''"),
    ],
)
def test_a_child_without_a_reply_has_crashed(fake_python: FakePython, script: str, detail: str) -> None:
    """If it was killed, failed or talked nonsense, the answer is "crashed", with the last thing it said."""
    assert probe(GPU0, python=fake_python(script)) == Probe(GPU0, Unusable.CRASHED, f"the trial of gpu(0) {detail}")


def machine(*gpus: Probe) -> str:
    """Make a script that answers for these cards, and for every other one that it is not there."""
    cases = "\n".join(f"'{gpu.device}') echo '{gpu.to_json()}';;" for gpu in gpus)
    absent = Probe(Device(DeviceKind.GPU, len(gpus)), Unusable.NO_SUCH_DEVICE, "not here").to_json()
    return f"case $3 in\n{cases}\n*) echo '{absent}';;\nesac"


def test_auto_means_every_usable_gpu(fake_python: FakePython) -> None:
    """An unusable card is passed over, and those behind it still count."""
    python = fake_python(machine(A10, Probe(GPU1, Unusable.UNSUPPORTED_CAPABILITY, "too new"), Probe(GPU2)))

    assert available(python=python) == (GPU0, GPU2)


def test_auto_without_a_usable_gpu_means_the_cpu(fake_python: FakePython) -> None:
    """A full card leaves the first CPU device."""
    python = fake_python(machine(Probe(GPU0, Unusable.OUT_OF_MEMORY, "full")))

    assert available(python=python) == (Device(DeviceKind.CPU, 0),)


@pytest.mark.parametrize("reason", [Unusable.NO_CUDA_BUILD, Unusable.NO_DRIVER, Unusable.HUNG, Unusable.CRASHED])
def test_a_reason_of_the_whole_machine_ends_the_row(fake_python: FakePython, reason: Unusable) -> None:
    """What would meet the next card too is not tried again."""
    ending = Probe(GPU0, reason, "of the machine")

    assert probe_gpus(python=fake_python(machine(ending, Probe(GPU1)))) == (ending,)


def test_the_last_line_that_says_something() -> None:
    """Blank lines and blanks around a line say nothing; without output there is no line."""
    assert last_line("first\n second \n\n  \n") == "second"
    assert last_line("\n") == ""


@pytest.mark.system
def test_the_real_cpu_is_usable() -> None:
    """The real child with the real MXNet finds this machine's CPU usable."""
    assert probe(Device(DeviceKind.CPU, 0)) == Probe(Device(DeviceKind.CPU, 0))


@pytest.mark.system
@pytest.mark.skipif(installed_cuda_build() is not None, reason="a GPU build is installed")
def test_the_real_cpu_build_has_no_gpu() -> None:
    """The real child says that the CPU build of MXNet knows no GPU, whatever the machine holds."""
    assert probe(GPU0).reason == Unusable.NO_CUDA_BUILD

"""What this machine cannot compute is left out of a suite, and refused where it was asked for."""

from __future__ import annotations

import pytest

from bench.cli.exit_status import Exit
from bench.cli.measuring import precision
from tests.support.cli import Command
from tests.support.records import an_environment


@pytest.fixture
def on_avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be on a CPU without AVX-512."""
    here = an_environment(host_processor_instruction_sets=("avx", "avx2", "fma"))
    monkeypatch.setattr(precision, "capture", lambda: here)


@pytest.mark.usefixtures("on_avx2")
def test_a_suite_leaves_out_what_the_machine_lacks(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    """The rest is measured, and a note for each reason says how many are not."""
    assert command("run", "--suite", "precision", "--network", "lenet", "--dry-run") == Exit.DONE
    printed = capsys.readouterr()
    assert "jax lenet cpu(0) batch=100 hybridize=scan precision=bfloat16" in printed.out
    assert "torch lenet cpu(0) batch=100 hybridize=compile tuned" in printed.out
    assert printed.out.count("precision=bfloat16") == 1
    words = " ".join(printed.err.split())
    for framework in ("mxnet", "torch"):
        needs = f"framework {framework} needs avx512bw, avx512vl, avx512dq of the CPU, which this one has not"
        assert f"1 scenario left out: precision=bfloat16: {needs}; use precision=float32" in words


@pytest.mark.usefixtures("on_avx2")
@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--suite", "smoke", "--set", "precision=float32,bfloat16", "--dry-run"),
        ("run", "--suite", "precision", "--framework", "torch", "-k", "precision=bfloat16", "--dry-run"),
        ("tune", "--network", "mlp", "--set", "precision=bfloat16", "--dry-run"),
        ("profile", "--network", "mlp", "--set", "precision=bfloat16"),
    ],
    ids=" ".join,
)
def test_what_was_asked_for_is_refused(
    arguments: tuple[str, ...], command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(*arguments) == Exit.USAGE
    error = " ".join(capsys.readouterr().err.split())
    assert "needs avx512bw, avx512vl, avx512dq of the CPU, which this one has not; use precision=float32" in error


def test_the_option_of_the_same_name_points_to_the_axis(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("run", "--precision", "bf16", "--dry-run") == Exit.USAGE
    error = " ".join(capsys.readouterr().err.split())
    assert "use --set precision=bfloat16 to compute in bfloat16" in error

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

import numpy as np
import pytest

from mnist_core import mxnet_border
from mnist_core.devices import Device, DeviceKind, installed_cuda_build
from mnist_core.mxnet_border import explain, features, mx, nd, to_context, version
from tests import ROOT

pytestmark = pytest.mark.system

NOT_FOUND = "{}: cannot open shared object file: No such file or directory"


@pytest.mark.parametrize(
    ("error", "python", "numpy_version", "next_step"),
    [
        (ModuleNotFoundError(name="mxnet"), (3, 11), "1.26.4", "pip install '.[cpu]'"),
        (ModuleNotFoundError(name="mxnet"), (3, 11), "2.1.0", "pip install '.[cpu]'"),
        (ModuleNotFoundError(name="mxnet"), (3, 13), "2.1.0", "use Python 3.10, 3.11 or 3.12"),
        (AttributeError("np.PZERO was removed"), (3, 12), "2.1.0", "pip install 'numpy<2'"),
        (AttributeError("np.PZERO was removed"), (3, 13), "2.1.0", "use Python 3.10, 3.11 or 3.12"),
        (ModuleNotFoundError(name="distutils"), (3, 12), "1.26.4", "pip install setuptools"),
        (OSError(NOT_FOUND.format("libgomp.so.1")), (3, 11), "1.26.4", "apt-get install libgomp1 libquadmath0"),
        (OSError(NOT_FOUND.format("libquadmath.so.0")), (3, 11), "1.26.4", "apt-get install libgomp1 libquadmath0"),
        (OSError(NOT_FOUND.format("libodd.so.3")), (3, 11), "1.26.4", "libodd.so.3: apt-get install the package"),
        (OSError(NOT_FOUND.format("libcudart.so.11.0")), (3, 11), "1.26.4", "pip install '.[gpu]'"),
        (OSError(NOT_FOUND.format("libcuda.so.1")), (3, 11), "1.26.4", "install the driver"),
        (RuntimeError("Candidates:\nmxnet/libmxnet.so\n"), (3, 11), "1.26.4", "(mxnet/libmxnet.so): reinstall it"),
        (KeyError(), (3, 11), "1.26.4", "(KeyError): reinstall it"),
    ],
)
def test_a_failed_import_ends_with_the_next_step(
    monkeypatch: pytest.MonkeyPatch, error: Exception, python: tuple[int, int], numpy_version: str, next_step: str
) -> None:
    """Every known failure of `import mxnet` becomes one line that says what to do, an unknown one says what it was."""
    monkeypatch.chdir(ROOT)
    line = explain(error, python=python, numpy_version=numpy_version)

    assert next_step in line
    assert "\n" not in line


def import_border(*before: str, fake_packages: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Import the border in a fresh process in which every warning is an error, after the given statements."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join([*before, "import mnist_core.mxnet_border"])],
        env=os.environ | ({"PYTHONPATH": str(fake_packages)} if fake_packages else {}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_the_import_is_silent_and_nothing_after_it() -> None:
    """Where warnings are errors, importing MXNet through the border still works, and what comes later warns.

    A worker does not pay for scipy, and a user's own network can still import it.
    """
    child = import_border(
        "import sys, warnings, mnist_core.mxnet_border",
        "assert 'scipy' not in sys.modules",
        "import scipy; assert scipy.__version__",
        "try: warnings.warn('later', UserWarning)",
        "except UserWarning as warning: print(warning)",
    )

    assert (child.returncode, child.stderr, child.stdout) == (0, "", "later\n")


def test_missing_mxnet_is_one_clear_error() -> None:
    """Without MXNet the border raises its own ImportError, which names the extras to install."""
    child = import_border("import sys; sys.modules['mxnet'] = None")

    last_line = child.stderr.splitlines()[-1]
    assert last_line.startswith("mnist_core.mxnet_border.MXNetUnavailableError: MXNet is not installed: pip install")


def test_a_missing_system_library_is_one_clear_error(tmp_path: Path) -> None:
    """What the dynamic loader says while MXNet is imported reaches the user as a command to type."""
    (tmp_path / "mxnet.py").write_text(f"raise OSError({NOT_FOUND.format('libquadmath.so.0')!r})\n")

    child = import_border(fake_packages=tmp_path)

    assert child.stderr.splitlines()[-1].endswith("apt-get install libgomp1 libquadmath0")


def test_numpy_has_its_bool_back() -> None:
    """MXNet's NumPy-like arrays read numpy.bool when they are indexed by a mask, long after the import."""
    numbers = mx.np.array([1, 2, 3])

    assert vars(np)["bool"] is bool
    assert numbers[numbers > 1].asnumpy().tolist() == [2, 3]


def test_version_is_the_installed_one() -> None:
    """The version is the distribution's."""
    assert version() == installed_version(installed_cuda_build() or "mxnet")


def test_features_tell_the_builds_apart() -> None:
    """CUDA is a feature of the GPU builds alone."""
    assert features()["CUDA"] == (installed_cuda_build() is not None)
    assert all(type(enabled) is bool for enabled in features().values())


def test_a_device_becomes_a_context() -> None:
    """Kind and index reach MXNet; a GPU's context can be made, if not used, where there is none."""
    contexts = [to_context(Device(DeviceKind.CPU, 1)), to_context(Device(DeviceKind.GPU, 2))]

    assert list(map(str, contexts)) == ["cpu(1)", "gpu(2)"]
    assert nd.ones(1, ctx=contexts[0]).context == contexts[0]


def test_the_advice_to_install_fits_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A dot means the clone only inside of it, and a wheel has no clone."""
    missing = ModuleNotFoundError(name="mxnet")
    monkeypatch.chdir(tmp_path)
    assert f"pip install '{ROOT}[cpu]'" in explain(missing, python=(3, 11))
    monkeypatch.setattr(mxnet_border, "__file__", str(tmp_path / "site-packages" / "mnist_core" / "mxnet_border.py"))
    assert "pip install 'mnist-bench[cpu]'" in explain(missing, python=(3, 11))

from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from mnist_core.devices import SONAMES, installed_cuda_build, missing_library, preload, wheel_libraries


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a folder of installed packages that holds NVIDIA's package without a library."""
    (tmp_path / "nvidia").mkdir()
    (tmp_path / "nvidia" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def install_library(site: Path, wheel: str, soname: str) -> Path:
    path = site / "nvidia" / wheel / "lib" / soname
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"not a library")
    return path


def install_distribution(site: Path, name: str) -> None:
    folder = site / f"{name.replace('-', '_')}-1.9.1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.9.1\n")


def test_a_gpu_build_is_known_by_its_distribution(site: Path) -> None:
    """The GPU builds are distributions of their own: mxnet-cu117 and its siblings, but not mxnet-cuda-tools."""
    install_distribution(site, "mxnet-cuda-tools")
    before = installed_cuda_build()
    install_distribution(site, "mxnet-cu117")

    assert (before, installed_cuda_build()) == (None, "mxnet-cu117")


def test_a_nameless_distribution_is_no_obstacle(site: Path) -> None:
    """What an interrupted uninstall leaves behind does not break the look-up."""
    (site / "xnet-1.9.1.dist-info").mkdir()
    install_distribution(site, "mxnet-cu117")

    assert installed_cuda_build() == "mxnet-cu117"


def test_libraries_come_in_dependency_order(site: Path) -> None:
    """cuBLAS stands before cuSOLVER, which needs it; libraries that MXNet does not ask for are left alone."""
    cusolver = install_library(site, "cusolver", "libcusolver.so.11")
    cublas = install_library(site, "cublas", "libcublas.so.11")
    install_library(site, "cublas", "libnvblas.so.11")

    assert wheel_libraries() == [cublas, cusolver]


def test_a_gpu_build_gets_its_libraries_loaded(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every library the wheels brought is loaded; those they did not bring are left to the dynamic loader."""
    install_distribution(site, "mxnet-cu117")
    paths = [str(install_library(site, "any", soname)) for soname in SONAMES[:3]]
    loaded: list[str] = []
    monkeypatch.setattr(ctypes, "CDLL", loaded.append)

    preload()

    assert loaded == paths


def test_a_broken_library_is_an_error(site: Path) -> None:
    """A damaged file is reported like any other failure of the import, and not passed over."""
    install_distribution(site, "mxnet-cu117")
    install_library(site, "cudnn", "libcudnn.so.8")

    with pytest.raises(OSError, match=r"libcudnn\.so\.8"):
        preload()


@pytest.mark.skipif(installed_cuda_build() is not None, reason="a GPU build is installed")
def test_a_cpu_build_loads_nothing(site: Path) -> None:
    """NVIDIA's wheels may be there for another framework: without a GPU build of MXNet they are not touched."""
    install_library(site, "cudnn", "libcudnn.so.8")

    preload()

    assert len(wheel_libraries()) == 1


@pytest.mark.parametrize(
    ("error", "library"),
    [
        (OSError("libcuda.so.1: cannot open shared object file: No such file or directory"), "libcuda.so.1"),
        (OSError("/x/libcudnn.so.8: file too short"), None),
        (ImportError("libcuda.so.1: cannot open shared object file: No such file or directory"), None),
        (None, None),
    ],
)
def test_the_missing_library_is_read_from_the_error(error: BaseException | None, library: str | None) -> None:
    """The loader's message names the library it did not find; any other error names none."""
    assert missing_library(error) == library

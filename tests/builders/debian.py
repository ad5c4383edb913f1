"""Files of Debian's packages, unpacked into a cache: nothing is installed."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "feedmill" / "debian"


def unpacked(package: str) -> Path:
    """The folder with the files of a package of this machine's release; downloaded once."""
    if shutil.which("apt-get") is None:
        pytest.skip(f"needs {package} of Debian, and this system has no apt-get")
    folder = CACHE / package
    if not folder.exists():
        downloads = CACHE / f"{package}.download"
        downloads.mkdir(parents=True, exist_ok=True)
        download = ("apt-get", "download", "-q", package)
        if subprocess.run(download, cwd=downloads, capture_output=True, check=False).returncode:
            _run("apt-get", "update", "-q", folder=downloads)
            _run(*download, folder=downloads)
        (archive,) = downloads.glob(f"{package}_*.deb")
        partial = CACHE / f"{package}.partial"
        _run("dpkg", "-x", str(archive), str(partial), folder=downloads)
        partial.rename(folder)
    return folder


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`: that on the PATH, else of Debian's package."""
    return shutil.which(name) or str(unpacked("prometheus") / "usr/bin" / name)


def _run(*command: str, folder: Path) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"

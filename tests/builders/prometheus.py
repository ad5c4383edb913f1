"""Prometheus and promtool: those on the PATH, else Debian's package, unpacked and not installed."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from feedmill.deploy.local.locks import exclusive


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`; without it and without apt the test is skipped."""
    found = shutil.which(name)
    if found:
        return found
    if shutil.which("apt-get") is None:
        pytest.skip(f"there is no {name} on the PATH, and no apt-get to fetch it")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(base) / "feedmill" / "prometheus"
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / ".lock", "unpacks Prometheus"):
        if not (folder / "unpacked").exists():
            _unpack(folder)
    return str(folder / "unpacked/usr/bin" / name)


def _unpack(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        at = Path(scratch)
        # Lists of packages of its own: the system's may be missing, and only root may update them.
        for part in ("lists/partial", "cache/archives/partial"):
            (at / part).mkdir(parents=True)
        own = ["-o", f"Dir::State::lists={at}/lists", "-o", f"Dir::Cache={at}/cache"]
        own += ["-o", "APT::Sandbox::User="]
        _run("apt-get", *own, "-qq", "update", at=at)
        _run("apt-get", *own, "-qq", "download", "prometheus", at=at)
        (package,) = at.glob("prometheus_*.deb")
        _run("dpkg-deb", "-x", package.name, "unpacked", at=at)
        (at / "unpacked").rename(folder / "unpacked")


def _run(*command: str, at: Path) -> None:
    done = subprocess.run(command, cwd=at, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"

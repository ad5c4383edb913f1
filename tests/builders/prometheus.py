"""Prometheus and promtool: those on the PATH, else Debian's package, unpacked and not installed."""

import shutil

from builders.debian import unpacked


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`."""
    return shutil.which(name) or str(unpacked("prometheus") / "usr/bin" / name)

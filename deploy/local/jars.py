"""Kafka's jars: fetched once a machine from Maven Central, checked against the lock, shared.

`kafka.lock.json` names each jar by its Maven coordinates with its sha256. The lock, not
the repository, decides what runs: a jar that differs is refused, one that it does not
name is never on the class path.
"""

from __future__ import annotations

import hashlib
import importlib.resources
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from feedmill.deploy.local.errors import LocalStackError
from feedmill.deploy.local.locks import exclusive

_log = logging.getLogger(__name__)

# Enough to hide the round trips of 92 small files, few enough to be a polite guest.
_FETCHERS = 6


@dataclass(frozen=True)
class Jar:
    """One jar of the lock."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def name(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


@dataclass(frozen=True)
class Lock:
    """What `kafka.lock.json` says."""

    kafka: str
    jars: tuple[Jar, ...]


Fetch = Callable[[Jar, Path], Path]


@cache
def read_lock() -> Lock:
    """Read the lock that ships with feedmill."""
    text = importlib.resources.files(__package__).joinpath("kafka.lock.json").read_text("utf-8")
    content = json.loads(text)
    return Lock(content["kafka"], tuple(_jar(*entry) for entry in content["jars"].items()))


def _jar(coordinates: str, sha256: str) -> Jar:
    group, artifact, version = coordinates.split(":")
    return Jar(group, artifact, version, sha256)


def default_cache() -> Path:
    """Where every stack of this user finds the jars."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "feedmill" / f"kafka-{read_lock().kafka}"


def class_path(folder: Path | None = None) -> str:
    """Fetch what is missing, check every jar, and return Java's class path.

    Raises
    ------
    LocalStackError
        A jar is altered, or cannot be fetched.
    """
    folder = default_cache() if folder is None else folder
    jars = read_lock().jars
    if _missing(jars, folder):
        _fetch_missing(jars, folder, fetch_from_maven)
    for jar in jars:
        _check(jar, folder / jar.name)
    return os.pathsep.join(str(folder / jar.name) for jar in jars)


def fetch_from_maven(jar: Jar, scratch: Path) -> Path:
    """Fetch one jar into the scratch folder, with jgo's resolver and the user's jgo settings."""
    from jgo.config import GlobalSettings  # noqa: PLC0415 (slow import, needed once a machine)
    from jgo.constants import MAVEN_CENTRAL_URL  # noqa: PLC0415 - as above
    from jgo.maven import MavenContext, PythonResolver  # noqa: PLC0415 - as above

    maven = MavenContext(
        resolver=PythonResolver(),
        repo_cache=scratch,
        remote_repos={"central": MAVEN_CENTRAL_URL, **GlobalSettings.load().repositories},
    )
    component = maven.project(jar.group, jar.artifact).at_version(jar.version)
    return Path(component.artifact().resolve())


def _missing(jars: Sequence[Jar], folder: Path) -> list[Jar]:
    return [jar for jar in jars if not (folder / jar.name).exists()]


def _fetch_missing(jars: Sequence[Jar], folder: Path, fetch: Fetch) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / ".lock", "fetches Kafka"):
        missing = _missing(jars, folder)
        if not missing:
            return
        _log.info(
            "fetching Apache Kafka %s, once: %d jars into %s",
            read_lock().kafka,
            len(missing),
            folder,
        )
        for left_by_a_killed_fetch in folder.glob(".fetch-*"):
            shutil.rmtree(left_by_a_killed_fetch)
        # On the same file system, so that a jar appears whole or not at all.
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch,
            ThreadPoolExecutor(_FETCHERS) as pool,
        ):
            tasks = [pool.submit(_fetch_one, jar, folder, Path(scratch), fetch) for jar in missing]
            try:
                for done, task in enumerate(as_completed(tasks), 1):
                    task.result()
                    if done % 20 == 0 or done == len(tasks):
                        _log.info("  %d of %d", done, len(tasks))
            finally:
                pool.shutdown(cancel_futures=True)


def _fetch_one(jar: Jar, folder: Path, scratch: Path, fetch: Fetch) -> None:
    try:
        fetched = fetch(jar, scratch)
    except ImportError as error:
        raise LocalStackError(
            f"cannot fetch Kafka: {error}; install what the local stack needs:"
            " pip install 'feedmill[local]'"
        ) from error
    except Exception as error:  # jgo lets through its own, requests' and the system's
        raise LocalStackError(
            f"cannot fetch {jar.group}:{jar.artifact}:{jar.version} from Maven Central: {error};"
            " check the network, or name a mirror in jgo's settings; what is fetched is kept"
        ) from error
    _check(jar, fetched)
    fetched.replace(folder / jar.name)


def _check(jar: Jar, path: Path) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != jar.sha256:
        raise LocalStackError(
            f"{path} is not the jar that kafka.lock.json names: expected sha256 {jar.sha256},"
            f" found {found}; it is altered or broken, nothing was started; remove it"
            " to have it fetched again"
        )

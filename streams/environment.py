"""The settings of a process: read from variables `FEEDMILL_…` once at start, and checked."""

from __future__ import annotations

import os
import re
import socket
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from feedmill.events.errors import UsageError
from feedmill.events.signal import SignalNames
from feedmill.filters.registry import FILTERS
from feedmill.models.store_files import Store, parse_store
from feedmill.streams.security import (
    SECRET_FILES,
    read_security,
    redis_url,
    secret,
    shown_address,
    variable_of,
)

# An examination curve has at most so many positions.
MOST_POSITIONS = 1_000
_MIB = 1024 * 1024


@dataclass(frozen=True)
class Environment:
    """Where a process finds Kafka, Redis and models, and how it behaves.

    The variable of an attribute is ``FEEDMILL_`` and its name in capitals; the defaults are those
    of the variables.

    Attributes
    ----------
    kafka
        Bootstrap servers ``host:port[,host:port…]``.
    redis
        A url ``redis://``, ``rediss://`` or ``unix://``, ``redis+cluster://`` or
        ``rediss+cluster://``, with user and password if needed.
    topic_prefix, redis_prefix
        Come before every topic and consumer group, and before every key and channel: several
        installations can share servers.
    signals
        The gates and objectives, the built-in ones and those that FEEDMILL_SIGNALS declares.
    models
        The store of models, a folder or `s3://bucket/prefix`; None for those that ship.
    host, port
        Where `/healthz`, `/readyz` and `/metrics` listen. Port 0 is any free one, None is off.
    reader_port, reader_tokens
        Where a reader listens, and the file of those who may ask it; "": everybody on this machine.
    batch_records
        The most records that a stage processes at once.
    session_timeout_ms
        How long Kafka waits for a silent worker before it reassigns its partitions.
    flagged_cap
        The largest fraction of a source's posts that a filter may hide; above it, it demotes.
    rescore_rate
        How many earlier posts a second each text model scores again after a release; 0: none.
    user_window
        How many of the latest engagements of a partition say, at least, whether a user repeats.
    burst_reactions
        How many reactions of one kind of a post count in a minute, whatever explains them.
    memory_mib
        How much a worker keeps beside its live posts: of records that wait in it, in either way.
    feature_share
        Of which part of its values the engagement stage logs what its model read; 0: of none.
    examination
        How much each position of a feed is looked at, compared with the first; empty: all alike.
    instance, instance_is_given
        The name of this process on `instances` and in its metrics, and whether FEEDMILL_INSTANCE
        gave it. Then it is stable, and the process is a static member of its consumer group.
    security
        Settings for every Kafka client, of `CLIENT_SETTINGS`; not printed, they hold a password.
    secret_files
        The files that secrets were read from, by the variables that name them.
    """

    kafka: str = "127.0.0.1:9092"
    redis: str = field(default="redis://127.0.0.1:6379/0", repr=False)
    topic_prefix: str = ""
    redis_prefix: str = ""
    signals: SignalNames = field(default_factory=lambda: declared_signals(""))
    models: Store | None = None
    host: str = "127.0.0.1"
    port: int | None = None
    reader_port: int = 8090
    reader_tokens: str = ""
    batch_records: int = 2000
    session_timeout_ms: int = 10_000
    flagged_cap: float = 0.10
    rescore_rate: int = 500
    user_window: int = 250_000
    burst_reactions: int = 40
    memory_mib: int = 256
    examination: tuple[float, ...] = ()
    feature_share: float = 0.01
    instance: str = ""
    instance_is_given: bool = False
    security: Mapping[str, str] = field(default_factory=dict, repr=False)
    secret_files: Mapping[str, str] = field(default_factory=dict)

    @property
    def redis_address(self) -> str:
        """The url of Redis without user, password and query, for messages."""
        return shown_address(self.redis)

    @property
    def user(self) -> str:
        """Who signs in to Kafka, for messages; "" where nobody does."""
        name = self.security.get("sasl_plain_username")
        certificate = self.security.get("ssl_certfile")
        return f"`{name}`" if name else f"of {certificate}" if certificate else ""

    def topic(self, name: str) -> str:
        """The full name of a topic: with the prefix."""
        return self.topic_prefix + name

    def group(self, stage: str) -> str:
        """The consumer group of a stage."""
        return self.topic_prefix + stage

    def named(self, topic: str) -> str:
        """The name of a topic without the prefix, from its full name."""
        return topic.removeprefix(self.topic_prefix)


def read_environment(variables: Mapping[str, str] | None = None) -> Environment:
    """Read the settings from `variables`, by default those of the process.

    A variable that is not set, or empty, leaves the default; the addresses may not be empty.

    Raises `UsageError`: a value is wrong; the text has the variable, what is expected, and the
    value. Raises `BadCredentials`: so is how to sign in to Kafka or Redis.
    """
    variables = os.environ if variables is None else variables
    files = {variable_of(f"{name}_file"): "" for name in SECRET_FILES}
    files = {name: path for name in files if (path := variables.get(name, ""))}
    if variable_of("redis_file") in files:
        variables = {**variables, variable_of("redis"): secret(variables, "redis") or ""}
    given: dict[str, Any] = {}
    for attribute, parse in _PARSERS.items():
        name = variable_of(attribute)
        text = variables.get(name, "")
        if text or (name in variables and attribute in _NEVER_EMPTY):
            given[attribute] = parse(name, text)
    given["instance_is_given"] = "instance" in given
    given.setdefault("instance", _generated_instance())
    given["security"] = read_security(variables)
    given["redis"] = redis_url(given.get("redis", Environment.redis), variables)
    return Environment(**given, secret_files=files)


def environment_variables(environment: Environment) -> dict[str, str]:
    """The variables from which a child process reads the same `Environment`.

    Two are left out: each process has its own `instance`, and only a supervisor listens on `port`.
    """
    handed_down = [name for name in _PARSERS if name not in ("instance", "port")]
    variables = {name: _text_of(getattr(environment, name)) for name in handed_down}
    variables |= {f"kafka_{name}": text for name, text in environment.security.items()}
    handed = {variable_of(attribute): text for attribute, text in variables.items()}
    for name in map(variable_of, SECRET_FILES):
        # A child reads the file by itself, so that no secret stands in its environment.
        handed[f"{name}_FILE"] = environment.secret_files.get(f"{name}_FILE", "")
        if handed[f"{name}_FILE"]:
            handed[name] = ""
    return handed


def _text_of(value: Any) -> str:
    """What a variable says so that its parser gives this value."""
    if isinstance(value, SignalNames):
        return _declaration(value)
    if isinstance(value, tuple):
        return ",".join(map(repr, value))
    return "" if value is None else str(value)


def _generated_instance() -> str:
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:40]
    return f"{host}-{os.getpid()}-{uuid.uuid4().hex[:4]}"


def _declaration(signals: SignalNames) -> str:
    """The declared signals as FEEDMILL_SIGNALS has them."""
    built_in = SignalNames().all
    of_role = {"gate": signals.gates, "objective": signals.objectives, "cost": signals.costs}
    return ",".join(
        f"{name}:{role}"
        for role, names in of_role.items()
        for name in names
        if name not in built_in
    )


# --- parsers: each gets the variable's name, for the error, and its text ------------------------


def _bootstrap_servers(variable: str, text: str) -> str:
    for server in text.split(","):
        host, _, port = server.strip().rpartition(":")
        if not host or not port.isdigit():
            raise UsageError(f"{variable}: expected host:port[,host:port…], got {text!r}")
    return text


def _redis_url(variable: str, text: str) -> str:
    one_server = ("redis://", "rediss://", "unix://")
    if not text.startswith((*one_server, "redis+cluster://", "rediss+cluster://")):
        raise UsageError(
            f"{variable}: expected redis://host:port/db, rediss://host:port/db, unix://path, or"
            " redis+cluster://host:port,host:port of a cluster, rediss+cluster:// with TLS,"
            f" got {shown_address(text)!r}"
        )
    return text


def _name_part(variable: str, text: str) -> str:
    """What becomes part of names in Kafka."""
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,64}", text):
        raise UsageError(
            f"{variable}: expected at most 64 letters, digits, `.`, `_` and `-`, got {text!r}"
        )
    return text


def _any_text(_variable: str, text: str) -> str:
    return text


def _signals(_variable: str, text: str) -> SignalNames:
    return declared_signals(text)


def declared_signals(declaration: str) -> SignalNames:
    """The built-in and the declared signals, with the gates of the filters that are registered.

    Raises `UsageError`, as `SignalNames.parse` does.
    """
    policies = {name: spec.gate for name, spec in FILTERS.items()}
    return SignalNames.parse(declaration).with_filters(policies)


def _store(variable: str, text: str) -> Store:
    try:
        store = parse_store(text)
    except UsageError as error:
        raise UsageError(f"{variable}: {error}") from None
    # One that is not there yet is made by commands that write, and refused by a worker.
    if isinstance(store, Path) and store.exists() and not store.is_dir():
        raise UsageError(
            f"{variable}: expected a folder of models or s3://bucket/prefix, got {text!r}, which is"
            " no folder"
        )
    return store


def _whole_number(least: int, most: int) -> Callable[[str, str], int]:
    def parse(variable: str, text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise UsageError(
                f"{variable}: expected a whole number from {least} to {most}, got {text!r}"
            )
        return int(text)

    return parse


def _fraction(variable: str, text: str) -> float:
    try:
        fraction = float(text)
    except ValueError:
        fraction = -1.0
    if not 0.0 <= fraction <= 1.0:
        raise UsageError(f"{variable}: expected a number from 0 to 1, got {text!r}")
    return fraction


def _examination(variable: str, text: str) -> tuple[float, ...]:
    try:
        curve = tuple(float(part) for part in text.split(","))
    except ValueError:
        curve = ()
    if not 1 <= len(curve) <= MOST_POSITIONS or not all(0.0 < share <= 10.0 for share in curve):
        raise UsageError(
            f"{variable}: expected 1 to {MOST_POSITIONS} numbers above 0 and at most 10, with"
            f" commas, got {text!r}"
        )
    return curve


# By attribute of `Environment`.
_PARSERS: Mapping[str, Callable[[str, str], Any]] = {
    "kafka": _bootstrap_servers,
    "redis": _redis_url,
    "topic_prefix": _name_part,
    "redis_prefix": _any_text,
    "signals": _signals,
    "models": _store,
    "host": _any_text,
    "port": _whole_number(0, 65_535),
    "reader_port": _whole_number(0, 65_535),
    "reader_tokens": _any_text,
    "batch_records": _whole_number(1, 100_000),
    "session_timeout_ms": _whole_number(6_000, 1_800_000),
    "flagged_cap": _fraction,
    "rescore_rate": _whole_number(0, 1_000_000),
    "user_window": _whole_number(1_000, 100_000_000),
    "burst_reactions": _whole_number(1, 1_000_000_000),
    "memory_mib": _whole_number(64, 65_536),
    "examination": _examination,
    "feature_share": _fraction,
    "instance": _name_part,
}
# An empty address is a mistake, as of a template: the default would be another server.
_NEVER_EMPTY = ("kafka", "redis")


@dataclass(frozen=True)
class MemoryShares:
    """A worker's limit of memory, FEEDMILL_MEMORY_MIB, shared out to the places where records wait.

    Keys count like values, and what a record costs beside them counts too: a flood of tombstones
    is nothing else.  librdkafka counts values alone, so its queues are bounded by records, too: a
    consumer asks for no more while so many wait to be taken.

    Attributes
    ----------
    fetch_bytes
        What one fetch brings, compressed: all of it is inflated at once, and a byte may become
        24,000.  A batch that is larger comes alone.
    waiting_records
        While so many records wait to be taken, no more are fetched: each may have a key of 1 MiB.
    backlog_bytes
        Posts that wait for those of other partitions.
    uncommitted_bytes
        What is not committed yet, dead letters left out.
    letter_bytes
        Dead letters that are not committed yet, or wait until this worker may write them.
    """

    fetch_bytes: int
    waiting_records: int
    backlog_bytes: int
    uncommitted_bytes: int
    letter_bytes: int


def memory_shares(environment: Environment) -> MemoryShares:
    """Share out the limit of a process."""
    limit = environment.memory_mib * _MIB
    return MemoryShares(
        fetch_bytes=limit // 32_768,
        waiting_records=limit // 4 // _MIB,
        backlog_bytes=limit // 8,
        uncommitted_bytes=limit // 4,
        letter_bytes=limit // 32,
    )

"""The settings of a process: from the environment and flags, validated once at start."""

from __future__ import annotations

import os
import re
import socket
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from feedmill.events.errors import UsageError
from feedmill.events.signal import SignalNames
from feedmill.filters.registry import FILTERS

_PREFIX = re.compile(r"[A-Za-z0-9._-]{0,64}\Z")
_STAGE_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")

# What `FEEDMILL_KAFKA_*` may set, and how each client spells it.
_SECURITY = (
    "security_protocol",
    "sasl_mechanism",
    "sasl_plain_username",
    "sasl_plain_password",
    "ssl_cafile",
    "ssl_certfile",
    "ssl_keyfile",
)


@dataclass(frozen=True)
class Environment:
    """Where a process finds everything, and how it may behave.

    Attributes
    ----------
    kafka, redis
        Bootstrap servers ``host:port[,host:port]`` and a ``redis://`` or ``rediss://`` url.
    topic_prefix, redis_prefix
        Stand before every topic, group and key; one installation beside another.
    signals
        Gates and objectives, the built-in ones and those of `FEEDMILL_SIGNALS`.
    models
        The model store; None: the models that ship with feedmill.
    host, port
        Where `/healthz`, `/readyz` and `/metrics` listen; port 0: any free one, None: nowhere.
    batch_records
        The most records a stage takes in one go.
    session_timeout_ms
        How long a killed worker's partitions stay dark.
    flagged_cap
        The share of a source's posts that a filter may flag before it demotes instead of hiding.
    instance, instance_is_given
        The name of this process on `instances`, and whether `FEEDMILL_INSTANCE` gave it: then
        it is stable, and the process a static member of its consumer group.
    security
        What goes to every Kafka client as it is (`security_protocol`, `sasl_…`, `ssl_…`).
    """

    kafka: str = "127.0.0.1:9092"
    redis: str = "redis://127.0.0.1:6379/0"
    topic_prefix: str = ""
    redis_prefix: str = ""
    signals: SignalNames = field(default_factory=SignalNames)
    models: Path | None = None
    host: str = "127.0.0.1"
    port: int | None = None
    batch_records: int = 2000
    session_timeout_ms: int = 10_000
    flagged_cap: float = 0.10
    instance: str = ""
    instance_is_given: bool = False
    security: Mapping[str, str] = field(default_factory=dict, repr=False)

    def topic(self, name: str) -> str:
        """The full name of a topic."""
        return self.topic_prefix + name

    def group(self, stage: str) -> str:
        """The consumer group of a stage."""
        return self.topic_prefix + stage

    def named(self, topic: str) -> str:
        """A topic's name without the prefix."""
        return topic.removeprefix(self.topic_prefix)


def read_environment(environ: Mapping[str, str] | None = None) -> Environment:
    """Read `FEEDMILL_…`; raises `UsageError` naming the variable, what was expected and found."""
    env = os.environ if environ is None else environ
    return Environment(
        kafka=_address(env),
        redis=_redis(env),
        topic_prefix=_matching(env, "FEEDMILL_TOPIC_PREFIX", _PREFIX),
        redis_prefix=env.get("FEEDMILL_REDIS_PREFIX", ""),
        signals=_signals(env),
        models=_folder(env, "FEEDMILL_MODELS"),
        host=env.get("FEEDMILL_HOST", "127.0.0.1"),
        port=_number(env, "FEEDMILL_PORT", 0, 65_535, None),
        batch_records=_number(env, "FEEDMILL_BATCH_RECORDS", 1, 100_000, 2000) or 2000,
        session_timeout_ms=_number(env, "FEEDMILL_SESSION_TIMEOUT_MS", 6_000, 1_800_000, 10_000)
        or 10_000,
        flagged_cap=_share(env, "FEEDMILL_FLAGGED_CAP", 0.10),
        instance=_matching(env, "FEEDMILL_INSTANCE", _STAGE_NAME) or _instance_name(),
        instance_is_given=bool(env.get("FEEDMILL_INSTANCE")),
        security={
            name: env[f"FEEDMILL_KAFKA_{name.upper()}"]
            for name in _SECURITY
            if f"FEEDMILL_KAFKA_{name.upper()}" in env
        },
    )


def environment_variables(environment: Environment) -> dict[str, str]:
    """What a child process must find in its environment to read the same `Environment`."""
    declared = [f"{name}:gate" for name in environment.signals.gates[3:]]
    declared += [f"{name}:objective" for name in environment.signals.objectives[2:]]
    found = {
        "FEEDMILL_KAFKA": environment.kafka,
        "FEEDMILL_REDIS": environment.redis,
        "FEEDMILL_TOPIC_PREFIX": environment.topic_prefix,
        "FEEDMILL_REDIS_PREFIX": environment.redis_prefix,
        "FEEDMILL_SIGNALS": ",".join(declared),
        "FEEDMILL_HOST": environment.host,
        "FEEDMILL_BATCH_RECORDS": str(environment.batch_records),
        "FEEDMILL_SESSION_TIMEOUT_MS": str(environment.session_timeout_ms),
        "FEEDMILL_FLAGGED_CAP": repr(environment.flagged_cap),
    }
    if environment.models is not None:
        found["FEEDMILL_MODELS"] = str(environment.models)
    found.update({f"FEEDMILL_KAFKA_{k.upper()}": v for k, v in environment.security.items()})
    return found


def _signals(env: Mapping[str, str]) -> SignalNames:
    declared = SignalNames.declared(env.get("FEEDMILL_SIGNALS", ""))
    return declared.with_filters({name: spec.gate for name, spec in FILTERS.items()})


def _instance_name() -> str:
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:40]
    return f"{host}-{os.getpid()}-{uuid.uuid4().hex[:4]}"


def _address(env: Mapping[str, str]) -> str:
    address = env.get("FEEDMILL_KAFKA", Environment.kafka)
    for part in address.split(","):
        host, _, port = part.strip().rpartition(":")
        if not host or not port.isdigit():
            raise UsageError(f"FEEDMILL_KAFKA: expected host:port[,host:port], got {address!r}")
    return address


def _redis(env: Mapping[str, str]) -> str:
    url = env.get("FEEDMILL_REDIS", Environment.redis)
    if not url.startswith(("redis://", "rediss://", "unix://")):
        shown = url if "@" not in url else "…@" + url.rpartition("@")[2]
        raise UsageError(f"FEEDMILL_REDIS: expected redis://host:port/db, got {shown!r}")
    return url


def _matching(env: Mapping[str, str], name: str, pattern: re.Pattern[str]) -> str:
    value = env.get(name, "")
    if value and not pattern.match(value):
        raise UsageError(f"{name}: expected letters, digits, `.`, `_` and `-`, got {value!r}")
    return value


def _number(
    env: Mapping[str, str], name: str, least: int, most: int, default: int | None
) -> int | None:
    text = env.get(name, "")
    if not text:
        return default
    if not text.isdecimal() or not least <= int(text) <= most:
        raise UsageError(f"{name}: expected a whole number from {least} to {most}, got {text!r}")
    return int(text)


def _share(env: Mapping[str, str], name: str, default: float) -> float:
    text = env.get(name, "")
    try:
        share = float(text) if text else default
    except ValueError:
        share = -1.0
    if not 0.0 <= share <= 1.0:
        raise UsageError(f"{name}: expected a number from 0 to 1, got {text!r}")
    return share


def _folder(env: Mapping[str, str], name: str) -> Path | None:
    text = env.get(name, "")
    if not text:
        return None
    folder = Path(text)
    if not folder.is_dir():
        raise UsageError(f"{name}: expected a folder with models, {text!r} is none")
    return folder

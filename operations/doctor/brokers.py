"""What is wrong with the brokers: addresses, replicas, and settings that workers depend on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from feedmill.operations.doctor.finding import Finding, Severity, some_of
from feedmill.operations.doctor.installation import Installation
from feedmill.streams.kafka.client import TRANSACTION_TIMEOUT_MS
from feedmill.streams.kafka.topic_table import DEAD_LETTER_BYTES, HOUR_MS, MINUTE_MS

_INTERNAL = {
    "__consumer_offsets": "offsets.topic.replication.factor",
    "__transaction_state": "transaction.state.log.replication.factor",
}
# Offsets of stopped workers outlive the longest built-in window.
_LEAST_OFFSETS_MS = 168 * HOUR_MS
# The first with which all was seen to work that feedmill asks of brokers.
_LEAST_VERSION = (3, 0)
_ANY = 2**31
_RESTART = "in the broker's server.properties, and restart it"


def addresses(inst: Installation) -> Iterator[Finding]:
    """Every bootstrap server and every advertised address takes connections."""
    advertised = set(inst.brokers.values())
    for address, reason in inst.refused.items():
        if address in advertised:
            yield Finding(
                "addresses",
                "wrong",
                f"a broker advertises an address that cannot be reached from here: {reason}",
                address,
                "set its advertised.listeners to an address that this host and all workers reach,"
                " and restart the broker",
            )
        else:
            yield Finding(
                "addresses",
                "warn",
                f"one of the bootstrap servers cannot be reached: {reason}",
                address,
                "start that broker, or take the address out of FEEDMILL_KAFKA or --kafka",
            )


def leaders(inst: Installation) -> Iterator[Finding]:
    """Every partition has a leader, and enough replicas that keep up."""
    lost, short, behind = set[str](), set[str](), set[str]()
    for name, topic in inst.topics.items():
        least = int(topic.settings.get("min.insync.replicas", "1"))
        full = inst.environment.topic(name) if name in inst.table else name
        if any(leader < 0 for leader in topic.leaders.values()):
            lost.add(full)
        elif any(len(brokers) < least for brokers in topic.in_sync.values()):
            short.add(full)
        elif any(len(topic.in_sync[n]) < len(found) for n, found in topic.replicas.items()):
            behind.add(full)
    kinds: tuple[tuple[Severity, str, set[str]], ...] = (
        ("wrong", "partitions have no leader, so nobody reads or writes them", lost),
        ("wrong", "fewer replicas keep up than min.insync.replicas: writes are refused", short),
        ("warn", "replicas are down or behind", behind),
    )
    for severity, what, names in kinds:
        if names:
            yield Finding(
                "leaders",
                severity,
                what,
                f"topics {some_of(names)}",
                "start the brokers that are down; `kafka-topics.sh --bootstrap-server"
                f" {inst.environment.kafka} --describe --under-replicated-partitions` names them",
            )


def replicas(inst: Installation) -> Iterator[Finding]:
    """With several brokers, the loss of one loses nothing and stops nothing."""
    brokers = len(inst.brokers)
    single, unsafe, rigid = [], [], []
    for name, topic in inst.topics.items():
        count = min(map(len, topic.replicas.values()), default=0)
        least = int(topic.settings.get("min.insync.replicas", "1"))
        if brokers > 1 and count == 1:
            single.append(name)
        elif count > 2 and least < 2:
            unsafe.append(name)
        elif count > 1 and least == count:
            rigid.append(name)
    where = f"Kafka at {inst.environment.kafka}, {brokers} brokers"
    if single:
        yield Finding(
            "replicas",
            "warn",
            f"one replica, so that the loss of one broker loses the topic: {some_of(single)}",
            where,
            f"raise it to {min(3, brokers)} with kafka-reassign-partitions.sh; new installations"
            f" with {inst.command(f'topics create --replicas {min(3, brokers)}')}",
        )
    if unsafe:
        yield Finding(
            "replicas",
            "warn",
            f"min.insync.replicas is 1, so a record that one broker alone has is acknowledged:"
            f" {some_of(unsafe)}",
            where,
            _alter(inst, unsafe[0], "min.insync.replicas=2") + ", and so for the others",
        )
    if rigid:
        yield Finding(
            "replicas",
            "warn",
            f"min.insync.replicas is the number of replicas, so one broker that is away stops all"
            f" writes: {some_of(rigid)}",
            where,
            _alter(inst, rigid[0], "min.insync.replicas=1") + ", or give the topic more replicas",
        )


def internal_topics(inst: Installation) -> Iterator[Finding]:
    """Kafka can make the topics that it keeps offsets and transactions in."""
    brokers = len(inst.brokers)
    for name, setting in _INTERNAL.items():
        wanted = _number(inst, setting)
        if wanted is not None and wanted > brokers and name not in inst.topics:
            yield Finding(
                "internal topics",
                "wrong",
                f"{setting} is {wanted} and there are {brokers} brokers: Kafka cannot make {name},"
                " and no worker joins its group or commits",
                f"Kafka at {inst.environment.kafka}",
                f"set {setting}={brokers} {_RESTART}, or start {wanted} brokers",
            )
    least, count = _number(inst, "transaction.state.log.min.isr"), brokers
    if state := inst.topics.get("__transaction_state"):
        count = min(map(len, state.replicas.values()), default=brokers)
    if least is not None and least > count:
        yield Finding(
            "internal topics",
            "wrong",
            f"transaction.state.log.min.isr is {least}, and __transaction_state can have {count}"
            " replicas: no transaction begins",
            f"Kafka at {inst.environment.kafka}",
            f"set transaction.state.log.min.isr={max(1, count - 1)} {_RESTART}",
        )


def broker_settings(inst: Installation) -> Iterator[Finding]:
    """Settings of brokers leave room for what workers do."""
    for bound in _bounds(inst.environment.session_timeout_ms):
        value = _number(inst, bound.setting)
        if value is not None and not bound.least <= value <= bound.most:
            yield _setting(inst, "wrong", bound.setting, value, bound.harm, bound.way_out)
    minutes = _number(inst, "offsets.retention.minutes")
    if minutes is not None and minutes * MINUTE_MS < _LEAST_OFFSETS_MS:
        what = (
            "Kafka forgets the positions of workers that are stopped for longer, within the week"
            " that a feed goes back; they then read all posts again"
        )
        least = _LEAST_OFFSETS_MS // MINUTE_MS
        yield _setting(
            inst,
            "warn",
            "offsets.retention.minutes",
            minutes,
            what,
            f"set it to {least} {_RESTART}",
        )


def broker_switches(inst: Installation) -> Iterator[Finding]:
    """No broker makes topics by itself, and each compacts."""
    if _text(inst, "auto.create.topics.enable") == "true":
        yield _setting(
            inst,
            "warn",
            "auto.create.topics.enable",
            "true",
            "a name that is mistyped makes a topic, with none of the settings that it needs",
            f"set it to false {_RESTART}",
        )
    if _text(inst, "log.cleaner.enable") == "false":
        yield _setting(
            inst,
            "wrong",
            "log.cleaner.enable",
            "false",
            "nothing is compacted: every start reads all that was ever written within a week",
            f"set it to true {_RESTART}",
        )


def broker_version(inst: Installation) -> Iterator[Finding]:
    """Brokers know the requests that feedmill sends."""
    for node, address in inst.brokers.items():
        version = tuple(inst.admin.get_broker_version_data(node).broker_version)
        if version < _LEAST_VERSION:
            found = ".".join(map(str, version))
            least = ".".join(map(str, _LEAST_VERSION))
            yield Finding(
                "broker version",
                "wrong",
                f"Kafka {found} knows no ids of topics and does not list transactions, which"
                f" workers and `feedmill topics` ask for: {least} is the first",
                address,
                f"upgrade the broker to {least} or later",
            )


class _Bound(NamedTuple):
    """What a setting of a broker may be, what is wrong otherwise, and the way out."""

    setting: str
    least: int
    most: int
    harm: str
    way_out: str


def _bounds(session_ms: int) -> Iterator[_Bound]:
    yield _Bound(
        "transaction.max.timeout.ms",
        TRANSACTION_TIMEOUT_MS,
        _ANY,
        f"below the {TRANSACTION_TIMEOUT_MS} of workers' transactions: none starts",
        f"set it to 900000 {_RESTART}",
    )
    yield _Bound(
        "group.max.session.timeout.ms",
        session_ms,
        _ANY,
        f"below FEEDMILL_SESSION_TIMEOUT_MS {session_ms}: no worker joins its group",
        f"raise it {_RESTART}, or lower FEEDMILL_SESSION_TIMEOUT_MS",
    )
    yield _Bound(
        "group.min.session.timeout.ms",
        0,
        session_ms,
        f"above FEEDMILL_SESSION_TIMEOUT_MS {session_ms}: no worker joins its group",
        f"lower it {_RESTART}, or raise FEEDMILL_SESSION_TIMEOUT_MS",
    )
    yield _Bound(
        "socket.request.max.bytes",
        DEAD_LETTER_BYTES,
        _ANY,
        f"below the {DEAD_LETTER_BYTES} of a dead letter: its request is refused",
        f"set it to 104857600 {_RESTART}",
    )


def _setting(
    inst: Installation, severity: Severity, name: str, value: object, harm: str, way_out: str
) -> Finding:
    return Finding(
        "broker settings",
        severity,
        f"{name} is {value}: {harm}",
        f"Kafka at {inst.environment.kafka}",
        way_out,
    )


def _text(inst: Installation, name: str) -> str:
    """Return a setting of the first broker that has it."""
    found = (settings[name] for settings in inst.broker_settings.values() if name in settings)
    return next(found, "")


def _number(inst: Installation, name: str) -> int | None:
    text = _text(inst, name)
    return int(text) if text.lstrip("-").isdigit() else None


def _alter(inst: Installation, topic: str, setting: str) -> str:
    name = inst.environment.topic(topic) if topic in inst.table else topic
    return (
        f"`kafka-configs.sh --bootstrap-server {inst.environment.kafka} --alter --entity-type"
        f" topics --entity-name {name} --add-config {setting}`"
    )

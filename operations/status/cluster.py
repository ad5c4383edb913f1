"""What is wrong with brokers and topics: addresses, replicas, partitions, settings, ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from difflib import SequenceMatcher
from typing import NamedTuple

from feedmill.operations.status.finding import Finding, Severity, some_of
from feedmill.operations.status.installation import Installation, Topic
from feedmill.streams.kafka.client import TRANSACTION_TIMEOUT_MS
from feedmill.streams.kafka.offsets import decode_mark
from feedmill.streams.kafka.topic_ids import INPUTS
from feedmill.streams.kafka.topic_table import DEAD_LETTER_BYTES, HOUR_MS, MINUTE_MS

# Offsets of stopped workers outlive the longest built-in window.
_LEAST_OFFSETS_MINUTES = 168 * HOUR_MS // MINUTE_MS
# The first with which all was seen to work that feedmill asks of brokers.
_LEAST_VERSION = (3, 0)
_ANY = 2**31
# What each setting is for, where another value loses or hides records; of the others one says so.
_MEANINGS = {
    "message.timestamp.type": "the clocks of producers decide windows and freshness",
    "compression.type": "a batch of another codec may inflate without a bound in every reader",
    "cleanup.policy": "records are kept for another time than readers expect",
    "retention.ms": "records go before their window ends",
    "retention.bytes": "records go by size, whatever their age",
    "max.message.bytes": "records that the contract allows are refused",
    "min.compaction.lag.ms": "versions go that readers go back to at a restart",
    "delete.retention.ms": "readers that were away miss deletions",
}
# Of these more is as good.
_AT_LEAST = ("retention.ms", "max.message.bytes", "min.compaction.lag.ms", "delete.retention.ms")
# What no worker reads, and none writes unless there is a challenger.
_NOT_OF_WORKERS = {"exposures", "labels", "shadow", "rankings", "follows"}
# What the age of a post in a feed rests on.
_WINDOWED = ("posts", "engagements", "counters")


def addresses(inst: Installation) -> Iterator[Finding]:
    """Every bootstrap server and every advertised address takes connections."""
    advertised = set(inst.brokers.values())
    for address, reason in inst.refused.items():
        if address in advertised:
            yield Finding(
                "wrong",
                f"a broker advertises an address that cannot be reached from here: {reason}",
                address,
                "set its advertised.listeners to an address that this host and all workers reach,"
                " and restart the broker",
            )
        else:
            yield Finding(
                "warn",
                f"one of the bootstrap servers cannot be reached: {reason}",
                address,
                "start that broker, or take the address out of FEEDMILL_KAFKA or --kafka",
            )


def replicas(inst: Installation) -> Iterator[Finding]:
    """Every partition has a leader, and the loss of a broker loses nothing and stops nothing."""
    kafka, brokers = inst.environment.kafka, len(inst.brokers)
    topics: dict[str, list[str]] = defaultdict(list)
    for name, topic in inst.topics.items():
        full = inst.environment.topic(name) if name in inst.table else name
        if kind := _weakness(topic, brokers):
            topics[kind].append(full)
    start = "start the brokers that are down; `kafka-topics.sh --bootstrap-server"
    start += f" {kafka} --describe --under-replicated-partitions` names them"
    alter = (
        f"`kafka-configs.sh --bootstrap-server {kafka} --alter --entity-type topics --entity-name"
    )
    more = (
        f"raise it to {min(3, brokers)} with kafka-reassign-partitions.sh; new installations with"
    )
    more += f" {inst.command(f'topics create --replicas {min(3, brokers)}')}"
    ways_out = {_LOST: start, _SHORT: start, _BEHIND: start, _SINGLE: more}
    for kind, names in topics.items():
        in_sync = 2 if kind == _UNSAFE else 1
        other = f"{alter} {names[0]} --add-config min.insync.replicas={in_sync}`, and so for others"
        yield Finding(
            "wrong" if kind in (_LOST, _SHORT) else "warn",
            kind,
            f"topics {some_of(names)} of {brokers} brokers",
            ways_out.get(kind, other),
        )


_LOST = "partitions have no leader, so nobody reads or writes them"
_SHORT = "fewer replicas keep up than min.insync.replicas: writes are refused"
_BEHIND = "replicas are down or behind"
_SINGLE = "one replica, so that the loss of one broker loses the topic"
_UNSAFE = "min.insync.replicas is 1, so a record that one broker alone has is acknowledged"
_RIGID = "min.insync.replicas is the number of replicas: one broker that is away stops all writes"


def _weakness(topic: Topic, brokers: int) -> str:
    """Return what is wrong with the replicas of a topic, the worst; "" for nothing."""
    least = int(topic.settings.get("min.insync.replicas", "1"))
    count = min(map(len, topic.replicas.values()), default=0)
    in_sync = min(map(len, topic.in_sync.values()), default=0)
    kinds = {
        _LOST: any(leader < 0 for leader in topic.leaders.values()),
        _SHORT: in_sync < least,
        _BEHIND: in_sync < count,
        _SINGLE: brokers > 1 and count == 1,
        _UNSAFE: count > 2 and least < 2,
        _RIGID: count > 1 and least == count,
    }
    return next((kind for kind, is_so in kinds.items() if is_so), "")


class _Bound(NamedTuple):
    """What a setting of a broker may be, a switch as 0 or 1; what is wrong otherwise."""

    severity: Severity
    setting: str
    least: int
    most: int
    to: object
    harm: str
    instead: str = ""


def broker_settings(inst: Installation) -> Iterator[Finding]:
    """Settings of brokers leave room for what workers do."""
    for bound in (*_bounds(inst.environment.session_timeout_ms), *_internal_bounds(inst)):
        text = inst.broker_settings.get(bound.setting, "")
        number = {"true": "1", "false": "0"}.get(text, text)
        if number.lstrip("-").isdigit() and not bound.least <= int(number) <= bound.most:
            yield Finding(
                bound.severity,
                f"{bound.setting} is {text}: {bound.harm}",
                f"Kafka at {inst.environment.kafka}",
                f"set {bound.setting}={bound.to} in the broker's server.properties, and restart it"
                f"{bound.instead}",
            )


def _bounds(session_ms: int) -> tuple[_Bound, ...]:
    session = f"FEEDMILL_SESSION_TIMEOUT_MS {session_ms}: no worker joins its group"
    other = "or change FEEDMILL_SESSION_TIMEOUT_MS"
    return (
        _Bound(
            *("wrong", "transaction.max.timeout.ms", TRANSACTION_TIMEOUT_MS, _ANY, 900_000),
            f"below the {TRANSACTION_TIMEOUT_MS} of workers' transactions: none starts",
        ),
        _Bound(
            *("wrong", "group.max.session.timeout.ms", session_ms, _ANY, session_ms),
            f"below {session}",
            f"; {other}",
        ),
        _Bound(
            *("wrong", "group.min.session.timeout.ms", 0, session_ms, session_ms),
            f"above {session}",
            f"; {other}",
        ),
        _Bound(
            *("wrong", "socket.request.max.bytes", DEAD_LETTER_BYTES, _ANY, 104_857_600),
            f"below the {DEAD_LETTER_BYTES} of a dead letter: its request is refused",
        ),
        _Bound(
            *("warn", "offsets.retention.minutes", _LEAST_OFFSETS_MINUTES, _ANY),
            _LEAST_OFFSETS_MINUTES,
            "Kafka forgets the positions of workers that are stopped for longer, within the week"
            " that a feed goes back; they then read all posts again",
        ),
        _Bound(
            *("warn", "auto.create.topics.enable", 0, 0, "false"),
            "a name that is mistyped makes a topic, with none of the settings that it needs",
        ),
        _Bound(
            *("wrong", "log.cleaner.enable", 1, 1, "true"),
            "nothing is compacted: every start reads all that was ever written within a week",
        ),
    )


def _internal_bounds(inst: Installation) -> Iterator[_Bound]:
    """What lets Kafka make the topics that it keeps offsets and transactions in."""
    brokers = len(inst.brokers)
    for name, setting in (
        ("__consumer_offsets", "offsets.topic.replication.factor"),
        ("__transaction_state", "transaction.state.log.replication.factor"),
    ):
        harm = f"there are {brokers} brokers, so Kafka cannot make {name}, and no worker joins its"
        most = _ANY if name in inst.topics else brokers
        more = "; or start more brokers"
        yield _Bound("wrong", setting, -1, most, brokers, f"{harm} group or commits", more)
    state = inst.topics.get("__transaction_state")
    count = brokers if state is None else min(map(len, state.replicas.values()), default=brokers)
    harm = f"__transaction_state can have {count} replicas: no transaction begins"
    yield _Bound("wrong", "transaction.state.log.min.isr", -1, count, max(1, count - 1), harm)


def broker_version(inst: Installation) -> Iterator[Finding]:
    """Brokers know the requests that feedmill sends."""
    for node, address in inst.brokers.items():
        version = tuple(inst.admin.get_broker_version_data(node).broker_version)
        if version < _LEAST_VERSION:
            found, least = (".".join(map(str, one)) for one in (version, _LEAST_VERSION))
            yield Finding(
                "wrong",
                f"Kafka {found} knows no ids of topics and does not list transactions, which"
                f" workers and `feedmill topics` ask for: {least} is the first",
                address,
                f"upgrade the broker to {least} or later",
            )


# --- topics ------------------------------------------------------------------------------------


def missing_topics(inst: Installation) -> Iterator[Finding]:
    """Every topic of the table exists, under this prefix."""
    environment = inst.environment
    missing = [name for name in inst.table if name not in inst.counts]
    if not environment.feature_share and "features" in missing:
        missing.remove("features")
    if not missing:
        return
    create = inst.command(f"topics create --partitions {inst.partitions}")
    others = [] if len(missing) < len(inst.table) else _other_prefixes(inst)
    if others:
        named = " or ".join(repr(one) for one in others[:3])
        yield Finding(
            "wrong",
            f"no topic has the prefix {environment.topic_prefix!r}; those of an installation are"
            f" under {named}",
            f"Kafka at {environment.kafka}",
            f"did you mean --prefix {others[0] or repr('')}, or FEEDMILL_TOPIC_PREFIX of it? A new"
            f" installation: {create}",
            is_stale=True,
        )
        return
    names = [environment.topic(name) for name in missing]
    is_needed = bool(set(missing) - _NOT_OF_WORKERS)
    yield Finding(
        "wrong" if is_needed else "warn",
        f"{len(missing)} of {len(inst.table)} topics are missing"
        + (", and no worker is ready without" if is_needed else "")
        + f": {some_of(names)}",
        f"Kafka at {environment.kafka}",
        create,
        is_stale=is_needed,
    )


def _other_prefixes(inst: Installation) -> list[str]:
    """Return the prefixes under which there are the topics of an installation, closest first."""
    names = set(inst.all_topics)
    prefixes = (name.removesuffix("posts") for name in sorted(names) if name.endswith("posts"))
    needed = ("engagements", "config", "instances", "feed-shards")
    found = [one for one in prefixes if all(one + name in names for name in needed)]
    given = inst.environment.topic_prefix
    return sorted(found, key=lambda one: -SequenceMatcher(None, one, given).ratio())


def partitions(inst: Installation) -> Iterator[Finding]:
    """Topics that are read together have equally many partitions."""
    counts, usual = inst.counts, inst.partitions
    for name, count in counts.items():
        expected = inst.table[name].count(usual)
        if count == expected:
            continue
        full = inst.environment.topic(name)
        yield Finding(
            "wrong",
            f"{count} partitions, and {expected} are needed"
            + (", as many as `posts` has" if inst.table[name].partitions == "P" else ""),
            f"topic `{full}`",
            "the number cannot change where records are; stop all workers. If the topic may go:"
            f" `kafka-topics.sh --bootstrap-server {inst.environment.kafka} --delete --topic"
            f" {full}`, then {inst.command(f'topics create --partitions {usual}')}. Else create the"
            " topics under a new prefix and replay into them",
        )


def topic_settings(inst: Installation) -> Iterator[Finding]:
    """Settings of topics are those of the table, or keep more."""
    differing: dict[tuple[Severity, str], list[str]] = defaultdict(list)
    for name, spec in inst.table.items():
        if name not in inst.topics:
            continue
        texts: dict[Severity, list[str]] = {"wrong": [], "warn": []}
        for setting, expected in spec.settings.items():
            found = inst.topics[name].settings.get(setting, "")
            if severity := _severity(setting, found, expected):
                meaning = f": {_MEANINGS[setting]}" if setting in _MEANINGS else ""
                texts[severity].append(
                    f"{setting} is {found or 'not set'}, expected {expected}{meaning}"
                )
        for severity, those in texts.items():
            if those:
                differing[severity, "; ".join(those)].append(inst.environment.topic(name))
    for (severity, text), names in differing.items():
        yield Finding(
            severity,
            text,
            f"topics {some_of(names)}",
            inst.command(f"topics create --apply --partitions {inst.partitions}"),
        )


def _severity(setting: str, found: str, expected: str) -> Severity | None:
    """Return how bad another value is; None where it does no harm."""
    # Kafka returns a list in an order of its own.
    if sorted(found.split(",")) == sorted(expected.split(",")):
        return None
    is_number = setting in _AT_LEAST and found.lstrip("-").isdigit()
    # -1 is without a limit.
    if is_number and (found == "-1" or (expected != "-1" and int(found) >= int(expected))):
        return None
    return "wrong" if setting in _MEANINGS else "warn"


def windows(inst: Installation) -> Iterator[Finding]:
    """No feed goes further back than records are kept."""
    kept_ms = {
        name: int(topic.settings.get("retention.ms", "-1"))
        for name, topic in inst.topics.items()
        if name in _WINDOWED or name.startswith("signals.")
    }
    for feed, spec in inst.config.settings.feeds.items():
        least_ms = spec.window_hours * HOUR_MS
        too_short = {name: ms for name, ms in kept_ms.items() if -1 < ms < least_ms}
        if too_short:
            hours = min(too_short.values()) // HOUR_MS
            yield Finding(
                "wrong",
                f"its window is {spec.window_hours:g} hours, and records are kept for {hours}"
                " hours: older posts leave it at the next restart",
                f"setting `feeds/{feed}`; topics {some_of(too_short)}",
                f"{inst.command(f'config set feeds/{feed} window_hours={hours}')}, or raise"
                " retention.ms of these topics with kafka-configs.sh",
            )


def undeclared_signals(inst: Installation) -> Iterator[Finding]:
    """Every signal that has a topic is declared, above all one that somebody writes."""
    start = inst.environment.topic("signals.")
    known = {inst.environment.topic(name) for name in inst.table}
    running = {beat.instance.stage: beat.instance for beat in inst.running.living}
    for full in inst.all_topics:
        if full.startswith(start) and full not in known:
            name = full.removeprefix(start)
            one = running.get(name)
            what = f"the topic of a signal that this process does not know: `{name}`"
            if one is not None:
                what += f", which instance {one.instance} on {one.host} writes"
            yield Finding(
                "warn" if one is None else "wrong",
                what,
                f"topic `{full}`",
                f"declare it to every process, `export FEEDMILL_SIGNALS={name}:objective` (or"
                f" {name}:gate), or remove the topic: `kafka-topics.sh --bootstrap-server"
                f" {inst.environment.kafka} --delete --topic {full}`",
            )


def recreated_topics(inst: Installation) -> Iterator[Finding]:
    """Every topic is the one that the groups of workers have read."""
    changed: set[str] = set()
    for group in inst.groups.values():
        for text in group.texts:
            for name, known in decode_mark(text).topics.items():
                present = inst.topics[name].id if name in inst.topics else ""
                if present != known and (present or name in inst.table):
                    changed.add(name)
    if changed:
        derived = ", with what was made of its records" if changed & set(INPUTS) else ""
        yield Finding(
            "wrong",
            "deleted, or deleted and created again, since workers read them: their offsets and"
            f" state are about other records: {some_of(changed)}",
            f"Kafka at {inst.environment.kafka}",
            f"stop all workers, then {inst.command('topics reset')}: it has them read from the"
            f" beginning{derived}; --dry-run says what it would do",
        )

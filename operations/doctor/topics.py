"""What is wrong with the topics: which there are, their partitions, settings and ids."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from difflib import SequenceMatcher

from feedmill.operations.doctor.finding import Finding, Severity, some_of
from feedmill.operations.doctor.installation import Installation
from feedmill.streams.kafka.offsets import decode_mark
from feedmill.streams.kafka.topic_ids import INPUTS
from feedmill.streams.kafka.topic_table import HOUR_MS, TopicSpec

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


def missing_topics(inst: Installation) -> Iterator[Finding]:
    """Every topic of the table exists, under this prefix."""
    environment = inst.environment
    missing = [name for name in inst.table if name not in inst.topics]
    if not environment.feature_share and "features" in missing:
        missing.remove("features")
    if not missing:
        return
    create = inst.command(f"topics create --partitions {inst.partitions}")
    others = [] if len(missing) < len(inst.table) else _other_prefixes(inst)
    if others:
        named = " or ".join(repr(one) for one in others[:3])
        yield Finding(
            "missing topics",
            "wrong",
            f"no topic has the prefix {environment.topic_prefix!r}; those of an installation are"
            f" under {named}",
            f"Kafka at {environment.kafka}",
            f"did you mean --prefix {others[0] or repr('')}, or FEEDMILL_TOPIC_PREFIX of it? A new"
            f" installation: {create}",
        )
        return
    names = [environment.topic(name) for name in missing]
    is_needed = bool(set(missing) - _NOT_OF_WORKERS)
    yield Finding(
        "missing topics",
        "wrong" if is_needed else "warn",
        f"{len(missing)} of {len(inst.table)} topics are missing"
        + (", and no worker is ready without" if is_needed else "")
        + f": {some_of(names)}",
        f"Kafka at {environment.kafka}",
        create,
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
    counts = {name: inst.topics[name].partitions for name in inst.table if name in inst.topics}
    varying = {n: c for n, c in counts.items() if inst.table[n].partitions == "P"}
    usual = counts.get("posts") or Counter(varying.values()).most_common(1)[0][0] if varying else 0
    for name, count in counts.items():
        expected = inst.table[name].count(usual)
        if count == expected:
            continue
        full = inst.environment.topic(name)
        yield Finding(
            "partitions",
            "wrong",
            f"{count} partitions, and {expected} are needed"
            + (", as many as `posts` has: one worker reads the same of both" if usual else ""),
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
            "topic settings",
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
    if setting in _AT_LEAST and found.lstrip("-").isdigit() and _is_more(found, expected):
        return None
    return "wrong" if setting in _MEANINGS else "warn"


def _is_more(found: str, expected: str) -> bool:
    """Whether a number keeps at least as much; -1 is without a limit."""
    return found == "-1" or (expected != "-1" and int(found) >= int(expected))


def windows(inst: Installation) -> Iterator[Finding]:
    """No feed goes further back than records are kept."""
    kept_ms = {name: _kept_ms(inst, name) for name in (*_WINDOWED, *_signals(inst.table))}
    if not kept_ms:
        return
    shortest = min(kept_ms, key=lambda name: kept_ms[name])
    hours = int(kept_ms[shortest] / HOUR_MS) if kept_ms[shortest] < float("inf") else 0
    for feed, spec in inst.config.settings.feeds.items():
        if spec.window_hours * HOUR_MS > kept_ms[shortest]:
            too_short = [name for name, ms in kept_ms.items() if ms < spec.window_hours * HOUR_MS]
            yield Finding(
                "windows",
                "wrong",
                f"its window is {spec.window_hours:g} hours, and records are kept for {hours}"
                " hours: older posts leave it at the next restart",
                f"setting `feeds/{feed}`; topics {some_of(too_short)}",
                f"{inst.command(f'config set feeds/{feed} window_hours={hours}')}, or raise"
                " retention.ms of these topics with kafka-configs.sh",
            )


def _kept_ms(inst: Installation, name: str) -> float:
    text = inst.topics[name].settings.get("retention.ms", "-1") if name in inst.topics else "-1"
    return float("inf") if text == "-1" else float(text)


def _signals(table: Mapping[str, TopicSpec]) -> list[str]:
    return [name for name in table if name.startswith("signals.")]


def undeclared_signals(inst: Installation) -> Iterator[Finding]:
    """Every topic of a signal is that of a declared one."""
    start = inst.environment.topic("signals.")
    known = {inst.environment.topic(name) for name in inst.table}
    for full in inst.all_topics:
        if full.startswith(start) and full not in known:
            name = full.removeprefix(start)
            yield Finding(
                "undeclared signals",
                "warn",
                f"the topic of a signal that this process does not know: `{name}`",
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
            "re-created topics",
            "wrong",
            "deleted, or deleted and created again, since workers read them: their offsets and"
            f" state are about other records: {some_of(changed)}",
            f"Kafka at {inst.environment.kafka}",
            f"stop all workers, then {inst.command('topics reset')}: it has them read from the"
            f" beginning{derived}; --dry-run says what it would do",
        )

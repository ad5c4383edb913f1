"""What goes wrong around workers, in topics and with producers, planted with plain clients.

Whatever says `first` is mended by the first command of the way out, literally.
"""

from collections.abc import Callable
from typing import NamedTuple

from kafka.admin import ConfigResource, ConfigResourceType, NewTopic

from builders.bombs import MIB, bomb, send_batch
from builders.examined import Examined, commands_of, record_of
from builders.waiting import now_ms, until
from feedmill.operations.status import cluster, process, producers
from feedmill.operations.status.finding import Finding, Severity
from feedmill.operations.status.installation import Check
from feedmill.streams.kafka.offsets import CommitMark, encode_mark

Plant = Callable[[Examined], object]
Mend = Callable[[Examined, Finding], object]
HOUR_MS = 3_600_000


class Misconfiguration(NamedTuple):
    """One that is planted, which check finds it, what the finding says, and its way out."""

    name: str
    check: Check
    severity: Severity
    says: str
    plant: Plant
    mend: Mend


def first(place: Examined, finding: Finding) -> None:
    place.follow(commands_of(finding.way_out)[0])


def last(place: Examined, finding: Finding) -> None:
    place.follow(commands_of(finding.way_out)[-1])


def in_turn(place: Examined, finding: Finding) -> None:
    for command in commands_of(finding.way_out):
        place.follow(command)


def in_order(*plants: Plant) -> Plant:
    """Plant several things."""

    def plant(place: Examined) -> None:
        for one in plants:
            one(place)

    return plant


def mended_by(*steps: Plant) -> Mend:
    """Do what the way out says in words."""
    return lambda place, _: in_order(*steps)(place)


def variable(name: str, value: str) -> Plant:
    return lambda place: place.variables.update({name: value})


def _topic(name: str, **values: str) -> Plant:
    def plant(place: Examined) -> None:
        settings_of = {key.replace("_", "."): value for key, value in values.items()}
        resource = ConfigResource(ConfigResourceType.TOPIC, place.topic(name), settings_of)
        place.admin.alter_configs([resource])

        def is_set() -> bool:
            asked = ConfigResource(ConfigResourceType.TOPIC, place.topic(name))
            answer = place.admin.describe_configs([asked], config_filter="all")
            found = answer["topic"][place.topic(name)]
            return all(found[key]["value"] == value for key, value in settings_of.items())

        until(is_set)

    return plant


def delete_topic(place: Examined, name: str) -> None:
    place.admin.delete_topics([place.topic(name)])
    until(lambda: place.topic(name) not in place.admin.list_topics())


def make_topic(place: Examined, name: str, partitions: int) -> None:
    place.admin.create_topics([NewTopic(place.topic(name), partitions, 1)])
    until(lambda: place.topic(name) in place.admin.list_topics())


def _other_partitions(place: Examined) -> None:
    delete_topic(place, "features")
    make_topic(place, "features", 7)


def _wrong_prefix(place: Examined) -> None:
    place.variables["FEEDMILL_TOPIC_PREFIX"] = place.prefix.removesuffix(".") + "x."


def _right_prefix(place: Examined, finding: Finding) -> None:
    # Others may be there; the closest is meant.
    assert f"did you mean --prefix {place.prefix}," in finding.way_out
    place.variables["FEEDMILL_TOPIC_PREFIX"] = place.prefix


def _former_topic(place: Examined) -> None:
    place.commit("worker", "config", 0, 0, encode_mark(CommitMark(topics={"posts": "former"})))


def _reset(place: Examined, finding: Finding) -> None:
    assert "stop all workers" in finding.way_out
    place.follow(commands_of(finding.way_out)[0])
    place.forget("worker")


SURROUNDINGS = (
    Misconfiguration(
        *("a variable mistyped", process.variables, "wrong", "did you mean FEEDMILL_PORT?"),
        *(variable("FEEDMILL_PROT", "9100"), first),
    ),
    Misconfiguration(
        *("a home that is a file", process.home, "wrong", "is no folder"),
        variable("FEEDMILL_HOME", f"{__file__}/home"),
        lambda place, _: place.variables.update(FEEDMILL_HOME=str(place.folder / "home")),
    ),
    Misconfiguration(
        *("a port that is taken", process.port, "wrong", "already in use"),
        lambda place: place.variables.update(FEEDMILL_PORT=str(place.redis.port)),
        lambda place, _: place.variables.update(FEEDMILL_PORT="0"),
    ),
    Misconfiguration(
        *("an address of another host", process.port, "wrong", "cannot listen"),
        lambda place: place.variables.update(FEEDMILL_HOST="192.0.2.1", FEEDMILL_PORT="19100"),
        lambda place, _: place.variables.pop("FEEDMILL_HOST"),
    ),
)

TOPICS = (
    Misconfiguration(
        *("a topic is missing", cluster.missing_topics, "wrong", "poison`"),
        *(lambda place: delete_topic(place, "poison"), first),
    ),
    Misconfiguration(
        *("another prefix", cluster.missing_topics, "wrong", "no topic has the prefix"),
        *(_wrong_prefix, _right_prefix),
    ),
    Misconfiguration(
        *("posts go after a day", cluster.topic_settings, "wrong", "retention.ms is 86400000"),
        *(_topic("posts", retention_ms="86400000"), first),
    ),
    Misconfiguration(
        *("records go by size", cluster.topic_settings, "wrong", "retention.bytes is 1000000"),
        *(_topic("engagements", retention_bytes="1000000"), first),
    ),
    Misconfiguration(
        *("another codec", cluster.topic_settings, "wrong", "compression.type is gzip"),
        *(_topic("engagements", compression_type="gzip"), first),
    ),
    Misconfiguration(
        *("producers' clocks", cluster.topic_settings, "wrong", "timestamp.type is CreateTime"),
        *(_topic("posts", message_timestamp_type="CreateTime"), first),
    ),
    Misconfiguration(
        *(
            "counters are not compacted",
            cluster.topic_settings,
            "wrong",
            "cleanup.policy is delete",
        ),
        *(_topic("counters", cleanup_policy="delete"), first),
    ),
    Misconfiguration(
        *("config is removed", cluster.topic_settings, "wrong", "retention.ms is 604800000"),
        *(_topic("config", retention_ms="604800000"), first),
    ),
    Misconfiguration(
        *("large segments", cluster.topic_settings, "warn", "segment.ms is 999999999"),
        *(_topic("signals.spam", segment_ms="999999999"), first),
    ),
    Misconfiguration(
        *("another number of partitions", cluster.partitions, "wrong", "7 partitions, and 4"),
        *(_other_partitions, in_turn),
    ),
    Misconfiguration(
        *("a signal that nobody declares", cluster.undeclared_signals, "warn", "`extra`"),
        *(lambda place: make_topic(place, "signals.extra", 4), last),
    ),
    Misconfiguration(
        *("a window beyond the topics", cluster.windows, "wrong", "window is 1000 hours"),
        *(lambda place: place.set("feeds/long", {"window_hours": 1000}), first),
    ),
    Misconfiguration(
        *("a topic made anew", cluster.recreated_topics, "wrong", "`posts`"),
        *(_former_topic, _reset),
    ),
)


def _sent(topic: str) -> Mend:
    """Whoever sends does as the way out says, from then on."""
    return lambda place, _: place.send_many(topic)


def _misplaced(place: Examined) -> None:
    # What librdkafka does unless it is told otherwise.
    place.send_many("posts", producer=place.new_producer("consistent_random"))


def _bomb(place: Examined) -> None:
    send_batch(place.kafka, place.topic("posts"), 0, bomb("zstd", 12 * MIB))


_POST = {**record_of("posts"), "post_id": "p"}
_LIKE = {**record_of("engagements"), "post_id": "p"}


def _edited_by_another(place: Examined) -> None:
    for author in ("ann", "bob"):
        place.send("posts", "p", {**_POST, "author_id": author})


PRODUCERS = (
    Misconfiguration(
        *("another partitioner", producers.partitioners, "wrong", "are in another partition"),
        *(_misplaced, _sent("posts")),
    ),
    Misconfiguration(
        *("engagements keyed by user", producers.contracts, "wrong", "of the newest"),
        *(lambda place: place.send_many("engagements", key="user_id"), _sent("engagements")),
    ),
    Misconfiguration(
        *("engagements without a key", producers.contracts, "wrong", "of the newest"),
        *(lambda place: place.send_many("engagements", key=""), _sent("engagements")),
    ),
    Misconfiguration(
        *("seconds in place of milliseconds", producers.contracts, "wrong", "multiply seconds"),
        lambda place: place.send_many("posts", created_at_ms=now_ms() // 1000),
        _sent("posts"),
    ),
    Misconfiguration(
        *("a producer's clock ahead", producers.event_times, "warn", "later than their record"),
        lambda place: place.send_many("engagements", at_ms=now_ms() + HOUR_MS),
        _sent("engagements"),
    ),
    Misconfiguration(
        *("a post of two hours ahead", producers.event_times, "warn", "1 of the newest"),
        lambda place: place.send("posts", "p", {**_POST, "created_at_ms": now_ms() + 2 * HOUR_MS}),
        _sent("posts"),
    ),
    Misconfiguration(
        *("an engagement of three days ahead", producers.event_times, "warn", "1 of the newest"),
        lambda place: place.send("engagements", "p", {**_LIKE, "at_ms": now_ms() + 72 * HOUR_MS}),
        _sent("engagements"),
    ),
    Misconfiguration(
        *("an edit by another author", producers.authors, "warn", "p was of ann"),
        *(_edited_by_another, _sent("posts")),
    ),
    Misconfiguration(
        *("posts of last month", producers.event_times, "warn", "older than a week"),
        lambda place: place.send_many("posts", created_at_ms=now_ms() - 700 * HOUR_MS),
        _sent("posts"),
    ),
    Misconfiguration(
        *("a batch that inflates", producers.contracts, "wrong", "inflate"),
        *(_bomb, _sent("posts")),
    ),
)


TABLE = (*SURROUNDINGS, *TOPICS, *PRODUCERS)

"""What goes wrong among instances: clocks, models, settings, groups, planted with plain clients."""

import hashlib
import json
from typing import Any

from kafka import TopicPartition
from kafka.admin import OffsetSpec

from builders.examined import Examined, record_of
from builders.misconfigurations import (
    HOUR_MS,
    Misconfiguration,
    Plant,
    delete_topic,
    first,
    in_order,
    last,
    make_topic,
    mended_by,
)
from builders.waiting import now_ms
from feedmill.events.instance import RefusedRelease, RefusedSetting
from feedmill.operations.status import cluster, redis_server, settings, workers
from feedmill.operations.status.finding import Finding

GONE = "ab" * 32


def _clock_of_instance(place: Examined) -> None:
    place.beat("novelty/off", at_ms=now_ms() + HOUR_MS)


CLOCKS = (
    Misconfiguration(
        *("an instance's clock", workers.instance_clocks, "warn", "min ahead"),
        *(_clock_of_instance, lambda place, _: place.beat("novelty/off")),
    ),
    Misconfiguration(
        *("this host's clock, by Kafka", workers.host_clock, "warn", "behind that of the brokers"),
        in_order(
            lambda place: place.beat("novelty/one"),
            lambda place: vars(place).update(ahead_ms=-HOUR_MS),
        ),
        lambda place, _: vars(place).update(ahead_ms=0),
    ),
    Misconfiguration(
        *(
            "this host's clock, by Redis",
            redis_server.redis_clock,
            "warn",
            "behind that of this host",
        ),
        lambda place: vars(place).update(ahead_ms=HOUR_MS),
        lambda place, _: vars(place).update(ahead_ms=0),
    ),
)


def _release(key: str, **more: Any) -> Plant:
    value = {"sha256": GONE, "answers": [0.5], **more}
    return lambda place: place.send("models", key, value, partition=0)


def _altered(place: Examined) -> None:
    folder = place.folder / "altered"
    folder.mkdir()
    content = b"no model"
    (folder / f"{GONE}.npz").write_bytes(content)
    assert hashlib.sha256(content).hexdigest() != GONE
    place.variables["FEEDMILL_MODELS"] = str(folder)
    _release("quality")(place)


def _refused_by_one(place: Examined) -> None:
    _release("spam")(place)
    at = TopicPartition(place.topic("models"), 0)
    offset = place.admin.list_partition_offsets({at: OffsetSpec.LATEST})[at].offset
    refusal = RefusedRelease("spam", offset - 1, "no artifact")
    place.beat("spam/one", models={"spam": "x"}, refused_releases=(refusal,))


def _taken_back(place: Examined, finding: Finding) -> None:
    # The command would wait for an instance that never answers.
    place.leave("spam/one")
    last(place, finding)
    place.beat("spam/one", models={"spam": "x"})


def _declared(place: Examined, finding: Finding) -> None:
    first(place, finding)
    delete_topic(place, "signals.extreme")


LIST = {"sha256": GONE}
STORE = (
    Misconfiguration(
        *("no store", settings.store, "wrong", "no such folder"),
        lambda place: place.variables.update(FEEDMILL_MODELS=str(place.folder / "models")),
        first,
    ),
    Misconfiguration(
        *("a release that is gone", settings.models, "wrong", "no artifact"),
        *(_release("spam"), first),
    ),
    Misconfiguration(
        *("an artifact that is altered", settings.models, "wrong", "was altered"),
        *(_altered, first),
    ),
    Misconfiguration(
        *("a candidate in shadow that is gone", settings.models, "warn", "no artifact"),
        *(_release("candidate/nsfw"), first),
    ),
    Misconfiguration(
        *("a canary that is gone", settings.models, "wrong", "no artifact"),
        *(_release("candidate/nsfw", partitions=1), first),
    ),
    Misconfiguration(
        *("a list that is gone", settings.lists, "wrong", "has no store"),
        lambda place: place.send("models", "list/spam/bad", LIST, partition=0),
        first,
    ),
)


def _json_lines(place: Examined) -> list[Any]:
    return list(json.loads(place.run("config history --json").stdout))


def _two_names(place: Examined) -> None:
    for pid in (1, 2, 1):
        place.beat("spam/same", pid=pid)


def _refuses(place: Examined) -> None:
    place.set("weights", {"quality": 0.4, "engagement": 0.6})
    offset = _json_lines(place)[-1]["offset"]
    refusal = RefusedSetting("weights", offset, "Expected another")
    place.beat("spam/old", refused=(refusal,))


INSTANCES = (
    Misconfiguration(
        *("builds differ", workers.builds, "warn", "0.0.9"),
        in_order(
            lambda place: place.beat("spam/one", group="w"),
            lambda place: place.beat("nsfw/two", group="w", build="0.0.9"),
        ),
        lambda place, _: place.beat("nsfw/two", group="w"),
    ),
    Misconfiguration(
        *("a name twice", workers.instance_names, "wrong", "two processes are called same"),
        _two_names,
        mended_by(
            lambda place: place.leave("spam/same"), lambda place: place.beat("spam/other", pid=2)
        ),
    ),
    Misconfiguration(
        *("stores differ", workers.model_versions, "wrong", "it has different versions"),
        in_order(
            lambda place: place.beat("spam/a", models={"spam": "1" * 12}),
            lambda place: place.beat("spam/b", models={"spam": "2" * 12}),
        ),
        lambda place, _: place.beat("spam/b", models={"spam": "1" * 12}),
    ),
    Misconfiguration(
        *("a signal declared elsewhere", cluster.undeclared_signals, "wrong", "instance one"),
        in_order(
            lambda place: make_topic(place, "signals.extreme", 4),
            lambda place: place.beat("extreme/one"),
        ),
        _declared,
    ),
    Misconfiguration(
        *(
            "an instance that refuses",
            workers.refused_settings,
            "wrong",
            "refuses it: Expected another",
        ),
        *(_refuses, lambda place, _: place.beat("spam/old")),
    ),
    Misconfiguration(
        *("a release that is refused", workers.refused_releases, "wrong", "no artifact"),
        *(_refused_by_one, _taken_back),
    ),
)

SETTINGS = (
    Misconfiguration(
        *("a gate that is not declared", settings.refused_records, "wrong", "declared gate"),
        in_order(
            lambda place: make_topic(place, "signals.extreme", 4),
            lambda place: place.set("gates", {"extreme": {"hide_at": 0.5}}),
        ),
        _declared,
    ),
    Misconfiguration(
        *("a value that is refused", settings.refused_records, "wrong", "<= 1000000"),
        *(lambda place: place.set("weights", {"quality": 1e9, "engagement": 1}), last),
    ),
    Misconfiguration(
        *("a key that is mistyped", settings.refused_records, "wrong", "'weihgts'"),
        lambda place: place.set("weihgts", {"quality": 1, "engagement": 1}),
        lambda place, _: place.set("weights", {"quality": 1, "engagement": 1}),
    ),
    Misconfiguration(
        *("weights of no feed", settings.lost_feeds, "warn", "no feed 'mine'"),
        *(lambda place: place.set("weights/mine", {"quality": 1, "engagement": 1}), first),
    ),
    Misconfiguration(
        *("a gate that hides first", settings.thresholds, "warn", "below demote_at"),
        *(lambda place: place.set("gates", {"spam": {"hide_at": 0.3}}), first),
    ),
    Misconfiguration(
        *("rules of a gate that is off", settings.rules, "warn", "gate nsfw"),
        in_order(
            lambda place: place.set("gates", {"nsfw": {"enabled": False}}),
            lambda place: place.set("rules/nsfw", {"one": {"verdict": "hide", "phrases": ["bad"]}}),
        ),
        first,
    ),
    Misconfiguration(
        *("an override of no gate", settings.overrides, "wrong", "has no effect"),
        lambda place: place.send("overrides", "post:p1|extrem", {}, partition=0),
        lambda place, _: place.send("overrides", "post:p1|extrem", None, partition=0),
    ),
)


def _letter(place: Examined) -> None:
    """Write a dead letter of a post that is in order by now."""
    headers = {"topic": "posts", "partition": "0", "offset": "1", "stage": "engagement"}
    headers |= {"at_ms": str(now_ms()), "error": "Expected something else"}
    post = record_of("posts")
    place.send("dead-letters", post["post_id"], post, partition=0, headers=[*headers.items()])


def _deserted(place: Examined) -> None:
    place.commit("worker-spam", "posts", 0, 0)
    place.beat("spam/one")


def _cut_off(place: Examined) -> None:
    place.commit("worker-spam", "posts", 0, 10_000_000)


def _moved(place: Examined, finding: Finding) -> None:
    assert "stop the workers" in finding.way_out
    first(place, finding)
    place.forget("worker-spam")


def _joins(topic: str) -> Plant:
    """Have a plain client join the group of workers, as who copies a group.id does."""

    def plant(place: Examined) -> None:
        place.join("worker", topic)

    return plant


def _joins_ahead(place: Examined) -> None:
    place.join("worker", "posts")
    place.ahead_ms = HOUR_MS


def _leaves(place: Examined, _: Finding) -> None:
    place.part()
    place.ahead_ms = 0


GROUPS = (
    Misconfiguration(
        *("a group of before", workers.members, "warn", "others run its stages"),
        *(_deserted, first),
    ),
    Misconfiguration(
        *("a log that was cut off", workers.positions, "wrong", "the log was cut off"),
        *(_cut_off, _moved),
    ),
    Misconfiguration(
        *("a stranger in the group", workers.strangers, "wrong", "writes no heartbeats"),
        *(_joins("posts"), _leaves),
    ),
    Misconfiguration(
        *("members without heartbeats", workers.host_clock, "wrong", "a heartbeat"),
        *(_joins_ahead, _leaves),
    ),
    Misconfiguration(
        *("a letter of today", workers.dead_letters, "warn", "1 of posts"), *(_letter, last)
    ),
)

TABLE = (*CLOCKS, *STORE, *INSTANCES, *SETTINGS, *GROUPS)

"""The table of topics, and what it becomes on a real broker."""

import json
from typing import Any

import pytest
from click.testing import CliRunner
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.errors import UnknownTopicOrPartitionError

from feedmill.cli.main import main
from feedmill.deploy.local import StackAddress
from feedmill.events.errors import UsageError
from feedmill.events.limits import MAX_SETTING_BYTES
from feedmill.events.signal import SignalNames
from feedmill.features.near_copies import REBUILD_MS
from feedmill.filters import hide_rate_guard
from feedmill.streams.kafka.topic_table import DAY_MS, HOUR_MS, topic_table
from feedmill.streams.kafka.topics import TopicState, create, describe

SIGNALS = SignalNames.parse("extreme:gate").all
TABLE = {spec.name: spec for spec in topic_table(SIGNALS)}


def test_what_is_kept_outlives_those_who_need_it() -> None:
    # Views outlive the longest window by a day, and what people change is kept for ever.
    for name in ("posts", "counters", "poison", *(f"signals.{signal}" for signal in SIGNALS)):
        assert int(TABLE[name].settings["retention.ms"]) >= 8 * DAY_MS
    for name in ("config", "models", "audit"):
        settings = TABLE[name].settings
        assert (settings["retention.ms"], settings["retention.bytes"]) == ("-1", "-1")
    # An empty value is a withdrawal, which a ranker that was paused still has to read.
    assert int(TABLE["overrides"].settings["delete.retention.ms"]) == 31 * DAY_MS
    remembered = {"counters": 0, "posts": max(REBUILD_MS, hide_rate_guard.WINDOW_MS)}
    for name, least in remembered.items():
        lag_ms = int(TABLE[name].settings["min.compaction.lag.ms"])
        assert lag_ms >= least + HOUR_MS
        assert int(TABLE[name].settings["max.compaction.lag.ms"]) > lag_ms


def test_dead_letters_take_more_than_any_source() -> None:
    largest = {n: int(s.settings["max.message.bytes"]) for n, s in TABLE.items()}
    letters = largest.pop("dead-letters")
    assert letters > max(largest.values()) + 64 * 1024


def test_the_audit_takes_the_largest_setting_before_and_after() -> None:
    least = MAX_SETTING_BYTES + int(TABLE["config"].settings["max.message.bytes"])
    assert int(TABLE["audit"].settings["max.message.bytes"]) > least + 64 * 1024


def test_create_makes_the_missing_and_describe_agrees(stack: StackAddress, prefix: str) -> None:
    report = create(stack.kafka, prefix, 2, SIGNALS)
    assert report.created == tuple(prefix + name for name in TABLE)
    assert report.existing == ()
    again = create(stack.kafka, prefix, 2, SIGNALS)
    assert again.created == ()
    assert again.existing == report.created
    assert again.differences == ()
    states = {state.name.removeprefix(prefix): state for state in describe_all(stack, prefix)}
    assert {name: state.partitions for name, state in states.items()} == {
        name: spec.count(2) for name, spec in TABLE.items()
    }
    assert not any(state.differences for state in states.values())


def test_create_waits_until_every_new_partition_serves(
    stack: StackAddress, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: set[tuple[str, int]] = set()
    ask, not_yet = KafkaAdminClient.list_partition_offsets, [2]

    def noted(admin: KafkaAdminClient, wanted: Any) -> Any:
        if not_yet[0]:
            not_yet[0] -= 1
            raise UnknownTopicOrPartitionError
        found = ask(admin, wanted)
        served.update((at.topic, at.partition) for at in found)
        return found

    monkeypatch.setattr(KafkaAdminClient, "list_partition_offsets", noted)
    make(stack, prefix + "posts", 2)
    create(stack.kafka, prefix, 2, SIGNALS)
    counts = {prefix + name: spec.count(2) for name, spec in TABLE.items() if name != "posts"}
    assert served == {(name, n) for name, count in counts.items() for n in range(count)}


def describe_all(stack: StackAddress, prefix: str) -> tuple[TopicState, ...]:
    return describe(stack.kafka, prefix, SIGNALS)


def test_another_number_of_partitions_is_refused(stack: StackAddress, prefix: str) -> None:
    make(stack, prefix + "posts", 3)
    with pytest.raises(UsageError, match=r"posts 3 instead of 2\. .*FEEDMILL_TOPIC_PREFIX"):
        create(stack.kafka, prefix, 2, SIGNALS)
    assert [s.name for s in describe_all(stack, prefix) if s.partitions] == [prefix + "posts"]


def test_differing_settings_are_reported_and_set_when_asked(
    stack: StackAddress, prefix: str
) -> None:
    make(stack, prefix + "config", 1, {"retention.ms": "5000", "segment.ms": "60000"})
    left = create(stack.kafka, prefix, 1, ())
    differing = {d.setting: (d.found, d.expected) for d in left.differences}
    assert differing["retention.ms"] == ("5000", "-1")
    assert setting(stack, prefix + "config", "retention.ms") == "5000"
    create(stack.kafka, prefix, 1, (), apply_settings=True)
    assert setting(stack, prefix + "config", "retention.ms") == "-1"
    assert create(stack.kafka, prefix, 1, ()).differences == ()


def test_a_kafka_that_is_away_is_named() -> None:
    with pytest.raises(
        UsageError,
        match=r"Kafka at 127\.0\.0\.1:1: cannot connect; start it \(.*, or correct --kafka",
    ):
        describe("127.0.0.1:1", "", (), client={"bootstrap_timeout_ms": 200})


@pytest.mark.parametrize("partitions", [0, -1, 1025])
def test_a_senseless_number_of_partitions_is_refused(partitions: int) -> None:
    with pytest.raises(UsageError, match=f"expected 1 to 1024, got {partitions}"):
        create("127.0.0.1:1", "", partitions, ())


def test_the_commands_create_and_describe(stack: StackAddress, prefix: str) -> None:
    where = ("--kafka", stack.kafka, "--prefix", prefix)
    missing = CliRunner().invoke(main, ["topics", "describe", *where])
    assert missing.exit_code == 1
    made = CliRunner().invoke(main, ["topics", "create", "--partitions", "1", "--json", *where])
    assert made.exit_code == 0
    count = len(json.loads(made.stdout)["created"])
    said = f"{count} of {count} topics are missing; `feedmill topics create` creates them"
    assert said in missing.stderr
    shown = CliRunner().invoke(main, ["topics", "describe", *where])
    assert shown.exit_code == 0
    assert f"{prefix}feed-shards" in shown.stdout


def make(
    stack: StackAddress, topic: str, partitions: int, configs: dict[str, str] | None = None
) -> None:
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    wanted = {topic: {"num_partitions": partitions, "configs": configs or {}}}
    admin.create_topics(wanted, wait_for_metadata=True)
    admin.close()


def setting(stack: StackAddress, topic: str, name: str) -> str:
    admin = KafkaAdminClient(bootstrap_servers=stack.kafka)
    asked = ConfigResource(ConfigResourceType.TOPIC, topic)
    answer = admin.describe_configs([asked], config_filter="all")
    admin.close()
    return str(answer["topic"][topic][name]["value"])

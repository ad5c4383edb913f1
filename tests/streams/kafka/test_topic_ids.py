"""The ids of topics, with answers that a test gives instead of Kafka."""

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from feedmill.streams.environment import Environment
from feedmill.streams.kafka import topic_ids
from feedmill.streams.kafka.batches import TopicPartition
from feedmill.streams.kafka.client import ClientHealth
from feedmill.streams.kafka.offsets import Committed, decode_mark
from feedmill.streams.kafka.topic_ids import ANCHORS, TopicIds

TOPICS = ("posts", "counters", "config")
IDS = {name: f"id-of-{name}" for name in TOPICS}


class Answers:
    """A Kafka with these ids, and what a group committed."""

    def __init__(self) -> None:
        self.ids: dict[str, str] = dict(IDS)
        self.committed_texts: dict[TopicPartition, str] = {}
        self.error: KafkaError | None = None

    def topic_ids(self, topics: Sequence[str]) -> Future[dict[str, str]]:
        return self._answer({name: self.ids[name] for name in topics if name in self.ids})

    def committed(
        self, group: str, sources: Sequence[TopicPartition]
    ) -> Future[dict[TopicPartition, Committed]]:
        return self._answer({at: Committed(0, text) for at, text in self.committed_texts.items()})

    def commit(self, offsets: Mapping[TopicPartition, tuple[int, str]]) -> None:
        self.committed_texts |= {at: text for at, (_, text) in offsets.items()}

    def _answer(self, value: Any) -> Future[Any]:
        answer: Future[Any] = Future()
        if self.error is not None:
            answer.set_exception(KafkaException(self.error))
        else:
            answer.set_result(value)
        return answer


@pytest.fixture
def kafka(monkeypatch: pytest.MonkeyPatch) -> Answers:
    monkeypatch.setattr(topic_ids, "_LOOK_EVERY_S", 0.0)
    return Answers()


def started(kafka: Answers, topics: Sequence[str] = TOPICS) -> TopicIds:
    environment = Environment(topic_prefix="my.", kafka="host:9092")
    connection: Any = SimpleNamespace(environment=environment, health=ClientHealth(), offsets=kafka)
    ids = TopicIds(connection, "worker", topics, kafka.commit)
    assert not ids.allow_reading
    ids.look()
    return ids


def test_the_ids_of_a_new_group_are_committed_beside_topics_that_no_stage_consumes(
    kafka: Answers,
) -> None:
    ids = started(kafka)
    assert ids.allow_reading
    assert ids.ready_reason() == ""
    assert set(kafka.committed_texts) == set(ANCHORS)
    assert {decode_mark(text).topics["posts"] for text in kafka.committed_texts.values()} == {
        "id-of-posts"
    }


@pytest.mark.parametrize("is_running", [True, False])
def test_a_topic_with_another_id_stops_the_reading_and_names_the_commands(
    kafka: Answers, is_running: bool
) -> None:
    ids = started(kafka)
    kafka.ids["posts"] = "another"
    if is_running:
        ids.look()
    else:
        ids = started(kafka)
    assert not ids.allow_reading
    reason = ids.ready_reason()
    assert reason.startswith("`my.posts` was deleted and created again")
    assert "then: feedmill topics reset --kafka host:9092 --prefix my. - it deletes what" in reason
    assert decode_mark(kafka.committed_texts[ANCHORS[0]]).topics["posts"] == "id-of-posts"


def test_one_anchor_that_is_left_is_enough(kafka: Answers) -> None:
    started(kafka)
    kafka.ids["config"] = "another"
    del kafka.committed_texts[TopicPartition("config", 0)]
    ids = started(kafka)
    assert ids.ready_reason().startswith("`my.config` was deleted and created again")
    assert "deletes" not in ids.ready_reason()


def test_offsets_that_were_reset_accept_the_new_topic(kafka: Answers) -> None:
    started(kafka)
    kafka.ids["posts"] = "another"
    kafka.committed_texts = dict.fromkeys(ANCHORS, "")
    assert started(kafka).allow_reading
    assert decode_mark(kafka.committed_texts[ANCHORS[1]]).topics["posts"] == "another"


def test_a_topic_that_is_missing_is_named_until_it_is_created(kafka: Answers) -> None:
    del kafka.ids["counters"]
    ids = started(kafka)
    assert ids.ready_reason() == (
        "there is no topic `my.counters`: create what is missing with `feedmill topics create`"
    )
    kafka.ids["counters"] = "later"
    ids.look()
    assert ids.ready_reason() == ""
    assert decode_mark(kafka.committed_texts[ANCHORS[0]]).topics["counters"] == "later"


def test_an_outage_changes_nothing(kafka: Answers) -> None:
    ids = started(kafka)
    kafka.error = KafkaError(KafkaError._TIMED_OUT)
    ids.look()
    assert ids.allow_reading
    kafka.error = None
    ids.look()
    assert ids.ready_reason() == ""


def test_of_very_many_topics_the_first_ones_are_committed(kafka: Answers) -> None:
    signals = [f"signals.{'x' * 60}{n:02}" for n in range(62)]
    kafka.ids |= dict.fromkeys(signals, "0123456789012345678901")
    assert started(kafka, (*TOPICS, *signals)).allow_reading
    (text, _) = kafka.committed_texts.values()
    assert len(text) < 4096
    assert set(TOPICS) < set(decode_mark(text).topics)
    assert started(kafka, (*TOPICS, *signals)).allow_reading

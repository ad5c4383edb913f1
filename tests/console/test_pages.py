"""Who only looks changes nothing: no page moves the end of a topic but that of `instances`."""

from collections.abc import Callable

import pytest
from kafka import KafkaConsumer, TopicPartition

from builders.commands import CommandTopics
from builders.console_client import ConsoleClient
from builders.events import post
from builders.waiting import until
from builders.written_redis import WrittenRedis
from feedmill.console.pages import TABLE
from feedmill.streams.environment import Environment
from feedmill.streams.kafka import topics as kafka_topics
from feedmill.streams.tokens import OPERATOR

NAMES = {"{feed}": "global", "{post_id}": "p1", "{model}": "spam"}

pytestmark = pytest.mark.stack


@pytest.fixture
def topics_made(environment: Environment, topics: CommandTopics) -> None:
    """Every topic of feedmill."""
    prefix, names = environment.topic_prefix, environment.signals.all
    kafka_topics.create(environment.kafka, prefix, 2, names, client=environment.security)


def ends(environment: Environment) -> dict[str, int]:
    consumer = KafkaConsumer(bootstrap_servers=environment.kafka)
    places = [
        TopicPartition(topic, partition)
        for topic in consumer.topics()
        if topic.startswith(environment.topic_prefix)
        for partition in consumer.partitions_for_topic(topic) or ()
    ]
    found = {f"{at.topic}-{at.partition}": end for at, end in consumer.end_offsets(places).items()}
    consumer.close()
    return found


def test_all_pages_are_there_and_move_no_topic(
    open_console: Callable[..., dict[str, ConsoleClient]],
    environment: Environment,
    topics: CommandTopics,
    writer: WrittenRedis,
) -> None:
    offset = topics.send("posts", "p1", post("p1"))
    writer.signals("p1", {"spam": 0.2}, post_offset=offset)
    writer.feed("global", {"p1": 1.0})
    operator = open_console()[OPERATOR]
    before = ends(environment)
    paths = []
    for route in TABLE:
        if route.method == "GET" and route.path != "/start":
            path = route.path
            for name, text in NAMES.items():
                path = path.replace(name, text)
            assert "{" not in path, "name a part of this path in NAMES"
            paths.append(path)
    for path in paths:
        for headers in ({}, {"HX_Request": "true"}):
            answer = operator.get(path, **headers)
            assert answer.status in (200, 204, 303), (path, answer.text)
    # The view is read once the pages that need it have asked; they ask again.
    until(lambda: "being read" not in operator.get("/queue").text, 60)
    for path in paths:
        assert operator.get(path).status in (200, 204, 303), path
    moved = {topic for topic, end in ends(environment).items() if end != before[topic]}
    assert {topic.removeprefix(environment.topic_prefix) for topic in moved} <= {"instances-0"}

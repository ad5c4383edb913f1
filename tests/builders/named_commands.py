"""Breaks topics, and runs the commands that a worker names in its log, as an operator does."""

import re
import shlex

from click.testing import CliRunner
from kafka.admin import KafkaAdminClient

from builders.engine import Engine
from builders.engine_topics import PARTITIONS
from builders.waiting import until
from feedmill.cli.main import main
from feedmill.events.signal import SignalNames
from feedmill.streams.kafka import topics

_COMMAND = re.compile(
    r"feedmill (topics create|topics reset .*?|groups .*?)(?: - |; |$|(?<=create)[.;])"
)


def reason_of(engine: Engine, worker: str, text: str) -> str:
    """The line of a worker's log that says this; "" while there is none."""
    lines = engine.workers[worker].log.read_text().splitlines()
    return next((line for line in lines if text in line), "")


def run_named(engine: Engine, reason: str) -> None:
    """Run the commands of a reason in their order; no worker may run."""
    for command in _COMMAND.findall(reason):
        if command == "topics create":
            create_topics(engine)
        else:
            done = CliRunner().invoke(main, shlex.split(command))
            assert done.exit_code == 0, done.output


def create_topics(engine: Engine) -> None:
    """Create the topics of an engine that are missing."""
    topics.create(engine.kafka, engine.prefix, PARTITIONS, SignalNames().all)


def delete_topic(engine: Engine, name: str) -> None:
    """Delete a topic of an engine, and wait until it is gone."""
    admin = KafkaAdminClient(bootstrap_servers=engine.kafka)
    try:
        admin.delete_topics([engine.topic(name)])
        engine.forget_latest()
        until(lambda: engine.topic(name) not in admin.list_topics())
    finally:
        admin.close()


def remove_records(engine: Engine, name: str, *partitions: int) -> None:
    """Have all records of a topic gone, or of some partitions, as their retention does."""
    admin = KafkaAdminClient(bootstrap_servers=engine.kafka)
    consumer = engine.consumer(name)
    try:
        ends = {at: consumer.position(at) for at in consumer.assignment()}
        admin.delete_records(
            {at: end for at, end in ends.items() if not partitions or at.partition in partitions}
        )
    finally:
        consumer.close()
        admin.close()

"""The combiner's view, read from Kafka into the process of a command, as a worker restores it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from feedmill.events.errors import UsageError
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.client import COMMAND_FETCH_WAIT_MS
from feedmill.streams.kafka.connection import Connection
from feedmill.streams.kafka.topic_reader import count_partitions
from feedmill.streams.ranking.combiner_logs import OVERRIDES, POSTS, SIGNALS, CombinerLogs

_RECORDS = 4_000
_PAUSE_S = 0.005

# Told what is read, how many offsets lie behind it, and how many there are.
Tell = Callable[[str, int, int], None]


class ReadView(NamedTuple):
    """A view as of the ends of the topics, how many records it is of, and how many were refused."""

    view: PostView
    records: int
    refused: int


def read_view(
    environment: Environment,
    view: PostView,
    tell: Tell,
    *,
    since_ms: int | None = None,
    patience_s: float,
) -> ReadView:
    """Bring an empty view up to date with `posts`, the signals that it knows, and `overrides`.

    Its memory is bounded by the posts that the topics hold, some 200 bytes each; no record is kept.

    Parameters
    ----------
    environment
        Where Kafka is.
    view
        Filled in place.
    tell
        Told of the progress.
    since_ms
        Posts and signals are read from the first record of this time on; None for all.
    patience_s
        How long Kafka may send nothing before that is an error.

    Raises
    ------
    UsageError
        A topic is missing, or Kafka sends nothing any more.
    kafka.errors.KafkaError
        Kafka cannot be reached.
    """
    topics = [POSTS, *(SIGNALS + name for name in view.names.all)]
    partitions = count_partitions(environment, [*topics, OVERRIDES])[POSTS]
    connection = Connection(environment, COMMAND_FETCH_WAIT_MS)
    logs = CombinerLogs(connection, view, (), partitions, since_ms=since_ms)
    records = refused = 0
    try:
        heard_s = time.monotonic()
        while not logs.is_restored:
            count, rejected = logs.read(_RECORDS)
            records, refused = records + count, refused + len(rejected)
            forget_changes(view)
            tell(*logs.progress())
            if count:
                heard_s = time.monotonic()
            elif time.monotonic() - heard_s > patience_s:
                raise UsageError(_stalled(environment, connection, logs, patience_s))
            else:
                time.sleep(_PAUSE_S)
    finally:
        logs.close()
        connection.close()
    return ReadView(view, records, refused)


def forget_changes(view: PostView) -> None:
    """Let go of what changed in a view that nobody follows, and of the rows of deleted posts."""
    while view.has_changes:
        view.find_overridden(_RECORDS)
        rows, _ = view.changed.take()
        view.recycle(rows[view.freed_among(rows)])


def _stalled(
    environment: Environment, connection: Connection, logs: CombinerLogs, patience_s: float
) -> str:
    what = connection.health.reason() or logs.ready_reason()
    return (
        f"Kafka at {environment.kafka} has sent nothing for {patience_s:g} s ({what}); look whether"
        " its brokers run (`feedmill doctor`), or wait longer with --timeout"
    )

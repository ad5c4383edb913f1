"""Runs a replay: opens its source, sends the events, and sums up."""

from __future__ import annotations

import asyncio
import time

import numpy as np
from confluent_kafka import Producer

from feedmill.simulation.audience import Frontend
from feedmill.simulation.demo import DEFAULT_RATE as DEMO_RATE
from feedmill.simulation.demo import open_demo
from feedmill.simulation.replay.datasets import DATA_SETS, DEFAULT_POSTS, DEFAULT_RATE, open_dataset
from feedmill.simulation.replay.lines import open_lines
from feedmill.simulation.replay.options import Counts, ReplayOptions, ReplaySummary
from feedmill.simulation.replay.sender import Sender, start_producer
from feedmill.simulation.schedule import ENGAGEMENTS, POSTS, EventSource
from feedmill.streams.environment import Environment
from feedmill.streams.redis.reader import open_feed_reader
from feedmill.streams.settings.clock import now_ms

# How long to wait for the last acknowledgements.
_FLUSH_S = 60.0
# How long to wait for the producer to close, and for the sender to notice the end.
_CLOSE_S = 4.0
_NOTICE_S = 2.0
_POLL_S = 0.01


async def run_replay(
    environment: Environment,
    options: ReplayOptions,
    *,
    stop: asyncio.Event | None = None,
    counts: Counts | None = None,
) -> ReplaySummary:
    """Replay until the source ends, the time is over, or `stop` is set.

    Parameters
    ----------
    environment, options
        Where Kafka is, and what to replay.
    stop
        When it is set, the replay ends within 10 seconds, even if the broker does not answer.
    counts
        Is updated while the replay runs, for a progress display.

    Raises `UsageError`: the source cannot be read, or Kafka cannot be used. Events that fail later
    are counted in the summary instead.
    """
    stop = stop or asyncio.Event()
    counts = counts or Counts()
    run = options.run or run_tag()
    source = await asyncio.to_thread(open_source, environment, options, run, counts)
    counts.expected_posts = source.posts
    start = time.monotonic()
    topics = (POSTS, ENGAGEMENTS)
    producer, known = await asyncio.to_thread(start_producer, environment, topics)
    sender = Sender(producer, known, environment.topic, counts, stop, options.keep_times)
    try:
        ended = await _send(sender, source, options)
        await _flush(producer, stop)
    finally:
        producer.flush(_CLOSE_S)
    return _summary(counts, time.monotonic() - start, run, ended)


def run_tag() -> str:
    """A short name for a run: the time in milliseconds, in base 36."""
    digits = "0123456789abcdefghijklmnopqrstuvwxyz"
    rest, tag = now_ms(), ""
    while rest:
        rest, digit = divmod(rest, 36)
        tag = digits[digit] + tag
    return tag


def open_source(
    environment: Environment, options: ReplayOptions, run: str, counts: Counts
) -> EventSource:
    """Open the stream that the options name; blocks while it reads files."""
    rng = np.random.default_rng(options.seed)
    if options.source in DATA_SETS:
        return open_dataset(
            options.source,
            options.data,
            posts=DEFAULT_POSTS if options.posts is None else options.posts,
            rate=DEFAULT_RATE if options.rate is None else options.rate,
            reactions=options.reactions,
            impressions=options.impressions,
            run=run,
            rng=rng,
            loop=options.loop,
        )
    if options.source == "demo":
        return open_demo(
            posts=options.posts or 0,
            rate=DEMO_RATE if options.rate is None else options.rate,
            audience=options.audience,
            run=run,
            rng=rng,
            frontend=_frontend(environment, options.read),
        )
    return open_lines(options, environment.signals, counts)


def _frontend(environment: Environment, feed: str | None) -> Frontend | None:
    if feed is None:
        return None
    return Frontend(open_feed_reader(environment.redis, environment.redis_prefix), feed)


async def _send(sender: Sender, source: EventSource, options: ReplayOptions) -> str:
    task = asyncio.create_task(sender.run(source, options.speed or 1.0, options.duration_s))
    stopped = asyncio.create_task(sender.stop.wait())
    try:
        await asyncio.wait(
            (task, stopped), timeout=options.duration_s or None, return_when=asyncio.FIRST_COMPLETED
        )
        # It ends by itself, unless the broker does not answer.
        await asyncio.wait((task,), timeout=_NOTICE_S)
    finally:
        stopped.cancel()
        task.cancel()
    if task.done():
        return task.result()
    return "stopped" if sender.stop.is_set() else "time"


async def _flush(producer: Producer, stop: asyncio.Event) -> None:
    end = time.monotonic() + _FLUSH_S
    while len(producer) and not stop.is_set() and time.monotonic() < end:
        producer.poll(0)
        await asyncio.sleep(_POLL_S)


def _summary(counts: Counts, seconds: float, run: str, ended: str) -> ReplaySummary:
    lost = counts.sent - counts.acknowledged
    if lost > counts.failed:
        counts.add_complaint(f"{lost - counts.failed} events were never acknowledged by the broker")
    return ReplaySummary(
        posts=counts.posts,
        engagements=counts.engagements,
        others=counts.others,
        acknowledged=counts.acknowledged,
        failed=lost,
        skipped=counts.skipped,
        seconds=seconds,
        kinds=dict(sorted(counts.kinds.items())),
        complaints=list(counts.complaints),
        run=run,
        ended=ended,
    )

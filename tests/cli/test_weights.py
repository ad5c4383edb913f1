"""`feedmill weights preview` on a real Kafka: a change is seen before it is made."""

import re
import time
from typing import Any

import pytest

from builders.commands import CommandTopics, Run
from builders.golden import Golden
from builders.kafka_log import KafkaLog
from builders.transcript import transcript
from feedmill.deploy.local import StackAddress
from feedmill.events.signal import SignalNames
from feedmill.streams.environment import Environment
from feedmill.streams.kafka import topic_reader

pytestmark = pytest.mark.stack

GATES = ("spam", "nsfw", "misinformation")
SIGNALS = (*GATES, "quality", "engagement")
OWN = "grumble:cost"
TOPICS = ("config", "posts", *(f"signals.{name}" for name in SignalNames.parse(OWN).all))
HOUR_MS = 3_600_000
# By post: author, quality, engagement, spam.
POSTS = {
    "essay": ("ann", 0.9, 0.01, 0.1),
    "letter": ("ann", 0.8, 0.01, 0.1),
    "joke": ("bob", 0.2, 0.09, 0.1),
    "meme": ("bob", 0.1, 0.08, 0.1),
    "offer": ("cy", 0.5, 0.05, 0.7),
    "casino": ("cy", 0.4, 0.09, 0.85),
    "hidden": ("dan", 0.9, 0.09, 0.1),  # by a moderator
}
HOSTILE = "[bold]"  # markup of the library that draws tables


def write(topics: CommandTopics) -> None:
    topics.make(*TOPICS, "overrides")
    at_ms = int(time.time() * 1000) - 50 * HOUR_MS
    topics.send("config", "weights", {"value": {"quality": 1, "engagement": 1, **FLAT}})
    topics.send("config", "feeds/small", {"value": {"size": 3}})
    for post_id, (author, quality, engagement, spam) in POSTS.items():
        post = {"post_id": post_id, "author_id": f"{HOSTILE}{author}", "created_at_ms": at_ms}
        offset = topics.send("posts", post_id, {**post, "text": "t", "communities": ["pets"]})
        values = {"spam": spam, "quality": quality, "engagement": engagement}
        for name in SIGNALS:
            signal: dict[str, Any] = {"post_id": post_id, "post_offset": offset, "model": name}
            signal |= {"version": "v", "at_ms": at_ms, "value": values.get(name, 0.0)}
            topics.send(f"signals.{name}", post_id, signal)
        topics.send("signals.grumble", post_id, {**signal, "value": float(author == "ann")})
    hide = {"verdict": "hide", "by": "mo", "reason": "seen", "at_ms": at_ms}
    topics.send("overrides", "post:hidden|*", hide)
    topics.send("signals.spam", "essay", {"post_id": "essay"})  # breaks the contract


# Without decay a score is the same at any time.
FLAT = {"half_life_hours": None}
WHOLE = '{"quality": 1, "engagement": 0, "half_life_hours": null}'


def test_a_change_is_seen_before_it_is_made(
    run: Run, topics: CommandTopics, golden: Golden, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEEDMILL_SIGNALS", OWN)
    write(topics)
    lines = (
        "preview small beta=3 spam.hide_at=0.8",
        "preview small max_per_author=1 --top 2",
        f"""preview global '{WHOLE}' '{{"spam": {{"hide_at": 0.5}}}}'""",
        *("preview global beta=1 costs.report=20", "preview global costs.grumble=2"),
        "preview small beta=3 --json --top 2",
        *("preview small alfa=1", "preview small alpha=-1", "preview small spam.hide=1"),
        *("preview smal beta=3", "preview community:nobody beta=3", "preview small beta"),
        *("suggest", "suggest smal"),
    )
    # Nothing is set.
    said = transcript(run, [*(f"weights {line}" for line in lines), "config history weights/small"])
    golden.check("weights.txt", re.sub(r"in \d+ s; this process has [\d,]+", "in <n> s; <n>", said))


def test_a_topic_that_is_missing_is_named(run: Run, topics: CommandTopics) -> None:
    topics.make(*TOPICS)
    result = run("weights preview global beta=1")
    assert result.exit_code == 1
    assert "overrides`; create the topics with `feedmill topics create`" in result.stderr


def test_a_kafka_that_sends_nothing_is_given_up(
    run: Run, topics: CommandTopics, stack: StackAddress, prefix: str
) -> None:
    write(topics)
    kafka = KafkaLog(Environment(kafka=stack.kafka, topic_prefix=prefix), 1)
    with kafka.transaction("upstream") as produce:
        produce("posts", b"late", b"{}")
        result = run("weights preview global beta=1 --timeout 1s")
    assert result.exit_code == 1
    assert "has sent nothing for 1 s (reading the combiner's logs, " in result.stderr
    assert "or wait longer with --timeout" in result.stderr


def test_a_read_to_the_end_ends_where_kafka_sends_nothing(
    run: Run, topics: CommandTopics, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics.make("config")
    topics.send("config", "feeds/small", {"value": {"size": 3}})
    monkeypatch.setattr(topic_reader, "STALLED_S", 0.1)
    monkeypatch.setattr(topic_reader.TopicReader, "read", lambda *_, **__: [])
    result = run("config get")
    assert result.exit_code == 1
    assert "config` for 0.1 s, 0 of 1 offsets are read; look whether its" in result.stderr

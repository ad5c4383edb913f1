"""`feedmill gates preview` on a real Kafka: thresholds are tried on what was recorded."""

import re
import time
from typing import Any

import pytest

from builders.commands import CommandTopics, Run
from builders.golden import Golden
from builders.transcript import transcript

pytestmark = pytest.mark.stack

GATES = ("spam", "nsfw", "misinformation")
VALUES = {"a": 0.95, "b": 0.85, "c": 0.7, "d": 0.1}


@pytest.fixture
def recorded(topics: CommandTopics) -> None:
    """Four posts, each judged by the three filters."""
    topics.make("config", "posts", "overrides", *(f"signals.{gate}" for gate in GATES))

    def send(topic: str, post_id: str, content: dict[str, Any]) -> int:
        return topics.send(topic, post_id, {"post_id": post_id, **content})

    at_ms = int(time.time() * 1000)
    for post_id, value in VALUES.items():
        post = {"author_id": "x", "created_at_ms": at_ms, "text": "t", "communities": ["pets"]}
        post |= {"links": ["https://shop.example.com/"]} if post_id == "b" else {}
        offset = send("posts", post_id, post)
        for gate in GATES:
            signal = {"post_offset": offset, "model": gate, "version": "v", "at_ms": at_ms}
            judged = value if gate == "spam" else 0.0
            send(f"signals.{gate}", post_id, {**signal, "value": judged})


@pytest.mark.usefixtures("recorded")
def test_a_threshold_is_tried_before_it_is_set(run: Run, golden: Golden) -> None:
    lines = (
        *("preview spam.hide_at=0.8", "preview spam.hide_at=0.8 --json"),
        *("preview spam.hide_at=null spam.demote_at=0.8", "preview spam.hide_at=2"),
        "preview spam.hide_at=0.8 --since 0.001s",
    )
    # Nothing is set.
    commands = [*(f"gates {line}" for line in lines), "config history gates"]
    said = transcript(run, commands)
    golden.check("gates.txt", re.sub(r"in \d+ s; this process has [\d,]+", "in <n> s; <n>", said))

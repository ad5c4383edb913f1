"""`feedmill gates preview` on a real Kafka: thresholds are tried on what was recorded."""

import json
import time
from typing import Any

import pytest

from builders.commands import CommandTopics, Run

pytestmark = pytest.mark.stack

GATES = ("spam", "nsfw", "misinformation")
VALUES = {"a": 0.95, "b": 0.85, "c": 0.7, "d": 0.1}


@pytest.fixture
def recorded(topics: CommandTopics) -> None:
    """Four posts, each judged by the three filters."""
    topics.make("config", "posts", *(f"signals.{gate}" for gate in GATES))

    def send(topic: str, post_id: str, content: dict[str, Any]) -> int:
        return topics.send(topic, post_id, {"post_id": post_id, **content})

    at_ms = int(time.time() * 1000)
    for post_id, value in VALUES.items():
        post = {"author_id": "x", "created_at_ms": at_ms, "text": "t", "communities": ["pets"]}
        offset = send("posts", post_id, post)
        for gate in GATES:
            signal = {"post_offset": offset, "model": gate, "version": "v", "at_ms": at_ms}
            judged = value if gate == "spam" else 0.0
            send(f"signals.{gate}", post_id, {**signal, "value": judged})


@pytest.mark.usefixtures("recorded")
def test_a_threshold_is_tried_before_it_is_set(run: Run) -> None:
    result = run("gates preview spam.hide_at=0.8 --json")
    assert result.exit_code == 0, result.output
    rows = {row["source"]: row for row in json.loads(result.stdout)}
    assert set(rows) == {"all", "community:pets", "author:x"}
    assert rows["all"]["before"] == {"show": 1, "demote": 2, "hide": 1, "hold": 0}
    assert rows["all"]["after"] == {"show": 1, "demote": 1, "hide": 2, "hold": 0}
    assert rows["community:pets"]["examples"] == {"demote to hide": ["b"]}

    table = run("gates preview spam.hide_at=null spam.demote_at=0.8").stdout
    assert "1 → 0" in table
    assert "demote to show: c" in table
    assert "hide to demote: a" in table
    # Nothing was set.
    assert run("config history gates").stdout == "nothing was written under `gates`\n"


@pytest.mark.usefixtures("recorded")
def test_a_change_that_would_be_refused_is_refused(run: Run) -> None:
    result = run("gates preview spam.hide_at=2")
    assert result.exit_code == 1
    assert "`gates` would be refused" in result.stderr
    none = run("gates preview spam.hide_at=0.8 --since 0.001s")
    assert none.exit_code == 1
    assert "no posts in this time" in none.stderr

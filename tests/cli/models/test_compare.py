"""`feedmill models compare` on a real Kafka: two versions on the same posts."""

import json
import time
from typing import Any

import pytest

from builders.commands import CommandTopics, Run
from feedmill.events.signal import SignalNames

pytestmark = pytest.mark.stack

OLD, NEW = "0" * 12, "1" * 12
# By post, what the champion and the challenger say, for spam and for quality.
VALUES = {"a": (0.95, 0.7), "b": (0.7, 0.2), "c": (0.1, 0.1), "d": (0.2, 0.95)}


@pytest.fixture
def recorded(topics: CommandTopics) -> None:
    """Four posts that both versions scored, one that a campaign decided, and three labels."""
    others = ("config", "models", "posts", "labels", "shadow")
    topics.make(*others, *(f"signals.{n}" for n in SignalNames().all))
    send = topics.send
    at_ms = int(time.time() * 1000)
    for model in ("spam", "quality"):
        send("models", f"candidate/{model}", {"sha256": "1" * 64, "answers": [0.5]})
    for post_id, (champion, challenger) in {**VALUES, "e": (0.99, 0.1)}.items():
        post = {"post_id": post_id, "author_id": f"by-{post_id}", "created_at_ms": at_ms}
        offset = send("posts", post_id, {**post, "text": f"text of {post_id * 4}"})
        plain: dict[str, Any] = {"post_id": post_id, "post_offset": offset, "at_ms": at_ms}
        for name in SignalNames().all:
            value = champion if name in ("spam", "quality") else 0.0
            signal = {**plain, "value": value, "model": name, "version": OLD}
            more = {"reason": "copy of 12 posts"} if (name, post_id) == ("spam", "e") else {}
            send(f"signals.{name}", post_id, {**signal, **more})
        for name in ("spam", "quality"):
            scored = {**plain, "value": challenger, "model": name, "version": NEW}
            send("shadow", post_id, scored)
    later_ms = int(time.time() * 1000) + 1000
    for post_id, value in (("b", 0.0), ("d", 1.0)):
        label = {"post_id": post_id, "target": "spam", "value": value, "at_ms": later_ms}
        send("labels", post_id, {**label, "source": f"rater-{post_id}"})
    drawn = {"post_id": "a", "target": "spam", "value": 1.0, "at_ms": later_ms}
    send("labels", "a", {**drawn, "source": "auditor", "sampling_probability": 0.01})


@pytest.mark.usefixtures("recorded")
def test_two_versions_are_compared_on_the_same_posts(run: Run) -> None:
    result = run("models compare spam --json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["champion"], found["challenger"], found["posts"]) == (OLD, NEW, 4)
    assert found["left_out"] == {"posts that something else than the model decided": 1}
    assert found["decisions"] == {
        "champion": {"show": 2, "demote": 1, "hide": 1},
        "challenger": {"show": 2, "demote": 1, "hide": 1},
    }
    assert found["differ"] == 3
    assert [one["post_id"] for one in found["examples"]] == ["d", "b", "a"]
    assert found["examples"][0]["champion_does"] == "show"
    assert found["examples"][0]["challenger_does"] == "hide"
    # `b` is fine and `d` violates.
    labels = found["labels"]
    assert (labels["posts"], labels["groups"], labels["labelled"]) == (2, 2, 0.5)
    assert labels["champion"][0] == pytest.approx((0.7**2 + 0.8**2) / 2)
    assert labels["challenger"][0] == pytest.approx((0.2**2 + 0.05**2) / 2)
    # `a` was drawn at random.
    audit = found["audit"]
    assert (audit["posts"], audit["labelled"]) == (1, 1.0)
    assert audit["difference"][0] == pytest.approx(0.05**2 - 0.3**2, abs=1e-6)
    # Spam hides `a` or `d`; the other three stay in some order.
    assert (found["ranking"]["top"], found["ranking"]["kept"]) == (3, 2)

    table = run("models compare spam --examples 1 --seed 3").stdout
    assert "hidden" in table
    assert "the challenger's Brier score is lower by" in table
    assert "decided otherwise: 3 posts" in table

    ranked = json.loads(run("models compare quality --top 2 --json").stdout)
    # Spam hides `a` and `e` and halves `b`: the best are `b` and `d`, then `d` and `c`.
    assert (ranked["posts"], ranked["differ"], ranked["ranking"]["kept"]) == (5, 2, 1)
    assert [one["post_id"] for one in ranked["examples"]] == ["b", "c"]
    assert ranked["labels"] is None
    assert "decisions" not in ranked
    assert "in one of the best 2: 2 posts" in run("models compare quality --top 2").stdout


@pytest.mark.usefixtures("recorded")
def test_what_cannot_be_compared_is_explained(run: Run) -> None:
    never = run("models compare nsfw")
    assert never.exit_code == 1
    assert "no version of `nsfw` ever scored in shadow" in never.stderr
    none = run(f"models compare spam --version {'2' * 12}")
    assert none.exit_code == 1
    assert "no post of this time was scored by 222222222222" in none.stderr

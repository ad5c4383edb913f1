"""`feedmill posts` on a real Kafka: what moderators decide about, with its words and complaints."""

import json
import re
import time
from typing import Any

import pytest

from builders.commands import CommandTopics, Run
from builders.events import override
from builders.golden import Golden
from builders.transcript import transcript
from builders.written_redis import WrittenRedis

pytestmark = pytest.mark.stack

GATES = ("spam", "nsfw", "misinformation")
# What each says to spam; of `held` nothing is known.
VALUES = {"hidden": 0.95, "demoted": 0.7, "shown": 0.1, "near": 0.87, "held": None}
USERS = {("shown", "report"): 3, ("shown", "hide"): 1, ("demoted", "report"): 1}


@pytest.fixture
def recorded(topics: CommandTopics) -> None:
    """Posts of two minutes ago, with signals, complaints and an override."""
    topics.make("config", "posts", "overrides", "engagements", *(f"signals.{g}" for g in GATES))

    def send(topic: str, post_id: str, content: dict[str, Any]) -> int:
        return topics.send(topic, post_id, {"post_id": post_id, **content})

    at_ms = int(time.time() * 1000) - 130_000
    for number, (post_id, value) in enumerate(VALUES.items()):
        post = {"author_id": f"author-of-{post_id}", "created_at_ms": at_ms - number}
        community = "pets" if post_id == "shown" else "cars"
        text = f"The {post_id} one\nsays \x1b[31mhello"
        offset = send("posts", post_id, {**post, "text": text, "communities": [community]})
        for gate in GATES:
            signal = {"post_offset": offset, "model": gate, "version": "v", "at_ms": at_ms}
            if value is not None:
                judged = value if gate == "spam" else 0.01
                send(f"signals.{gate}", post_id, {**signal, "value": judged})
    for (post_id, kind), count in USERS.items():
        for user in range(count):
            event = {"user_id": f"u{user}", "kind": kind, "at_ms": at_ms}
            # One who does it twice counts once.
            for _ in range(2):
                send("engagements", post_id, event)
    topics.send("overrides", "post:near|*", override("hide", by="ann"))


@pytest.mark.usefixtures("recorded")
def test_posts_are_listed_with_words_author_decision_and_complaints(
    run: Run, golden: Golden
) -> None:
    lines = (
        *("", "--hidden", "--demoted --held", "--reported", "--near-threshold"),
        *("--author author-of-held", "--feed community:pets", "--feed pets", "--limit 1"),
        *("--reported --limit 1 --json", "--since 0.001s"),
    )
    said = transcript(run, [f"posts {line}".strip() for line in lines])
    golden.check("posts.txt", re.sub(r"in \d+ s; this process has [\d,]+", "in <n> s; <n>", said))
    assert "\x1b" not in said


@pytest.mark.usefixtures("recorded")
def test_explain_shows_the_text(run: Run, writer: WrittenRedis, topics: CommandTopics) -> None:
    offset = next(one.offset for one in topics.read("posts") if one.key == b"hidden")
    writer.signals("hidden", {"spam": 0.95}, post_offset=offset)
    writer.feed("global", {})
    assert "\ntext: The hidden one says [31mhello\n" in run("explain hidden").stdout
    assert json.loads(run("explain hidden --json").stdout)["text"].startswith("The hidden one\n")
    writer.signals("gone", post_offset=99)
    assert "\ntext: not on Kafka now\n" in run("explain gone").stdout

"""Feeds on demand are for posts that are shown: hidden ones use none of them up."""

from __future__ import annotations

from collections.abc import Callable

from builders.fault_engine import FaultEngine
from builders.waiting import now_ms, until

COMMUNITIES, EACH = 1200, 16


def test_communities_of_hidden_spam_keep_no_new_community_from_its_feed(
    fault_engine: Callable[..., FaultEngine],
) -> None:
    engine = fault_engine()
    engine.ready_worker()
    hidden = {"verdict": "hide", "by": "mod", "reason": "spam", "at_ms": now_ms()}
    engine.send("overrides", "author:spammer|*", hidden).get(10)
    # Kafka keeps no order between topics: the override is in force once a post of the author hides.
    first = {"post_id": "first", "author_id": "spammer", "created_at_ms": now_ms(), "text": "Hi"}
    engine.posts([first])
    engine.wait_decision("first", "hide")
    names = [f"of-spam-{n}" for n in range(COMMUNITIES)]
    spam = {
        f"spam-{n}": {
            "post_id": f"spam-{n}",
            "author_id": "spammer",
            "created_at_ms": now_ms(),
            "text": f"Offer {n}: win a prize now",
            "communities": names[n : n + EACH],
        }
        for n in range(0, COMMUNITIES, EACH)
    }
    engine.posts(spam.values())
    decided = engine.wait_decided(spam)
    assert {truth["decision"] for truth in decided.values()} == {"hide"}

    engine.post("shown", text="We mend nets on Sunday", communities=["menders"])
    engine.wait_decided(["shown"])
    until(lambda: engine.order("community:menders") == ["shown"], 10)
    start = f"{engine.prefix}feed:{{community:"
    assert list(engine.redis.scan_iter(f"{start}of-spam*")) == []

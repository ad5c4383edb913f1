"""Edits, deletions, dates and repeats: only what is true of the present post is ever shown."""

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from builders.engine import Engine
from builders.waiting import in_background, now_ms, until

pytestmark = pytest.mark.stack


def watch(engine: Engine, post_id: str, stop: threading.Event) -> list[bool]:
    """Whether a feed shows a post, read after read, as fast as Redis answers."""
    seen = []
    while not stop.is_set():
        seen.append(post_id in engine.order())
    return seen


def approve(engine: Engine, post_id: str, offset: int) -> None:
    """What `feedmill override allow` writes."""
    allowed = {"verdict": "allow", "by": "mod", "reason": "art", "at_ms": now_ms()}
    engine.send("overrides", f"post:{post_id}|nsfw", {**allowed, "post_offset": offset}).get(30)


@pytest.mark.parametrize("approved", [True, False], ids=["approved", "harmless"])
def test_an_edit_is_never_shown_on_the_old_verdict(combiner_alone: Engine, approved: bool) -> None:
    engine = combiner_alone
    for round_ in range(4):
        post = f"edited-{approved}-{round_}"
        first = engine.post(post, "A painting of a nude")
        engine.write_signals({post: first}, quality=0.9, nsfw=0.95 if approved else 0.0)
        if approved:
            engine.wait_decision(post, "hide")
            approve(engine, post, first)
        engine.wait_shown(post)
        with in_background(partial(watch, engine, post)) as watching:
            second = engine.post(post, "porn")
            for name, value in (("spam", 0.0), ("misinformation", 0.0), ("quality", 1.0)):
                engine.signal(name, post, second, value)
            engine.signal("nsfw", post, first, 0.0)  # an old verdict that comes late
            engine.wait_gone(post)
            time.sleep(0.1)
            engine.signal("nsfw", post, second, 0.99).get(10)
            engine.wait_decision(post, "hide", 5)
        seen = watching.result()
        gone = seen.index(False)
        assert not any(seen[gone:]), f"shown again after {gone} reads"
    assert engine.complaints() == []


@pytest.mark.parametrize(
    "removal", [lambda post: None, lambda post: {"post_id": post, "deleted": True}]
)
def test_a_deleted_post_is_gone_and_stays_gone(
    combiner_alone: Engine, removal: Callable[[str], Any]
) -> None:
    engine = combiner_alone
    post = f"deleted-{now_ms()}"
    offset = engine.post(post, communities=["gardening"])
    engine.write_signals({post: offset}, quality=0.9)
    until(lambda: post in engine.order() and post in engine.order("community:gardening"))
    engine.send("posts", post, removal(post)).get(10)
    until(lambda: post not in engine.order() and not engine.truth(post), 5)
    engine.write_signals({post: offset}, quality=0.9)  # what came too late
    time.sleep(0.5)
    assert post not in engine.order() + engine.order("community:gardening")
    assert not engine.truth(post)
    offset = engine.post(post)
    engine.write_signals({post: offset}, quality=0.9)
    until(lambda: post in engine.order())
    assert post not in engine.order("community:gardening")


def test_a_post_that_is_there_again_is_ranked_after_a_restart(start_engine: Any) -> None:
    engine: Engine = start_engine("combiner")
    for post in ("again-0", "again-1", "again-2"):
        first = engine.post(post)
        engine.write_signals({post: first}, quality=0.2)
        engine.send("posts", post, None).get(10)
        for name in (*engine.gates, "quality"):
            engine.send(f"signals.{name}", post, None).get(10)
        engine.write_signals({post: engine.post(post)}, quality=0.8)
    until(lambda: len(engine.order()) == 3)
    # Not what was ranked of the last one's first version, but of its second.
    until(lambda: engine.truth("again-2")["quality"]["value"] > 0.5)
    time.sleep(1)
    before = engine.feed()[0]
    engine.workers["combiner"].stop()
    engine.forget_redis()
    engine.restart("combiner")
    engine.wait_ready()
    until(lambda: engine.feed()[0] == before, 10)
    assert engine.check_feed() == 3


def test_a_date_in_the_future_does_not_float(combiner_alone: Engine) -> None:
    engine = combiner_alone
    ahead, later = f"ahead-{now_ms()}", f"later-{now_ms()}"
    offset = engine.post(ahead, created_at_ms=now_ms() + 86_000_000)
    time.sleep(0.02)
    engine.write_signals({ahead: offset, later: engine.post(later)}, quality=0.5)
    until(lambda: {ahead, later} <= set(engine.order()))
    order = engine.order()
    assert order.index(later) < order.index(ahead)
    assert abs(int(engine.truth(ahead)["created_ms"]) - now_ms()) < 60_000
    until(lambda: set(engine.order()) <= set(engine.truths()))

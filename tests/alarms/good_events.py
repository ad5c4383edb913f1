"""Events of a product that is well: none is bad, repeated or late."""

import random
import threading

from builders.fault_engine import FaultEngine
from builders.waiting import now_ms
from chaos.load import COMMUNITIES, random_text

_A_SECOND = 20


def send_good_events(engine: FaultEngine, drawn: random.Random, stop: threading.Event) -> None:
    """Send a post and twenty engagements a second."""
    posts: list[str] = []
    while not stop.wait(1.0):
        posts.append(f"good-{len(posts)}")
        text, community = random_text(drawn), drawn.choice(COMMUNITIES)
        engine.post(posts[-1], text, communities=[community], lang="en", media=[])
        for n in range(_A_SECOND):
            post_id = drawn.choice(posts[-200:])
            event = {"post_id": post_id, "user_id": f"u-{len(posts)}-{n}", "at_ms": now_ms()}
            engine.send("engagements", post_id, {**event, "kind": "impression" if n else "click"})

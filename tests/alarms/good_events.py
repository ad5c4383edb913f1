"""Events of a product that is well: none is bad, repeated or late."""

import random
import threading

from builders.engine import Engine
from chaos.load import COMMUNITIES, random_text

_A_SECOND = 20


def send_good_events(engine: Engine, drawn: random.Random, stop: threading.Event) -> None:
    """Send a post and twenty engagements a second."""
    posts: list[str] = []
    while not stop.wait(1.0):
        posts.append(f"good-{len(posts)}")
        text, community = random_text(drawn), drawn.choice(COMMUNITIES)
        engine.post(posts[-1], text, communities=[community], lang="en", media=[])
        for n in range(_A_SECOND):
            kind = "impression" if n else "click"
            engine.click(drawn.choice(posts[-200:]), f"u-{len(posts)}-{n}", kind=kind)

"""Events in the background: some are edits, deletions, hidden posts, repeated, late or bad."""

import random
import threading
import time
from itertools import count
from typing import Any

from builders.engine import KINDS, Engine
from builders.engine_topics import Json
from builders.waiting import now_ms

COMMUNITIES = ("gardening", "cycling", "cooking")
SPAM = "FREE MONEY!!! Click http://win-cash.example now, 100% guaranteed prize, claim your reward"
_SYLLABLES = "ba den fo gri hal ko lim mor nu pel ras ti vo wen".split()  # noqa: SIM905 - a list of words
_KIND_WEIGHTS = (60, 20, 8, 3, 2, 5, 1, 1)
_LIVE_POSTS = 400
# Loads of one engine share no ids: a user counts once a post, kind and day.
_LOADS = count()


class Load:
    """Sends events at a rate until it is stopped; `events` says how many."""

    def __init__(self, engine: Engine, drawn: random.Random, rate: float = 150.0) -> None:
        self.events = 0
        self._number = next(_LOADS)
        self._engine, self._drawn, self._rate = engine, drawn, rate
        self._posts: list[Json] = []
        self._sent: list[Json] = []
        self._hidden: list[str] = []

    def send_until(self, stop: threading.Event) -> None:
        """For `in_background`."""
        start = time.monotonic()
        while not stop.is_set():
            self.send_some(10)
            stop.wait(max(0.0, start + self.events / self._rate - time.monotonic()))
        self._engine.producer.flush(60)

    def user(self, number: int) -> str:
        """Return who sent the event of this number, if it is an engagement."""
        return f"user-{self._number}-{number}"

    def send_some(self, number: int) -> None:
        """Send so many events."""
        for _ in range(number):
            chance = self._drawn.random()
            if len(self._posts) < 20 or (chance < 0.1 and len(self._posts) < _LIVE_POSTS):
                self._send_post()
            elif chance < 0.12:
                self._edit(self._drawn.choice(self._posts))
            elif chance < 0.13:
                post = self._posts.pop(self._drawn.randrange(len(self._posts)))
                self._send("posts", post["post_id"], None)
            elif chance < 0.135:
                self._hide_or_clear()
            elif chance < 0.14:
                post = self._drawn.choice(self._posts)
                value = {"post_id": post["post_id"], "kind": random_text(self._drawn)}
                self._send("engagements", post["post_id"], value)
            else:
                self._send_engagement()

    def _send_post(self) -> None:
        post = {
            "post_id": f"post-{self._number}-{self.events}",
            "author_id": f"author-{self._drawn.randrange(100)}",
            "created_at_ms": now_ms() - self._drawn.randrange(86_400_000),
            "text": SPAM if self._drawn.random() < 0.05 else random_text(self._drawn),
            "communities": [self._drawn.choice(COMMUNITIES)],
            "lang": "en",
        }
        self._posts.append(post)
        self._post(post)

    def _edit(self, post: Json) -> None:
        """Add a word to a post, unless its copies matter.

        An edit that changes much divides the counts from before it: which ones these are depends
        on when an engine read it, and no log says that.
        """
        if post["text"] != SPAM:
            self._post({**post, "text": f"{post['text']} {self._drawn.choice(_SYLLABLES)}"})

    def _post(self, post: Json) -> None:
        self._send("posts", post["post_id"], post)

    def _hide_or_clear(self) -> None:
        if len(self._hidden) > 5:
            self._send("overrides", f"post:{self._hidden.pop(0)}|*", None)
            return
        post_id = self._drawn.choice(self._posts)["post_id"]
        hide = {"verdict": "hide", "by": "mo", "reason": "seen", "at_ms": now_ms()}
        self._send("overrides", f"post:{post_id}|*", hide)
        self._hidden.append(post_id)

    def _send_engagement(self) -> None:
        if self._sent and self._drawn.random() < 0.1:
            event = self._drawn.choice(self._sent[-50:])
        else:
            event = {
                "post_id": self._drawn.choice(self._posts)["post_id"],
                "user_id": self.user(self.events),
                "kind": self._drawn.choices(KINDS, _KIND_WEIGHTS)[0],
                "at_ms": now_ms() - self._drawn.choice((0, 0, 0, 3_600_000, 86_400_000)),
            }
            if self._drawn.random() < 0.2:
                event["event_id"] = f"event-{self._number}-{self.events}"
                self._sent.append(event)
        self._send("engagements", event["post_id"], event)

    def _send(self, topic: str, key: str, value: Any) -> None:
        self._engine.send(topic, key, value)
        self.events += 1


def random_text(drawn: random.Random) -> str:
    """Nine invented words."""
    return " ".join("".join(drawn.choices(_SYLLABLES, k=drawn.randint(1, 4))) for _ in range(9))

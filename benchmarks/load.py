"""Load for the benchmarks: posts and engagements at a steady rate, and who watches for them.

python benchmarks/load.py --posts 100 --engagements 400 --seconds 10    # alone, unwatched
"""

from __future__ import annotations

import argparse
import itertools
import random
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import redis
from confluent_kafka import Producer

from feedmill.events.decode import encode
from feedmill.events.engagement import Engagement
from feedmill.events.post import Post
from feedmill.simulation.post_writer import COMMUNITIES, PostWriter
from feedmill.streams.environment import Environment, read_environment

WATCHED_A_SECOND = 100
LOOK_EVERY_S = 0.001
# Where events take long, a watcher that looks as often takes the time that it measures.
_LOOKS_A_DELAY = 20
DRAIN_WITHIN_S = 60.0
FEEDS = 100
# What is not visible so long after the last event may be hidden.
_HIDDEN_AFTER_S = 5.0
# So few watched posts share a feed that each of them has a place in it.
_WATCHED_A_FEED = 300
_SYLLABLES = [consonant + vowel for consonant in "bcdfghjklmnprstvwxz" for vowel in "aeiou"]


@dataclass
class Pending:
    """An event that no reader has seen yet."""

    feed: str
    sent_at: float
    score_before: float | None


class Watcher:
    """Looks in Redis for what was sent, as a reader of feeds would.

    A post is visible when the feed of its community has it, an engagement when the score of its
    post there has changed.

    Attributes
    ----------
    seen
        When each event was sent (`time.perf_counter`), and how many seconds later it was visible.
    scores
        The last score of each watched post.
    hidden
        How many watched posts a filter hid: their number is to be small.
    """

    def __init__(self, environment: Environment) -> None:
        self._client = redis.Redis.from_url(environment.redis)
        self._prefix = environment.redis_prefix
        self._pending: dict[str, Pending] = {}
        self._looked_at = 0.0
        self._look_every_s = LOOK_EVERY_S
        self.seen: list[tuple[float, float]] = []
        self.scores: dict[str, float] = {}
        self.feeds: dict[str, str] = {}
        self.hidden = 0

    def watch_post(self, post_id: str, community: str) -> None:
        """Watch for a post that is sent now."""
        self.feeds[post_id] = f"{self._prefix}feed:{{community:{community}}}"
        self._pending[post_id] = Pending(self.feeds[post_id], time.perf_counter(), None)

    def watch_score(self, post_id: str) -> None:
        """Watch for the effect of an engagement that is sent now."""
        before = self.scores[post_id]
        self._pending[post_id] = Pending(self.feeds[post_id], time.perf_counter(), before)

    def is_visible(self, post_id: str) -> bool:
        """Return whether the post, and every event of it that was watched, is visible."""
        return post_id in self.scores and post_id not in self._pending

    def look(self) -> None:
        """Ask once for all that is pending, some 20 times while an event takes as long as the last.

        So a delay is shown up to 5 % too long, or `LOOK_EVERY_S` where that is more.
        """
        if not self._pending or time.perf_counter() - self._looked_at < self._look_every_s:
            return
        items = list(self._pending.items())
        pipeline = self._client.pipeline(transaction=False)
        for post_id, item in items:
            pipeline.zscore(item.feed, post_id)
        scores = pipeline.execute()
        self._looked_at = now = time.perf_counter()
        for (post_id, item), score in zip(items, scores, strict=True):
            if score is not None and score != item.score_before:
                self.seen.append((item.sent_at, now - item.sent_at))
                self._look_every_s = max(LOOK_EVERY_S, (now - item.sent_at) / _LOOKS_A_DELAY)
                self.scores[post_id] = score
                del self._pending[post_id]

    def drain(self) -> None:
        """Look until nothing is pending.

        Raises `SystemExit`: an event never became visible, or a filter hid more than one watched
        post in 100.
        """
        until = time.monotonic() + DRAIN_WITHIN_S
        drop_at = time.monotonic() + _HIDDEN_AFTER_S
        while self._pending:
            self.look()
            time.sleep(LOOK_EVERY_S)
            if time.monotonic() > drop_at:
                drop_at += _HIDDEN_AFTER_S
                self._drop_hidden()
            if time.monotonic() > until:
                raise SystemExit(f"{len(self._pending)} events are not visible: {self._some()}")
        if self.hidden > 10 + len(self.seen) // 100:
            raise SystemExit(f"{self.hidden} of the watched posts are hidden: texts are at fault")

    def milliseconds(self, since: float = 0.0, until: float = float("inf")) -> list[float]:
        """Return the delays of the events that were sent in this time."""
        return [delay * 1000 for sent_at, delay in self.seen if since <= sent_at < until]

    def _drop_hidden(self) -> None:
        for post_id in list(self._pending):
            decision = self._client.hget(f"{self._prefix}signals:{post_id}", "decision")
            if decision == b"hide":
                self.hidden += 1
                del self._pending[post_id]

    def _some(self) -> str:
        return ", ".join(itertools.islice(self._pending, 5))


class Load:
    """Sends posts and engagements, and has about `WATCHED_A_SECOND` of them watched.

    Without a watcher nothing is watched.  `tag` begins every id.
    """

    def __init__(
        self, environment: Environment, watcher: Watcher | None = None, tag: str = "p"
    ) -> None:
        self._environment = environment
        self._producer = Producer(
            {
                "bootstrap.servers": environment.kafka,
                "partitioner": "murmur2_random",
                "linger.ms": 0,
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        self._watcher = watcher
        self._tag = tag
        self._texts = texts(seed=1)
        self._drawn = deque[str]()
        self._sent = self._watched = self._clicks = 0
        self._clickable = deque[str](maxlen=2000)
        self._watchable = deque[str](maxlen=2000)

    def draw(self, count: int) -> None:
        """Draw the texts of so many posts to come: a tenth of a millisecond each."""
        self._drawn.extend(itertools.islice(self._texts, max(0, count - len(self._drawn))))

    def posts(self, rate: float, seconds: float, *, drain: bool = True) -> int:
        """Send new posts, whose texts are drawn before the first one; return how many."""
        self.draw(int(rate * seconds))
        every = _every(rate)
        for i in self._paced(rate, seconds):
            self.send_post(watched=i % every == 0)
        return self._finish(int(rate * seconds), drain)

    def engagements(self, rate: float, seconds: float) -> int:
        """Send clicks on posts of before; return how many.

        Raises `SystemExit`: every post of before is watched: of two clicks on one nobody could tell
        which is seen.
        """
        if self._watcher is not None and not self._clickable:
            raise SystemExit(f"send more than {WATCHED_A_SECOND} posts a second before engagements")
        every = _every(rate)
        for i in self._paced(rate, seconds):
            self.send_click(watched=i % every == 0)
        return self._finish(int(rate * seconds), drain=True)

    def mixed(self, posts: int, engagements: int, seconds: float) -> int:
        """Send both, in turns at their rates; return how many in all."""
        rate = posts + engagements
        for i in self._paced(rate, seconds):
            if not self._clickable or i * posts % rate < posts:
                self.send_post(watched=False)
            else:
                self.send_click(watched=False)
        return self._finish(int(rate * seconds), drain=False)

    def send_post(self, *, watched: bool) -> str:
        """Send one post of an author of its own; return its id."""
        number = self._sent
        self._sent += 1
        post_id = f"{self._tag}{number}"
        community = f"c{number % FEEDS}"
        if watched and self._watcher is not None:
            block, place = divmod(self._watched, FEEDS * _WATCHED_A_FEED)
            community = f"w{block}-{place % FEEDS}"
            self._watched += 1
            self._watchable.append(post_id)
        else:
            self._clickable.append(post_id)
        text = self._drawn.popleft() if self._drawn else next(self._texts)
        now_ms = time.time_ns() // 1_000_000
        post = Post(
            post_id,
            f"a{self._tag}{number}",
            now_ms,
            text,
            lang="en",
            communities=(community,),
        )
        value = encode(post)
        if watched and self._watcher is not None:
            self._watcher.watch_post(post_id, community)
        self._send("posts", post_id, value)
        return post_id

    def send_click(self, *, watched: bool) -> None:
        """Send one click, of another user each time."""
        watcher = self._watcher if watched else None
        posts = self._clickable if watcher is None and self._clickable else self._watchable
        posts.rotate(-1)
        post_id = posts[0]
        self._clicks += 1
        number = f"{self._tag}{self._clicks}"
        now_ms = time.time_ns() // 1_000_000
        value = encode(Engagement(post_id, f"u{number}", "click", now_ms, f"e{number}"))
        if watcher is not None and watcher.is_visible(post_id):
            watcher.watch_score(post_id)
        self._send("engagements", post_id, value)

    def flush(self) -> None:
        """Wait until Kafka has everything."""
        if self._producer.flush(60):
            raise SystemExit("Kafka does not take the load")

    def _finish(self, count: int, drain: bool) -> int:
        self.flush()
        if drain and self._watcher is not None:
            self._watcher.drain()
        return count

    def _send(self, topic: str, key: str, value: bytes) -> None:
        self._producer.produce(self._environment.topic(topic), key=key.encode(), value=value)
        self._producer.poll(0)

    def _paced(self, rate: float, seconds: float) -> Iterator[int]:
        start = time.perf_counter()
        for i in range(int(rate * seconds)):
            due = start + i / rate
            while True:
                if self._watcher is not None:
                    self._watcher.look()
                ahead = due - time.perf_counter()
                if ahead <= 0:
                    break
                time.sleep(min(ahead, LOOK_EVERY_S))
            yield i


def invented_words(count: int, seed: int = 1) -> list[str]:
    """Words of one to four syllables; a few of them are alike."""
    drawn = random.Random(seed)
    return ["".join(drawn.choices(_SYLLABLES, k=drawn.randrange(1, 5))) for _ in range(count)]


def texts(seed: int) -> Iterator[str]:
    """Yield the simulation's ordinary texts in English, every second word an invented one.

    As they are, they repeat after some ten thousand posts, and the spam filter hides campaigns.
    """
    rng = np.random.default_rng(seed)
    writer = PostWriter(rng)
    words = invented_words(4000, seed)
    while True:
        community = COMMUNITIES[int(rng.integers(len(COMMUNITIES)))]
        text = writer.ordinary(community, "en", float(rng.random())).split()
        drawn = rng.integers(len(words), size=len(text[1::2])).tolist()
        text[1::2] = [words[number] for number in drawn]
        yield " ".join(text)


def _every(rate: float) -> int:
    return max(1, round(rate / WATCHED_A_SECOND))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--posts", type=int, default=100)
    parser.add_argument("--engagements", type=int, default=400)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--tag", default="m")
    options = parser.parse_args()
    load = Load(read_environment(), tag=options.tag)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        load.mixed(options.posts, options.engagements, options.seconds)
    finally:
        load.flush()


if __name__ == "__main__":
    main()

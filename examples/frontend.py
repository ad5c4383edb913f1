"""A frontend: reads ranked feeds from Redis, page by page, and follows their changes.

It needs redis-py, and may read the keys `feed:*` and the channel `feed-changes`; it needs nothing
of feedmill. Where experiments run, readers get the list of their arm, and it says so on Kafka.
Copy what you need.

    python examples/frontend.py --redis redis://127.0.0.1:6379/0 --feed global --follow
    python examples/frontend.py --feed global --user bob --kafka 127.0.0.1:9092
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import redis
from assignment.assignment import arm_of

HASH_BYTES = 6
MOST_SHOWN = 1_000  # posts, after which a reader has scrolled to the end: a cursor of 8 kB


@dataclass(frozen=True)
class Feed:
    """The top of a list at one version, best first, with the weights that ranked it.

    `experiment` is what runs on the feed: name, salt, traffic and arms, the control first.
    """

    name: str
    version: int
    posts: tuple[tuple[str, float], ...]
    weights: dict[str, Any]
    config_offset: int
    fresh_until_ms: int
    experiment: dict[str, Any] | None = None

    def stale(self, now_ms: float) -> bool:
        """Whether the combiner has not confirmed the ranking lately; show it all the same."""
        return now_ms > self.fresh_until_ms


def read_feed(
    client: redis.Redis, name: str, first: int = 50, prefix: str = "", arm: str = ""
) -> Feed | None:
    """Read the first posts of a feed and its `:info`; None if there is no such feed.

    With `arm`, as in "<experiment>.<arm>", it is the list of that arm.  Both are read in one MULTI,
    so that ranking and weights belong together, whatever is written meanwhile.
    """
    key = f"{prefix}feed:{{{name}}}" + (f":arm:{arm}" if arm else "")
    with client.pipeline(transaction=True) as multi:
        multi.zrange(key, 0, first - 1, desc=True, withscores=True)
        multi.hgetall(f"{key}:info")
        ranking, info = multi.execute()
    if not info:
        return None
    return Feed(
        name=name,
        version=int(info[b"version"]),
        posts=tuple((post_id.decode(), score) for post_id, score in ranking),
        weights=json.loads(info[b"weights"]),
        config_offset=int(info[b"config_offset"]),
        fresh_until_ms=int(info[b"fresh_until_ms"]),
        experiment=json.loads(info.get(b"experiment", b"null")),
    )


class Exposures:
    """Says on the topic `exposures` which list a reader asks for; it needs confluent-kafka.

    `security` are settings of librdkafka, as `kafka_security` reads them.  It never waits: while
    Kafka is away, records wait in memory, and beyond that they are lost, in every arm alike.
    """

    def __init__(
        self, servers: str, topic: str = "exposures", security: Mapping[str, str] = {}
    ) -> None:
        from confluent_kafka import Producer  # noqa: PLC0415 - reading feeds takes Redis alone

        self._topic, self.lost = topic, 0
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "enable.idempotence": True,
                "partitioner": "murmur2_random",
                "linger.ms": 20,
                **security,
            }
        )

    def __call__(self, exposure: dict[str, Any]) -> None:
        key, value = exposure["user_id"], json.dumps(exposure)
        try:
            self._producer.produce(self._topic, value, key, on_delivery=self._delivered)
        except BufferError:
            self.lost += 1
        self._producer.poll(0)

    def close(self) -> None:
        """Wait until Kafka has all; call it when the frontend stops."""
        self._producer.flush(10)

    def _delivered(self, error: Any, message: Any) -> None:
        self.lost += error is not None


def secret(variables: Mapping[str, str], name: str, default: str = "") -> str:
    """Read a variable, or the file that NAME_FILE names."""
    path = variables.get(f"{name}_FILE")
    return Path(path).read_text("utf-8").strip() if path else variables.get(name) or default


def kafka_security(variables: Mapping[str, str]) -> dict[str, str]:
    """Read how to sign in to Kafka from feedmill's variables, FEEDMILL_KAFKA_…."""
    names = {
        "security.protocol": "SECURITY_PROTOCOL",
        "sasl.mechanism": "SASL_MECHANISM",
        "sasl.username": "SASL_PLAIN_USERNAME",
        "sasl.password": "SASL_PLAIN_PASSWORD",
        "ssl.ca.location": "SSL_CAFILE",
        "ssl.certificate.location": "SSL_CERTFILE",
        "ssl.key.location": "SSL_KEYFILE",
        "ssl.key.password": "SSL_PASSWORD",
    }
    found = {key: secret(variables, f"FEEDMILL_KAFKA_{name}") for key, name in names.items()}
    return {key: text for key, text in found.items() if text}


@dataclass(frozen=True)
class Page:
    """Some posts of a feed, and the cursor of the next page; None on the last page.

    `first` is the position of the first post, from 0; an engagement with the n-th post of the page
    has the position first + n.  `stale`: the ranking was not confirmed lately; say so, show it.
    """

    version: int
    first: int
    post_ids: tuple[str, ...]
    next_cursor: str | None
    stale: bool


class Pages:
    """Serves feeds page by page, each reader the list of their arm where an experiment runs.

    The ranking changes many times per minute, and a page of positions 50 to 99 of "now" would
    repeat or skip posts.  So a page has the best posts of now that the reader was not shown yet,
    and the cursor holds which those are: 6 bytes of hash a post.  No post comes twice, none that
    stays in the list is skipped, what was hidden or deleted is gone, and any replica of the
    frontend goes on, also where an experiment ended meanwhile.

    Parameters
    ----------
    expose
        Gets each exposure before the page is rendered; `Exposures` is one.  Without it nobody is in
        an experiment.
    """

    def __init__(
        self,
        client: redis.Redis,
        prefix: str = "",
        expose: Callable[[dict[str, Any]], None] | None = None,
    ) -> None:
        self._client, self._prefix, self._expose = client, prefix, expose

    def page(
        self, name: str, size: int = 50, cursor: str | None = None, user_id: str | None = None
    ) -> Page | None:
        """Return the first page, or the page of a cursor; None if there is no such feed.

        `user_id` is as in engagements; whoever has none reads the feed itself.
        """
        seen = seen_of(cursor)
        # One more than the page, which tells whether there is another.
        most = len(seen) + size + 1
        feed = read_feed(self._client, name, most, self._prefix)
        if feed is None:
            return None
        if feed.experiment and self._expose and user_id is not None:
            feed = self._of_arm(feed, user_id, (len(seen), size), most)
        unseen = [post_id for post_id, _ in feed.posts if hash_of(post_id) not in seen]
        post_ids = tuple(unseen[:size])
        goes_on = len(unseen) > size and len(seen) + size < MOST_SHOWN
        return Page(
            version=feed.version,
            first=len(seen),
            post_ids=post_ids,
            next_cursor=cursor_of((*seen, *map(hash_of, post_ids))) if goes_on else None,
            stale=feed.stale(time.time() * 1000),
        )

    def _of_arm(self, feed: Feed, user_id: str, asked: tuple[int, int], most: int) -> Feed:
        """Return the list of the reader's arm, and say that it is asked for."""
        running: dict[str, Any] = feed.experiment or {}
        arms = [(arm["name"], arm["share"]) for arm in running["arms"]]
        arm = arm_of(running["salt"], running["name"], user_id, running["traffic"], arms)
        if arm is None:
            return feed
        exposure = {
            "user_id": user_id,
            "experiment": running["name"],
            "arm": arm,
            "feed": feed.name,
            "first": asked[0],
            "count": asked[1],
            "at_ms": int(time.time() * 1000),
        }
        if arm != (control := arms[0][0]):
            named = f"{running['name']}.{arm}"
            found = read_feed(self._client, feed.name, most, self._prefix, named)
            if found is None:  # the experiment has just begun, or ended
                exposure["served"] = control
            feed = found or feed
        if self._expose:
            self._expose({**exposure, "version": feed.version})
        return feed


def hash_of(post_id: str) -> bytes:
    """Return what a cursor holds of a post."""
    return sha256(post_id.encode()).digest()[:HASH_BYTES]


def cursor_of(seen: Iterable[bytes]) -> str:
    """Write a cursor: safe in a URL, of 8 characters a post."""
    return base64.urlsafe_b64encode(b"".join(seen)).decode()


def seen_of(cursor: str | None) -> dict[bytes, None]:
    """Read a cursor, in the order of the posts; empty if it is none, as a user may have sent it."""
    try:
        data = base64.b64decode(cursor or "", b"-_", validate=True)
    except ValueError:
        return {}
    if len(data) % HASH_BYTES or len(data) > MOST_SHOWN * HASH_BYTES:
        return {}
    return dict.fromkeys(data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES))


def changes(
    client: redis.Redis, name: str, prefix: str = "", seconds: float | None = None
) -> Iterator[int | None]:
    """Yield the version of a feed whenever it changed, for some seconds or without an end.

    Redis does not keep messages, and one can be lost. So None is yielded at the start and after
    two seconds without a message: read the feed then, too.
    """
    end = time.monotonic() + (float("inf") if seconds is None else seconds)
    subscription = client.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]  # redis has no type here
    subscription.subscribe(f"{prefix}feed-changes")
    quiet_since = 0.0
    try:
        while (now := time.monotonic()) < end:
            if now - quiet_since >= 2.0:
                quiet_since = now
                yield None
            message = subscription.get_message(timeout=min(0.5, end - now))
            if message is not None and (change := json.loads(message["data"]))["feed"] == name:
                quiet_since = time.monotonic()
                yield change["version"]
        subscription.unsubscribe()
    finally:
        subscription.close()


def watch(client: redis.Redis, name: str, first: int, prefix: str, seconds: float | None) -> None:
    """Print the feed whenever it changed, at most twice per second."""
    printed = None
    for version in changes(client, name, prefix, seconds):
        if version is not None and printed is not None and version <= printed.version:
            continue
        feed = read_feed(client, name, first, prefix)
        if feed is not None and (printed is None or feed.version > printed.version):
            show(feed)
            printed = feed
            time.sleep(0.5)


def show(feed: Feed | None) -> None:
    """Print a feed."""
    if feed is None:
        print("no such feed yet")
        return
    stale = ", STALE" if feed.stale(time.time() * 1000) else ""
    print(f"{feed.name} version {feed.version}, config offset {feed.config_offset}{stale}")
    for rank, (post_id, score) in enumerate(feed.posts, 1):
        print(f"{rank:4} {score:16.6f} {post_id}")


def show_page(page: Page | None) -> None:
    """Print what a reader is shown."""
    if page is None:
        print("no such feed yet")
        return
    print(f"version {page.version}{', STALE' if page.stale else ''}")
    for rank, post_id in enumerate(page.post_ids, page.first + 1):
        print(f"{rank:4} {post_id}")


def main() -> None:
    """Print a feed once, whenever it changes with `--follow`, or as a reader gets it."""
    parser = argparse.ArgumentParser(description="Print a ranked feed from Redis.")
    local = "redis://127.0.0.1:6379/0"
    parser.add_argument("--redis", default=secret(os.environ, "FEEDMILL_REDIS", local))
    parser.add_argument("--redis-prefix", default="")
    parser.add_argument("--feed", default="global")
    parser.add_argument("--top", type=int, default=50)
    parser.add_argument("--follow", action="store_true")
    parser.add_argument("--for", dest="seconds", type=float, help="how long to follow")
    parser.add_argument("--user", help="the page of this reader, in their arm; with --kafka")
    parser.add_argument("--kafka", help="where exposures go")
    parser.add_argument("--topic", default="exposures")
    arguments = parser.parse_args()
    authority = os.environ.get("FEEDMILL_REDIS_SSL_CAFILE")
    tls = {"ssl_ca_certs": authority} if authority else {}
    client = redis.Redis.from_url(arguments.redis, **tls)
    name, top, prefix = arguments.feed, arguments.top, arguments.redis_prefix
    if arguments.user and arguments.kafka:
        security = kafka_security(os.environ)
        exposures = Exposures(arguments.kafka, arguments.topic, security)
        show_page(Pages(client, prefix, exposures).page(name, top, user_id=arguments.user))
        exposures.close()
    elif arguments.follow:
        watch(client, name, top, prefix, arguments.seconds)
    else:
        show(read_feed(client, name, top, prefix))


if __name__ == "__main__":
    main()

"""An effect that comes to readers through the lists, on real servers: found; none: not found.

    python benchmarks/planted_effect.py [--users 6000] [--posts 300] [--rounds 3]

A worker ranks the demo's posts, of ten hours, by quality and age; `engagement` weighs nothing, so
no reader changes what others see.  Posts age fast, and an experiment gives half of the readers of
`global` an arm in which they age slowly: posts of high quality rise.  Each reader asks for one
page, from the list of their arm, and likes posts: more often those of high quality (the effect), or
all posts equally (none).  Nobody's arm is looked at.  What follows is `feedmill experiments export
| join | analyse`.  Events say that they were three hours ago, so that the windows, of one hour, are
over.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from confluent_kafka import Producer
from machine import describe
from msgspec import structs
from subjects import own_servers, running

from feedmill.events.engagement import Engagement
from feedmill.events.exposure import Exposure
from feedmill.events.post import Post
from feedmill.simulation.demo import DemoPosts
from feedmill.simulation.frontend import Frontend
from feedmill.simulation.replay.record_times import with_send_time
from feedmill.streams.redis.reader import FeedReader, open_feed_reader
from feedmill.streams.settings.environment import Environment, environment_variables

PAGE = 10
AGO_MS = 3 * 3_600_000
# Of an impression: on average about as often, whichever the readers like.
LIKES_OF_QUALITY, LIKES_OF_ALL = (0.02, 0.1), (0.08, 0.0)
WITHIN_S = 60.0
POSTS_OF_MS = 10 * 3_600_000
WEIGHTS = ("quality=1", "engagement=0", "half_life_hours=0.1")
ARM = {"name": "slower", "share": 5000, "weights": {"half_life_hours": 168}}


@dataclass
class Site:
    """One installation: where its readers read and what they send."""

    environment: Environment
    folder: Path

    def __post_init__(self) -> None:
        servers = {"bootstrap.servers": self.environment.kafka, "partitioner": "murmur2_random"}
        self._producer = Producer(servers)
        self.reader: FeedReader = open_feed_reader(
            self.environment.redis, self.environment.redis_prefix
        )

    def send(self, topic: str, event: Post | Engagement | Exposure, at_ms: int) -> None:
        """Send an event of this time."""
        record = with_send_time(event, at_ms)
        self._producer.produce(self.environment.topic(topic), record.value, record.key)
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait until Kafka has all."""
        self._producer.flush(60)

    def run(self, *words: str, fails: bool = False) -> str:
        """Run a command of feedmill; return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "feedmill.cli.main", *words],
            env={**os.environ, **environment_variables(self.environment)},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            text=True,
            check=not fails,
        )
        return done.stdout

    def wait_for(self, arm: str = "", posts: int = PAGE) -> None:
        """Wait until a list of `global` has so many posts."""
        until = time.monotonic() + WITHIN_S
        while True:
            found = self.reader.feed("global", 1, arm)
            if found is not None and int(found.info["size"]) >= posts:
                return
            if time.monotonic() > until:
                raise SystemExit(f"no list of {posts} posts: {found}")
            time.sleep(0.1)


def publish(site: Site, posts: int) -> None:
    """Send the demo's posts, and wait until most are in the feed: filters hide some."""
    site.run("config", "set", "weights", *WEIGHTS)
    maker = DemoPosts("planted", np.random.default_rng(1))
    first_ms = int(time.time() * 1000) - POSTS_OF_MS
    for number in range(posts):
        site.send("posts", maker.post(number)[0], first_ms + number * POSTS_OF_MS // posts)
    site.flush()
    site.wait_for(posts=posts // 2)


def experiment(site: Site, name: str, likes: tuple[float, float], users: int) -> dict[str, Any]:
    """Run one experiment from its start to its stop; return what the analysis says."""
    control = {"name": "control", "share": 5000}
    setting = {"arms": [control, ARM], "feeds": ["global"], "salt": name, "planned_n": users // 2}
    file = site.folder / f"{name}.json"
    file.write_text(json.dumps({**setting, "window_hours": 1}))
    site.run("experiments", "start", file.name)
    site.wait_for(f"{name}.{ARM['name']}")
    read(site, name, likes, users)
    table, record = f"{name}.parquet", f"{name}.record.json"
    site.run("experiments", "export", "--out", "export")
    start_before(site.folder / "export", name)
    site.run("experiments", "join", "export", name, "--out", table, "--record", record)
    words = (
        "experiments",
        "analyse",
        table,
        "--experiment",
        file.name,
        "--record",
        record,
        "--json",
    )
    found: dict[str, Any] = json.loads(site.run(*words, fails=True))
    site.run("experiments", "stop", name)
    return found


def start_before(export: Path, name: str) -> None:
    """Let the experiment have begun before its events, which say that they were hours ago."""
    for file in (export / "parts").glob("*.json"):
        part = json.loads(file.read_bytes())
        for setting in part["settings"]:
            if setting["key"] == f"experiments/{name}":
                setting["at_ms"] = int(time.time() * 1000) - 2 * AGO_MS
        file.write_text(json.dumps(part))


def read(site: Site, name: str, likes: tuple[float, float], users: int) -> None:
    """Let each reader ask for a page and like some of it; `likes`: at quality 0, and more at 1."""
    rng = np.random.default_rng(sum(name.encode()))
    frontend, quality = Frontend(site.reader, "global"), dict[str, float]()
    for number in range(users):
        user, at_ms = f"{name}-{number}", int(time.time() * 1000) - AGO_MS
        page = frontend.page(user, PAGE)
        if page.exposure is not None:
            site.send("exposures", page.exposure, at_ms)
        for post in site.reader.posts([one for one in page.post_ids if one not in quality]):
            signal = post.signal("quality")
            quality[post.post_id] = 0.0 if signal is None else signal.value or 0.0
        for position, post_id in enumerate(page.post_ids):
            seen = Engagement(post_id, user, "impression", 0, feed=page.feed, position=position)
            site.send("engagements", seen, at_ms + position)
            if rng.random() < likes[0] + likes[1] * quality[post_id]:
                liked = structs.replace(seen, kind="like")
                site.send("engagements", liked, at_ms + 5_000 + position)
    site.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=6000)
    parser.add_argument("--posts", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(describe())
    print(f"{options.users} readers an experiment, {options.posts} posts\n")
    print("| readers like | control | slower | difference | interval | found better |")
    print("|---|--:|--:|--:|---|---|", flush=True)
    wrong = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        own_servers() as environment,
        running("worker", environment),
    ):
        site = Site(environment, Path(folder))
        publish(site, options.posts)
        for number in range(options.rounds):
            for what, likes in (("all alike", LIKES_OF_ALL), ("quality", LIKES_OF_QUALITY)):
                report = experiment(site, f"{what.split()[-1]}-{number}", likes, options.users)
                wrong += print_row(what, report) != (likes is LIKES_OF_QUALITY)
    if wrong:
        raise SystemExit(f"{wrong} experiments came out otherwise than they were planted")


def print_row(what: str, report: dict[str, Any]) -> bool:
    """Print what an analysis says of take_rate; return whether it says that the arm is better."""
    if not report["valid"]:
        raise SystemExit(report["conclusion"])
    primary = report["arms"][0]["metrics"][0]
    [dose] = [one["found"] for one in report["checks"] if one["check"] == "dose"]
    interval = f"{primary['lower']:+.2%} to {primary['upper']:+.2%}"
    found = "yes" if primary["better"] else "no"
    cells = (f"{primary[name]:.2%}" for name in ("control", "treated"))
    print(f"| {what} | {' | '.join(cells)} | {primary['difference']:+.2%} | {interval} | {found} |")
    print(f"  {dose}", file=sys.stderr)
    return bool(primary["better"])


if __name__ == "__main__":
    main()

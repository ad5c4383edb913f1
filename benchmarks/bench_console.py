"""Time the console's preview from the input to the list, and the memory of its view.

A Kafka of its own gets posts with signals; the process of the view reads them; then every question
has other weights.  The limit at 100,000 posts is a median of 200 ms, at a million 700 MB of memory.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import machine
import numpy as np
from confluent_kafka import Producer

from feedmill.console.access import Access
from feedmill.console.routes import Console
from feedmill.console.tokens import TokenFile
from feedmill.console.view import View
from feedmill.console.view_messages import PreviewAsk
from feedmill.deploy.local import down, up
from feedmill.streams.environment import Environment, declared_signals
from feedmill.streams.kafka import topics

LIMIT_MS, LIMIT_MB = 200, 700
_HOUR_MS = 3_600_000


def fill(kafka: str, posts: int) -> None:
    """Write posts of the last six days, with the signals that every post has."""
    producer = Producer(
        {
            "bootstrap.servers": kafka,
            "linger.ms": 50,
            "queue.buffering.max.messages": 10_000_000,
            "acks": "all",
            "partitioner": "murmur2_random",
            "compression.type": "zstd",
        }
    )
    random, now = np.random.default_rng(54), time.time_ns() // 1_000_000
    offsets: dict[str, int] = {}

    def stored(error: object, message: object) -> None:
        assert error is None, error
        offsets[message.key().decode()] = message.offset()  # type: ignore[attr-defined]  # a message

    for number in range(posts):
        value = {
            "post_id": f"p{number}",
            "author_id": f"a{number % (posts // 10)}",
            "text": "x",
            "created_at_ms": now - int(random.random() * 140 * _HOUR_MS),
        }
        producer.produce("posts", json.dumps(value), f"p{number}", on_delivery=stored)
        producer.poll(0)
    producer.flush(120)
    for post_id, offset in offsets.items():
        drawn = {"quality": random.random(), "engagement": random.random() / 10}
        drawn |= dict.fromkeys(("spam", "nsfw", "misinformation"), 0.01)
        for name, drawn_value in drawn.items():
            signal = {
                "post_id": post_id,
                "post_offset": offset,
                "value": float(np.float32(drawn_value)),
                "model": name,
                "version": "1",
                "at_ms": now,
            }
            producer.produce(f"signals.{name}", json.dumps(signal), post_id)
            producer.poll(0)
    producer.flush(120)


def measure(view: View, posts: int, questions: int) -> tuple[list[float], float]:
    """Return the milliseconds of each question, and the megabytes of the process."""
    begun = time.monotonic()
    while (seen := view.ask("bench", PreviewAsk("global"))).result is None:
        assert time.monotonic() < begun + 1800, seen
        time.sleep(0.5)
    assert seen.result.view_posts == posts, seen.result.view_posts
    took = []
    for number in range(questions):
        weights = {"quality": 0.5, "engagement": 0.5 + number / questions}
        start = time.perf_counter()
        result = view.ask("bench", PreviewAsk("global", (("weights/global", weights),))).result
        took.append(1000 * (time.perf_counter() - start))
        assert result.then.weights["engagement"] == weights["engagement"]
        assert len(result.then.best) == len(result.now.best) == 20
    return took, view.memory_mb()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, default=100_000)
    parser.add_argument("--questions", type=int, default=100)
    options = parser.parse_args()
    print(machine.describe())
    with tempfile.TemporaryDirectory() as folder:
        stack = up(Path(folder))
        try:
            signals = declared_signals("")
            topics.create(stack.kafka, "", 4, signals.all)
            fill(stack.kafka, options.posts)
            environment = Environment(kafka=stack.kafka, redis=stack.redis, signals=signals)
            console = Console(environment, Access(TokenFile(Path(folder) / "tokens.json")))
            took, memory_mb = measure(console.part(View), options.posts, options.questions)
            console.close()
        finally:
            down(Path(folder))
    p50, p99 = np.quantile(took, (0.5, 0.99))
    print(
        f"{options.posts:,} posts: a preview p50 {p50:.0f} ms (limit {LIMIT_MS}), p99 {p99:.0f} ms;"
        f" the process of the view {memory_mb:.0f} MB (limit {LIMIT_MB} at 1,000,000)"
    )


if __name__ == "__main__":
    main()

"""Plain Faust agents against the batch transport, both decoding every record.

    python benchmarks/bench_streams.py [--records 300000]

The same topic of four partitions is read by a plain Faust app, one event at a time, and
by `BatchApp`, each in a process of its own.  Both decode and check every record with the
same function and must come to the same count and the same sum before a time is shown.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from typing import Any

import faust
from engine import own_environment
from machine import describe

from feedmill.events.decode import decode_engagement, encode
from feedmill.events.engagement import Engagement
from feedmill.streams.kafka.clients import new_producer
from feedmill.streams.kafka.producing import BatchProducer
from feedmill.streams.kafka.topics import create
from feedmill.streams.kafka.transport import BatchApp
from feedmill.streams.settings.environment import (
    Environment,
    environment_variables,
    read_environment,
)

BAR = 15


class Tally:
    """Counts what is decoded, and times it from the first record to the last."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.count = 0
        self.sum = 0
        self.done = asyncio.Event()
        self._start = (0.0, 0.0)

    def take(self, key: bytes | None, value: bytes | None) -> None:
        if self.count == 0:
            self._start = (time.perf_counter(), _cpu())
        event = decode_engagement(key, value)
        self.sum += event.at_ms
        self.count += 1
        if self.count == self.wanted:
            wall, cpu = time.perf_counter() - self._start[0], _cpu() - self._start[1]
            print(json.dumps({"count": self.count, "sum": self.sum, "wall": wall, "cpu": cpu}))
            sys.stdout.flush()
            os._exit(0)


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


async def plain(environment: Environment, tally: Tally) -> None:
    app = faust.App(
        environment.group("plain"),
        broker=f"kafka://{environment.kafka}",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        store="memory://",
        value_serializer="raw",
        key_serializer="raw",
    )
    topic = app.topic(environment.topic("engagements"), value_type=bytes, key_type=bytes)

    async def agent(stream: faust.StreamT) -> None:
        async for event in stream.events():
            tally.take(event.key, event.value)

    app.agent(topic, name="plain")(agent)
    await app.start()
    await tally.done.wait()


async def batch(environment: Environment, tally: Tally) -> None:
    app = BatchApp(environment, "batch")

    async def agent(stream: faust.StreamT) -> None:
        async for one in stream:
            for record in one.records:
                tally.take(record.key, record.value)
            app.ledger.finish(one)

    app.agent(app.batches("engagements"), name="batch")(agent)
    await app.start()
    await tally.done.wait()


async def fill(environment: Environment, count: int) -> int:
    """Write the records; returns the sum to be found."""
    client = new_producer(environment)
    await client.start()
    producer = BatchProducer(client, environment)
    total = 0
    for i in range(count):
        event = Engagement(f"post-{i % 5000}", f"user-{i % 977}", "click", 1_790_000_000_000 + i)
        total += event.at_ms
        producer.add("engagements", event.post_id.encode(), encode(event))
        if i % 20_000 == 19_999:
            await producer.flush()
    await producer.flush()
    await client.stop()
    return total


Reader = Callable[[Environment, Tally], Coroutine[Any, Any, None]]
READERS: dict[str, Reader] = {"plain": plain, "batch": batch}


def measure(environment: Environment, name: str, count: int) -> dict[str, float]:
    env = {**os.environ, **environment_variables(environment)}
    done = subprocess.run(
        [sys.executable, __file__, "--read", name, "--records", str(count)],
        env=env, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if not done.stdout:
        raise SystemExit(f"{name} failed: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--read", choices=READERS)
    options = parser.parse_args()
    if options.read:
        environment = read_environment()
        asyncio.run(READERS[options.read](environment, Tally(options.records)))
        return
    environment = own_environment()
    create(environment.kafka, environment.topic_prefix, 4, environment.signals.all)
    total = asyncio.run(fill(environment, options.records))
    print(describe())
    print(f"{'reader':<8}{'records':>9}{'wall µs/record':>16}{'CPU µs/record':>15}")
    found = {name: measure(environment, name, options.records) for name in READERS}
    for name, one in found.items():
        assert (one["count"], one["sum"]) == (options.records, total), f"{name} read other records"
        wall, cpu = (one[key] / one["count"] * 1e6 for key in ("wall", "cpu"))
        print(f"{name:<8}{one['count']:>9}{wall:>16.2f}{cpu:>15.2f}")
    ratios = {key: found["plain"][key] / found["batch"][key] for key in ("wall", "cpu")}
    print(f"ratio: wall {ratios['wall']:.1f}, CPU {ratios['cpu']:.1f} (bar: {BAR})")


if __name__ == "__main__":
    main()

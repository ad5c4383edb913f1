"""What `compression.type=zstd` of a topic costs the broker and a reader, beside a topic without it.

    python benchmarks/bench_topic_codec.py [--records 200000] [--rounds 3]

Starts a Kafka of its own.  Ordinary posts (300 bytes, words of this project's pages, seeded) by a
producer of each codec, librdkafka, as fast as it goes in batches of 5 ms; then one consumer reads
them all, as a worker's client does.  Topics with and without the setting take turns, and the reader
proves that every record is there.  Processor time of broker and reader, the median of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import Producer
from confluent_kafka import TopicPartition as KafkaPartition
from confluent_kafka.admin import AdminClient, NewTopic
from machine import describe

from feedmill.deploy.local import down, up
from feedmill.streams.kafka.client import ClientHealth, new_log_consumer
from feedmill.streams.settings.environment import Environment

CODECS = ("none", "snappy", "lz4", "zstd", "gzip")
SETTINGS = ("producer", "zstd")
PARTITIONS = 4
PAGES = Path(__file__).parents[1] / "docs"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Turn:
    """One topic written and read: processor seconds of each, and what it takes on disk."""

    write_s: float
    broker_write_s: float
    read_s: float
    reader_s: float
    disk_mb: float


def posts(count: int) -> list[tuple[bytes, bytes]]:
    """Keys and values."""
    drawn = random.Random(1)
    words = " ".join(page.read_text("utf-8") for page in sorted(PAGES.glob("*.md"))).split()
    return [
        (
            f"p{n}".encode(),
            json.dumps(
                {
                    "post_id": f"p{n}",
                    "author_id": f"a{drawn.randrange(9_999)}",
                    "created_at_ms": 1_700_000_000_000 + n,
                    "text": " ".join(drawn.choices(words, k=30)),
                }
            ).encode(),
        )
        for n in range(count)
    ]


class Broker:
    """The broker of the stack: its processor time, and its folder."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder / "kafka", address
        self._pid = int(json.loads((folder / "kafka.pid").read_text())["pid"])

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) * _TICK_S

    def disk_mb(self, topic: str) -> float:
        parts = self.folder.glob(f"{topic}-[0-9]*/*.log")
        return sum(part.stat().st_blocks * 512 for part in parts) / 1e6


def turn(broker: Broker, setting: str, codec: str, records: list[tuple[bytes, bytes]]) -> Turn:
    """Write and read a new topic."""
    topic = f"{setting}-{codec}-{time.monotonic_ns()}"
    admin = AdminClient({"bootstrap.servers": broker.address})
    config = {"compression.type": setting, "message.timestamp.type": "LogAppendTime"}
    admin.create_topics([NewTopic(topic, PARTITIONS, 1, config=config)])[topic].result(30)
    producer = Producer(
        {
            "bootstrap.servers": broker.address,
            "compression.type": codec,
            "linger.ms": 5,
            "queue.buffering.max.messages": len(records),
        }
    )
    producer.list_topics(topic, timeout=10)
    start, cpu = time.perf_counter(), broker.cpu_s()
    for key, value in records:
        producer.produce(topic, value, key)
    assert producer.flush(120) == 0
    write_s, broker_write_s = time.perf_counter() - start, broker.cpu_s() - cpu
    disk_mb = broker.disk_mb(topic)
    read_s, reader_s = read(broker.address, topic, len(records))
    admin.delete_topics([topic])[topic].result(30)
    return Turn(write_s, broker_write_s, read_s, reader_s, disk_mb)


def read(address: str, topic: str, count: int) -> tuple[float, float]:
    """Read everything as a worker's client does; seconds, and those of the processor."""
    consumer = new_log_consumer(Environment(kafka=address), ClientHealth())
    consumer.list_topics(topic, timeout=10)
    start, cpu = time.perf_counter(), time.process_time()
    consumer.assign([KafkaPartition(topic, p, 0) for p in range(PARTITIONS)])
    found: set[bytes] = set()
    while len(found) < count:
        found.update(m.key() for m in consumer.consume(256, 0.05) if m.error() is None)
    seconds = time.perf_counter() - start, time.process_time() - cpu
    consumer.close()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    print(describe())
    records = posts(options.records)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            broker = Broker(folder, up(folder).kafka)
            turn(broker, "zstd", "none", records)
            print(f"{options.records:,} posts; seconds without the setting, with it, and the ratio")
            for codec in CODECS:
                found: dict[str, list[Turn]] = {setting: [] for setting in SETTINGS}
                for _ in range(options.rounds):
                    for setting in SETTINGS:
                        found[setting].append(turn(broker, setting, codec, records))
                _print(codec, found)
        finally:
            down(folder)


def _print(codec: str, found: dict[str, list[Turn]]) -> None:
    shown = []
    for field in ("write_s", "broker_write_s", "read_s", "reader_s", "disk_mb"):
        before, after = (
            statistics.median(getattr(one, field) for one in found[setting]) for setting in SETTINGS
        )
        shown.append(f"{field} {before:.2f} {after:.2f} ({after / max(before, 0.01):.2f})")
    print(f"{codec:6} ", "  ".join(shown), flush=True)


if __name__ == "__main__":
    main()

"""Floods of one producer that must not stop the ranking: each sends records by a plain client."""

import contextlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from confluent_kafka import KafkaError, Message, Producer

from builders.bombs import MIB, RefusedBatch, bomb, send_batch
from builders.engine import Engine
from builders.engine_topics import id_in, post_of
from builders.hostile_texts import hostile_texts
from builders.shards import communities
from builders.waiting import now_ms
from feedmill.events.partition import shard_of

# Of one post, by the contract.
COMMUNITIES_OF_A_POST = 16
LARGE_BYTES = 900_000
PAIRS = 300
# What each shard has, and the community that ordinary authors begin meanwhile.
PLACES = 32
NEW_COMMUNITY = "one"
BOMBED_TOPICS = ("posts", "engagements", "overrides", "config", "signals.misinformation")
# By codec, how many bytes a batch inflates to, in MiB.
BOMBS = (("zstd", 130), ("gzip", 130), ("snappy", 20), ("lz4", 230), ("zstd", 1024), ("gzip", 1024))


Send = Callable[[Engine, Random], int]


@dataclass(frozen=True)
class Attack:
    """What a producer sends, in rounds; each returns how many records.

    `while_stopped` is sent while no worker runs; ordinary posts behind it are ranked within
    `bar_s`.  `kills` says whether the worker is killed afterwards, and `killed_bar_s` how soon
    posts are ranked then.  `is_short`: the short form has it, too, whatever is drawn.
    """

    name: str
    sends: Sequence[Send]
    while_stopped: bool = False
    bar_s: float = 10.0
    kills: bool = True
    killed_bar_s: float = 30.0
    is_short: bool = False


def attacks(*, is_long: bool) -> Iterator[Attack]:
    """All attacks: with as many records as an evening of one producer, or a tenth of them."""
    share = 1 if is_long else 10
    kinds = list(hostile_texts(length=1))[:: 1 if is_long else 8]
    number = 1_000 // share
    name = f"{number:,} of the longest posts of each of {len(kinds)} hostile kinds"
    yield Attack(name, [partial(_texts, [kind], number) for kind in kinds], kills=False)
    yield Attack(f"{number:,} of the longest posts of all kinds", [partial(_texts, kinds, number)])
    for codec, inflated_mib in BOMBS if is_long else BOMBS[:3]:
        name = f"batches of {codec} that inflate to {inflated_mib} MiB"
        yield Attack(name, [partial(_bombs, codec, inflated_mib)])
    keys, tombstones = partial(_large_keys, 1_200 // share), partial(_tombstones, 10**6 // share)
    yield Attack("keys of 900 kB while it is stopped", [keys], while_stopped=True, bar_s=30.0)
    # What a million of them takes is a rate, and no bar.
    name = "a million tombstones while it is stopped"
    yield Attack(name, [tombstones], while_stopped=True, bar_s=math.inf)
    yield Attack("garbage of 900 kB as engagements", [partial(_garbage, 10_000 // share)])
    yield Attack("refused settings", [partial(_refused_settings, 5_000 // share)])
    yield Attack("forged heartbeats", [partial(_heartbeats, 20_000 // share)], is_short=True)
    yield Attack("overrides of authors", [partial(_author_overrides, 20_000 // share)])
    name = f"{PAIRS} pairs of a large batch and a good post on one partition"
    yield Attack(name, [_pairs], killed_bar_s=15.0, is_short=True)
    full = [partial(_in_full_shards, range(32)), partial(_in_full_shards, range(32, 256))]
    name = "32 and 256 accounts in 16 communities each, of the shard of another"
    yield Attack(name, full, kills=False, is_short=True)
    shown, deleted = (partial(send, 6_500 // share) for send in (_communities, _deleted))
    yield Attack("invented communities, shown", [shown])
    yield Attack("invented communities, then deleted", [deleted])


def _texts(kinds: Sequence[str], number: int, engine: Engine, drawn: Random) -> int:
    drawn_texts = [hostile_texts(seed=drawn.randrange(2**30)) for _ in range(5)]
    texts = [of_seed[kind] for of_seed in drawn_texts for kind in kinds]
    tag = kinds[0].replace(" ", "-")
    posts = (
        (f"{tag}-{n}", _post(f"{tag}-{n}", f"author-{tag}-{n}", texts[n % len(texts)]))
        for n in range(number)
    )
    return _send(engine, "posts", posts)


def _bombs(codec: str, inflated_mib: int, engine: Engine, _: Random) -> int:
    batch, taken = bomb(codec, inflated_mib * MIB), 0
    for topic in BOMBED_TOPICS:
        # What the broker refuses is no attack; that it is, is no failure.
        with contextlib.suppress(RefusedBatch):
            send_batch(engine.kafka, engine.topic(topic), 0, batch)
            taken += 1
    return taken


def _pairs(engine: Engine, _: Random) -> int:
    batch, topic, producer = bomb("zstd", 130 * MIB), engine.topic("posts"), engine.producer_of()
    for n in range(PAIRS):
        send_batch(engine.kafka, topic, 0, batch)
        post_id = id_in(0, f"pair-{n}", engine.partitions)
        producer.produce(topic, _post(post_id, f"author-{n}", f"Notes on pair {n}"), post_id)
        assert producer.flush(30) == 0
    return 2 * PAIRS


def _in_full_shards(accounts: Iterable[int], engine: Engine, _: Random) -> int:
    """Take the places of the shard of `NEW_COMMUNITY`, by a post of each of these accounts."""
    names = communities("ground", PLACES, shard_of(f"community:{NEW_COMMUNITY}"))
    ids = [f"ground-{n}" for n in accounts]
    posts = (
        (post_id, _post(post_id, post_id, f"Notes on subject {n}", communities=names[n % 2 :: 2]))
        for n, post_id in enumerate(ids)
    )
    count = _send(engine, "posts", posts)
    engine.wait_decided(ids, 60)
    return count


def _large_keys(number: int, engine: Engine, drawn: Random) -> int:
    rest = drawn.randbytes(LARGE_BYTES // 2).hex()
    keys = (f"{n}-{rest}" for n in range(number))
    return _send(engine, "posts", ((key, None) for key in keys))


def _tombstones(number: int, engine: Engine, _: Random) -> int:
    return _send(engine, "posts", ((f"never-posted-{n}", None) for n in range(number)))


def _garbage(number: int, engine: Engine, drawn: Random) -> int:
    # Of drawn bytes, which no codec makes small.
    garbage = drawn.randbytes(LARGE_BYTES)
    return _send(engine, "engagements", ((f"garbage-{n}", garbage) for n in range(number)))


def _refused_settings(number: int, engine: Engine, _: Random) -> int:
    refused = json.dumps({"value": {"qualty": 1.0}, "by": "somebody"}).encode()
    keys = (f"weights/community:c{n}" for n in range(number))
    return _send(engine, "config", ((key, refused) for key in keys), partition=0)


def _heartbeats(number: int, engine: Engine, _: Random) -> int:
    """Of groups that workers could be in, each of an instance of its own that leaves."""
    groups = ("!", *(engine.topic(name) for name in ("", "worker", "worker-spam", "signals.x")))
    usual = {"host": "h" * 1_000, "pid": 1, "build": "", "config_offset": 10**9, "refused": []}
    usual |= {"models": {}, "ready": True, "lag": 0, "leaving": [2**31, -1, *range(64)]}

    def heartbeats() -> Iterator[tuple[str, bytes]]:
        for n in range(number):
            stage, own = ("combiner", "spam")[n % 2], {"group": groups[n % 5], "at_ms": now_ms()}
            own |= {"stage": stage, "instance": f"liar-{n}"}
            yield f"{stage}/liar-{n}", json.dumps(usual | own).encode()

    return _send(engine, "instances", heartbeats(), partition=0)


def _author_overrides(number: int, engine: Engine, _: Random) -> int:
    hide = {"verdict": "hide", "by": "mo", "reason": "seen", "at_ms": now_ms()}
    value = json.dumps(hide).encode()
    return _send(engine, "overrides", ((f"author:a-{n}|*", value) for n in range(number)))


def _communities(number: int, engine: Engine, _: Random) -> int:
    return _send(engine, "posts", ((f"squat-{n}", _in_new_communities(n)) for n in range(number)))


def _deleted(number: int, engine: Engine, drawn: Random) -> int:
    shown = _communities(number, engine, drawn)
    engine.wait_decided([f"squat-{n}" for n in range(number - 20, number)], 120)
    return shown + _send(engine, "posts", ((f"squat-{n}", None) for n in range(number)))


def _in_new_communities(n: int) -> bytes:
    first = n * COMMUNITIES_OF_A_POST
    names = [f"invented-{first + k}" for k in range(COMMUNITIES_OF_A_POST)]
    return _post(f"squat-{n}", f"squatter-{n % 7}", f"Notes on subject {n}", communities=names)


def _post(post_id: str, author_id: str, text: str, **more: Any) -> bytes:
    return json.dumps(post_of(post_id, text, author_id=author_id, **more)).encode()


def _send(
    engine: Engine, topic: str, records: Iterator[tuple[str, bytes | None]], *, partition: int = -1
) -> int:
    """Send as fast as Kafka takes it; how many."""

    def delivered(error: KafkaError | None, _: Message) -> None:
        assert error is None, error

    # So that what waits to be sent does not take the machine's memory.
    producer: Producer = engine.producer_of(
        **{"linger.ms": 5, "queue.buffering.max.kbytes": 65_536, "delivery.timeout.ms": 300_000}
    )
    name, count = engine.topic(topic), 0
    for key, value in records:
        while True:
            try:
                producer.produce(name, value, key, partition, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
        count += 1
    assert producer.flush(300) == 0
    return count

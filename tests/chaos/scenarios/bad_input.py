"""Random records among good ones: each bad one is a dead letter once, each good one is ranked."""

import json
import time
from collections.abc import Iterator
from random import Random

from confluent_kafka import KafkaError, Message

from builders.bombs import bomb, send_batch
from builders.engine import KINDS, Engine
from builders.engine_topics import Json, post_of
from builders.fuzz_targets import CORPUS
from builders.mutations import mutated
from builders.waiting import now_ms, until
from chaos.load import COMMUNITIES
from chaos.peak_memory import peak_memory
from chaos.scenario import Chaos, Row, Rows
from chaos.verdict import Expected, Found, Position, judge
from feedmill.events.decode import decoder_of
from feedmill.events.errors import BadEvent, BadSetting
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames

Pair = tuple[bytes | None, bytes | None]

TOPICS = ("posts", "posts", "engagements", "engagements", "overrides")
GOOD_EVERY = 50
SETTINGS = 200
# A batch of such records unpacks to a thousand times what it takes in Kafka.
ONE_BATCH = {"linger.ms": 1000, "batch.size": 2**28, "message.max.bytes": 2**28}
ZEROS = b'{"text":"' + b"0" * 900_000
# By codec the bytes that a batch inflates to, which no reader takes.
INFLATING = (("zstd", 130_000_000), ("snappy", 20_000_000))
NESTED = b'{"post_id":' + b"[" * 900_000
KINDS_OF_A_GOOD_POST = [int(kind == "click") for kind in KINDS]
DAY_MS = 86_400_000
RECOVER_BAR_S = 60.0
PEAK_BAR_MB = 500.0


def run(chaos: Chaos) -> Rows:
    number, bombs = (400_000, 200) if chaos.is_long else (20_000, 20)
    engine = chaos.engine()
    engine.ready_worker()
    settings = refused_settings(chaos.random, SETTINGS)
    sender = Sender(engine)
    with peak_memory(engine) as memory:
        for setting in settings:
            engine.send("config", *setting, partition=0)
        good = [good_post(n) for n in range(number // GOOD_EVERY)]
        for n in range(number):
            sender.send_random(chaos.random)
            if n % GOOD_EVERY == 0:
                sender.send_good(good[n // GOOD_EVERY])
        sender.flush()
        large = Sender(engine, bad=sender.bad, **ONE_BATCH)
        large.send("engagements", (None, None), is_bad=True)
        for n in range(bombs):
            large.send("posts", (f"zeros-{n}".encode(), ZEROS), is_bad=True)
            large.send("engagements", (f"nested-{n}".encode(), NESTED), is_bad=True)
        large.flush()
        sender.bad += inflating_records(engine)
        start = time.monotonic()
        wait_for_letters(engine, len(sender.bad))
        ids = [f"good-{n}" for n in range(len(good))]
        truths = engine.wait_decided(ids, RECOVER_BAR_S)
        seconds = time.monotonic() - start
        expected = Expected({}, dict.fromkeys(ids, KINDS_OF_A_GOOD_POST), frozenset(sender.bad))
        letters = engine.lettered()
        verdict = judge(expected, Found({}, {}, {}, engine.last_counts(), letters))
    hidden = [post_id for post_id in ids if truths[post_id]["decision"] not in ("show", "demote")]
    yield Row(
        fault="random, nested and packed records among good ones",
        events=sender.events + large.events,
        verdict=verdict,
        recover_s=seconds,
        recover_bar_s=RECOVER_BAR_S,
        peak_mb=memory.mb,
        peak_bar_mb=PEAK_BAR_MB,
        failures=(
            *(f"good post {post_id} is not shown" for post_id in hidden[:3]),
            *engine.complaints()[:3],
        ),
        notes=(f"{len(sender.bad):,} of {sender.events + large.events:,} records are bad",),
    )


class Sender:
    """Sends records, and remembers where the bad ones stand."""

    def __init__(self, engine: Engine, bad: list[Position] | None = None, **more: int) -> None:
        self.bad = [] if bad is None else bad
        self.events = 0
        self._engine = engine
        self._producer = engine.producer_of(
            **{
                "compression.type": "gzip",
                "linger.ms": 20,
                "queue.buffering.max.messages": 500_000,
                **more,
            }
        )
        names = SignalNames()
        self._decoders = {topic: decoder_of(topic, names) for topic in TOPICS}
        self._seeds = {
            topic: [path.read_bytes() for path in sorted((CORPUS / topic).iterdir())]
            for topic in TOPICS
        }

    def send_random(self, drawn: Random) -> None:
        """Send a changed input of the corpus; the decoder says whether it is bad."""
        topic = drawn.choice(TOPICS)
        key, _, value = mutated(self._seeds[topic], drawn).partition(b"\n")
        decode = self._decoders[topic]
        assert decode is not None
        try:
            event = decode(key, value)
        except BadEvent:
            self.send(topic, (key, value), is_bad=True)
        else:
            # By the time of its record, which the decoder does not know.
            is_ahead = getattr(event, "created_at_ms", 0) > now_ms() + DAY_MS
            self.send(topic, (key, value), is_bad=is_ahead)

    def send_good(self, post: Json) -> None:
        """Send a post, and a click on it."""
        post_id = post["post_id"]
        event = {"post_id": post_id, "user_id": "u", "kind": "click", "at_ms": now_ms()}
        for topic, value in (("posts", post), ("engagements", event)):
            self.send(topic, (post_id.encode(), json.dumps(value).encode()))

    def send(self, topic: str, record: Pair, *, is_bad: bool = False) -> None:
        key, value = record

        def delivered(error: KafkaError | None, message: Message) -> None:
            assert error is None, error
            if is_bad:
                self.bad.append((topic, message.partition(), message.offset()))

        self._producer.produce(self._engine.topic(topic), value, key, on_delivery=delivered)
        self._producer.poll(0)
        self.events += 1

    def flush(self) -> None:
        """Wait until Kafka has all."""
        assert self._producer.flush(120) == 0


def good_post(n: int) -> Json:
    communities = [COMMUNITIES[n % len(COMMUNITIES)]]
    return post_of(f"good-{n}", f"Notes from the allotment, part {n}", communities=communities)


def inflating_records(engine: Engine) -> Iterator[Position]:
    """Send batches that inflate beyond what is read; where their records stand."""
    for topic in ("posts", "engagements", "overrides"):
        for codec, inflated in INFLATING:
            batch = bomb(codec, inflated)
            sent = send_batch(engine.kafka, engine.topic(topic), 0, batch)
            for offset in range(sent.first, sent.last + 1):
                yield topic, 0, offset


def refused_settings(drawn: Random, number: int) -> list[Pair]:
    """Changed settings that every worker must refuse."""
    seeds = [path.read_bytes() for path in sorted((CORPUS / "config").iterdir())]
    found: list[Pair] = []
    while len(found) < number:
        key, _, value = mutated(seeds, drawn).partition(b"\n")
        try:
            Settings(SignalNames()).fold(key, value, 0)
        except BadSetting:
            found.append((key, value))
    return found


def wait_for_letters(engine: Engine, number: int) -> None:
    """Wait until there are so many dead letters, committed."""
    until(lambda: len(engine.lettered()) >= number, RECOVER_BAR_S, 1.0)

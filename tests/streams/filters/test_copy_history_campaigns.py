"""Copies never hide who posted a text first; a spammer who posts first shows one post more."""

import os
import random
from collections import Counter
from types import SimpleNamespace
from typing import Any

from builders.fake_log import FakeLog, Topics
from builders.records import record
from feedmill.events.partition import partition_of
from feedmill.events.post import Post
from feedmill.features.near_copies import WINDOW_MS, CopyCounts
from feedmill.filters.raised_values import campaign_probabilities
from feedmill.streams.filters.copy_history import CopyHistory
from feedmill.streams.kafka.assignment import AssignmentChange
from feedmill.streams.kafka.batches import RecordBatch, TopicPartition
from feedmill.streams.worker.decoding import decode_work

PARTITIONS, NOW_MS = 4, 1_700_000_000_000
DEMOTE_AT, HIDE_AT = 0.6, 0.9
CAMPAIGNS = int(os.environ.get("CAMPAIGNS", "6"))
# Post, author, text.
Version = tuple[str, str, str]
SPANS_MS = 5_000, 60_000, 500_000, 1_100_000


def text_of(drawn: random.Random) -> list[str]:
    return [
        "".join(drawn.choices("abcdefghijklmnoprstuvw", k=drawn.randrange(3, 9))) for _ in range(22)
    ]


def campaign(drawn: random.Random) -> list[Version]:
    """One author, 10 to 100 copies of others, and among these edits and a second post of hers."""
    words = text_of(drawn)
    copies = drawn.randrange(10, 101)
    versions = [("hers", "vera", " ".join(words))]
    hers = sorted(drawn.sample(range(copies), 3))
    for i in range(copies):
        changed = list(words)
        if i % 2:
            changed[drawn.randrange(len(words))] = "ok"
        versions.append((f"copy{i}", f"copier{i}", " ".join(changed)))
        if i in hers:
            post = "hers" if i != hers[1] else "hers-again"
            versions.append((post, "vera", " ".join([*words, "at", str(i), "pm"])))
    return [*versions, ("hers", "vera", " ".join([*words, "tonight"]))]


def judged(
    versions: list[Version],
    drawn: random.Random,
    judges: int,
    spans_ms: tuple[int, ...] = SPANS_MS,
) -> tuple[list[CopyCounts], list[int]]:
    """What judges that share the partitions say of each version, and when each came.

    Each judge restarts in the middle.
    """
    span_ms = drawn.choice(spans_ms)
    times = sorted(drawn.sample(range(span_ms), len(versions)))
    topics: Topics = {TopicPartition("posts", p): [] for p in range(PARTITIONS)}
    places = []
    for at_ms, (post_id, author, text) in zip(times, versions, strict=True):
        partition = partition_of(post_id.encode(), PARTITIONS)
        log = topics[TopicPartition("posts", partition)]
        places.append((partition, len(log)))
        # Who claims an earlier time was no earlier.
        post = Post(post_id, author, NOW_MS - drawn.randrange(10**9), text)
        log.append(record(post_id, post, offset=len(log), timestamp=NOW_MS - span_ms + at_ms))
    found: dict[tuple[int, int], CopyCounts] = {}
    for judge in range(judges):
        own = {p for p in range(PARTITIONS) if p % judges == judge}
        restart = drawn.randrange(1, len(versions))
        for start, end in ((0, restart), (restart, len(versions))):
            found |= told_by(topics, own, places[:end], start)
    return [found[place] for place in places], [NOW_MS - span_ms + at_ms for at_ms in times]


def told_by(topics: Topics, own: set[int], places: list[Any], start: int) -> dict[Any, CopyCounts]:
    """What a judge that begins at place `start` says of its own posts from there on."""
    ends = Counter(p for p, _ in places)
    starts = Counter(p for p, _ in places[:start])
    visible: Topics = {at: log[: ends[at.partition]] for at, log in topics.items()}
    log = FakeLog(visible)
    context: Any = SimpleNamespace(
        partitions=PARTITIONS, clock=SimpleNamespace(now_ms=lambda: NOW_MS), poisoned={}
    )
    history = CopyHistory(context, log.open)
    sources = {p: TopicPartition("posts", p) for p in own}
    history.assigned(
        AssignmentChange(
            epoch=1,
            gained=tuple(own),
            lost=(),
            kept=(),
            starts={at: starts[p] for p, at in sources.items()},
            ends={at: log.end(at) for at in sources.values()},
        )
    )
    for _ in range(1000):
        history.read()
        if all(history.is_ready(p) for p in own):
            break
    else:
        raise AssertionError(history.ready_reason())
    told: dict[Any, CopyCounts] = {}
    for partition, offset in places[start:]:
        if partition in own:
            batch = RecordBatch(sources[partition], [visible[sources[partition]][offset]])
            work = decode_work([batch], [], partitions=PARTITIONS, now_ms=NOW_MS)
            (told[partition, offset],) = history.pasts(work)
    return told


def test_copies_hide_no_first_author_and_are_hidden_themselves() -> None:
    late = late_hidden = 0
    for seed in range(CAMPAIGNS):
        drawn = random.Random(seed)
        versions = campaign(drawn)
        counts, ms = judged(versions, drawn, (1, 2, 4)[seed % 3])
        copied_ms: list[int] = []
        for (_, author, _), value, at_ms in zip(
            versions, campaign_probabilities(counts), ms, strict=True
        ):
            if author == "vera":
                assert value < DEMOTE_AT, f"campaign {seed} demotes its first author"
            elif len([earlier for earlier in copied_ms if earlier > at_ms - WINDOW_MS]) >= 8:
                late, late_hidden = late + 1, late_hidden + (value >= HIDE_AT)
            if author != "vera":
                copied_ms.append(at_ms)
    print(f"{CAMPAIGNS} campaigns: {late_hidden} of {late} copies from the ninth on are hidden")
    assert late > 30 * CAMPAIGNS
    assert late_hidden >= 0.95 * late


def test_who_spams_first_shows_one_post_more_at_most() -> None:
    gains = Counter[int]()
    for seed in range(CAMPAIGNS):
        drawn = random.Random(seed)
        text = " ".join(text_of(drawn))
        versions = [("first", "spammer", text)]
        versions += [(f"copy{i}", f"account{i}", text) for i in range(50)]
        for i in range(drawn.randrange(20)):
            versions.insert(drawn.randrange(1, len(versions)), (f"more{i}", "spammer", text))
        # In less than a window: later on everybody begins again.
        counts, _ = judged(versions, drawn, 2, SPANS_MS[:3])
        without = [past._replace(own=None) for past in counts]
        gains[shown(counts) - shown(without)] += 1
    print(f"{CAMPAIGNS} spammers: so many show more posts, by how many more: {dict(gains)}")
    assert max(gains) == 1


def shown(counts: list[CopyCounts]) -> int:
    return int((campaign_probabilities(counts) < DEMOTE_AT).sum())

"""What an engagement costs to count and to restore, and what is damped of real clicks.

    python benchmarks/bench_engagements.py [--data FOLDER]

Counting: cycles of 1,000 engagements of as many users on 500 posts, and their states packed; first
it is shown that each counted once, also when all came again.  Restoring: the same log noted once
more.  One thread; processor time, the median and the best of all cycles.

Clicks: `stream_globo_clicks`, two days of a news site without impressions, through the same code,
then 200 new accounts on the article that was clicked most, in one minute.  Left out without data.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import os
import random
import statistics
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from machine import describe

from feedmill.events.engagement import Engagement, EngagementKind
from feedmill.streams.engagement.partition_state import PartitionState
from feedmill.streams.kafka.batches import FetchedRecord

NOW_MS = 1_700_000_000_000
CYCLES, EVENTS, POSTS = 200, 1_000, 500
BATCH = 500
# Articles with fewer clicks say little about what is damped.
LEAST_CLICKS = 100
Event = tuple[FetchedRecord, Engagement]


def event(offset: int, at_ms: int, post_id: str, user_id: str, kind: EngagementKind) -> Event:
    content = Engagement(post_id, user_id, kind, at_ms, f"e{offset}")
    return FetchedRecord(offset, at_ms, post_id.encode(), None), content


def cycles() -> list[list[Event]]:
    """Engagements of users of their own, four in five of them impressions."""
    drawn = random.Random(1)
    kinds: list[EngagementKind] = [*["impression"] * 8, "click", "like"]  # type: ignore[list-item]  # kinds
    return [
        [
            event(
                offset := cycle * EVENTS + i,
                NOW_MS + offset,
                f"post-{drawn.randrange(POSTS)}",
                f"user-{offset}",
                drawn.choice(kinds),
            )
            for i in range(EVENTS)
        ]
        for cycle in range(CYCLES)
    ]


def counted(state: PartitionState) -> int:
    found = (state.find(f"post-{number}") for number in range(POSTS))
    return sum(sum(one.counters.counts) for one in found if one is not None)


def milliseconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return (time.process_time() - start) * 1000


def cost() -> None:
    """Print what a cycle costs, and what a restored event does."""
    state, log = PartitionState(), cycles()
    count_ms, pack_ms = [], []
    for events in log:
        count_ms.append(milliseconds(lambda events=events: state.count(events)))  # type: ignore[misc]  # a loop variable
        pack_ms.append(milliseconds(state.pack))
    assert counted(state) == CYCLES * EVENTS
    assert all(all(state.count(events)) for events in log[-10:])
    assert counted(state) == CYCLES * EVENTS
    restored = PartitionState()
    note_ms = [milliseconds(lambda events=events: restored.note(events)) for events in log]  # type: ignore[misc]  # a loop variable
    for name, values in (("counting", count_ms), ("packing", pack_ms), ("restoring", note_ms)):
        print(
            f"{name}: {statistics.median(values):.2f} ms for {EVENTS:,} engagements on {POSTS}"
            f" posts, the best {min(values):.2f}"
        )


def clicks(folder: Path) -> None:
    """Print what is damped of real clicks, and of a burst among them."""
    with gzip.open(folder / "stream_globo_clicks.csv.gz", "rt") as lines:
        log = sorted(
            (int(row["click_timestamp"]), row["click_article_id"], row["user_id"])
            for row in csv.DictReader(lines)
        )
    most_clicked = Counter(article for _, article, _ in log).most_common(1)[0][0]
    state = PartitionState()
    uncounted: Counter[str] = Counter()
    damped: Counter[str] = Counter()
    for start in range(0, len(log), BATCH):
        events = [
            event(start + i, at_ms, article, user, "click")
            for i, (at_ms, article, user) in enumerate(log[start : start + BATCH])
        ]
        for (_, one), reason in zip(events, state.count(events), strict=True):
            uncounted[reason] += 1
            damped[one.post_id] += reason == "damped"
        state.pack()
    total = Counter(article for _, article, _ in log)
    worst = max(
        damped[article] / total[article] for article in total if total[article] >= LEAST_CLICKS
    )
    print(
        f"real clicks: {len(log):,}, of them {uncounted['repeated user']:,} of users that repeat"
        f" themselves and {uncounted['damped']:,} damped; of the worst article with {LEAST_CLICKS}"
        f" clicks or more {worst:.2%}"
    )
    at_ms = (log[-1][0] // 60_000 + 60) * 60_000
    burst = [
        event(len(log) + i, at_ms + i * 200, most_clicked, f"new-{i}", "click") for i in range(200)
    ]
    print(
        f"200 new accounts on one article in a quiet minute: {state.count(burst).count('')} count"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    default = os.environ.get("FEEDMILL_DATA", "../shared/data")
    parser.add_argument("--data", type=Path, default=Path(default))
    folder = parser.parse_args().data
    print(describe())
    cost()
    if folder.is_dir():
        clicks(folder)
    else:
        print(f"no data in {folder}: real clicks are left out")


if __name__ == "__main__":
    main()

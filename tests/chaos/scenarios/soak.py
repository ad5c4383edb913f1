"""A day's volume at full speed, in feeds of six minutes: memory stays flat.  Long form only.

Each post is edited nine times, and comes back into the feeds by that.  Posts that are all new take
more: the counts of each are kept for eight days, whatever the feeds show.
"""

import json
from collections.abc import Iterator

from builders.engine import KINDS, Engine, Worker
from builders.engine_topics import PARTITIONS
from builders.waiting import now_ms, until
from chaos.flood import EACH_TIME_ANOTHER, Flood
from chaos.load import COMMUNITIES, random_text
from chaos.peak_memory import memory_mb, peak_memory
from chaos.scenario import Chaos, Row, Rows
from chaos.scenarios.overload import engagement_pool, expected_counts
from chaos.verdict import Expected, Found, judge

POSTS, EVENTS_A_POST = 50_000, 60
PARTS = 100
POSTS_A_PART = POSTS // PARTS
# Then the same posts come again.
PARTS_OF_NEW_POSTS = PARTS // 10
WINDOW_HOURS = 0.1
# Each post is in its feeds for so long, and leaves them before the first tenth is over.
IN_FEEDS_MS = 5_000
FLAT = 1.05
# Both generations of users are full within the first tenth; the default fills up in a longer run.
USER_WINDOW = POSTS * EVENTS_A_POST // PARTITIONS // 25
_WITHIN_S = 300.0


def run(chaos: Chaos) -> Rows:
    if not chaos.is_long:
        return
    engine = chaos.engine()
    for feeds in ("global", "community:*", "lang:*"):
        engine.set(f"feeds/{feeds}", {"window_hours": WINDOW_HOURS})
    worker = engine.ready_worker(variables={"FEEDMILL_USER_WINDOW": str(USER_WINDOW)})
    resident: list[float] = []
    counts: dict[str, list[int]] = {}
    with peak_memory(engine) as memory:
        sent = 0
        for part, posts in enumerate(parts_of_posts(chaos)):
            Flood(engine, "posts", list(posts.items())).send(len(posts))
            # By users of this part alone.
            ids = [key.decode() for key in posts]
            pool = engagement_pool(ids, f"{part}-{EACH_TIME_ANOTHER}")
            flood = Flood(engine, "engagements", pool)
            flood.send(len(posts) * EVENTS_A_POST)
            for post_id, more in expected_counts(ids, flood).items():
                before = counts.get(post_id, [0] * len(KINDS))
                counts[post_id] = [a + b for a, b in zip(before, more, strict=True)]
            # The next part is on its way while this one is taken.
            wait_taken(engine, worker, sent)
            sent += len(posts) * (1 + EVENTS_A_POST)
            resident.append(memory_mb(worker.pid, "VmRSS"))
        wait_taken(engine, worker, sent)
        shown = len(engine.order())
        expected = Expected({}, counts)
        until(lambda: judge(expected, Found({}, {}, {}, engine.last_counts())).is_clean, 30, 2.0)
    base, most = resident[PARTS // 10 - 1], max(resident[PARTS // 10 :])
    yield Row(
        fault="a day's volume at full speed, window_hours 0.1",
        events=sent,
        verdict=judge(expected, Found({}, {}, {}, engine.last_counts())),
        recover_bar_s=0.0,
        peak_mb=memory.mb,
        failures=(
            *(("the feed is empty",) if not shown else ()),
            *((f"{most / base - 1:.1%} more than after a tenth",) if most > FLAT * base else ()),
            *engine.complaints()[:3],
        ),
        notes=(f"{base:.0f} MB after a tenth, at most {most:.0f} MB afterwards",),
    )


def parts_of_posts(chaos: Chaos) -> Iterator[dict[bytes, bytes]]:
    """A hundredth of the posts at a time, by their keys."""
    for part in range(PARTS):
        created_ms = now_ms() - int(WINDOW_HOURS * 3_600_000) + IN_FEEDS_MS
        name = f"day-{part % PARTS_OF_NEW_POSTS}"
        yield {
            f"{name}-{n}".encode(): json.dumps(
                {
                    "post_id": f"{name}-{n}",
                    "author_id": f"author-{n}",
                    "created_at_ms": created_ms,
                    "text": random_text(chaos.random),
                    "communities": [COMMUNITIES[n % len(COMMUNITIES)]],
                }
            ).encode()
            for n in range(POSTS_A_PART)
        }


def wait_taken(engine: Engine, worker: Worker, number: int) -> None:
    """Wait until a worker has taken so many events."""
    until(lambda: engine.metric(worker, "feedmill_events_total") >= number, _WITHIN_S, 0.02)

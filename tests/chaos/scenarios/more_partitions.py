"""More partitions: everything is copied to topics of another prefix, and feeds are the same."""

import time
from collections.abc import Iterator

from builders.engine import Engine
from builders.engine_topics import id_in, post_of
from builders.waiting import in_background, now_ms, until
from chaos.event_log import expected_of, found_of
from chaos.load import Load
from chaos.peak_memory import peak_memory
from chaos.recovery import settled
from chaos.scenario import Chaos, Row, Rows
from chaos.verdict import differences

PARTITIONS = 12
# The guard counts by partition, so what it holds back depends on their number.
_UNGUARDED = {"FEEDMILL_FLAGGED_CAP": "1"}


def run(chaos: Chaos) -> Rows:
    before, after = chaos.engine(), chaos.engine(partitions=PARTITIONS)
    before.ready_worker("one", variables=_UNGUARDED)
    before.set("weights", {"quality": 0.3, "engagement": 0.7})
    load = Load(before, chaos.random)
    with peak_memory(after) as memory:
        with in_background(load.send_until):
            time.sleep(60 if chaos.is_long else 5)
            _copy(before, after)
            # It reads what is copied while producers go on under the old prefix.
            after.start_worker("one", variables=_UNGUARDED)
            time.sleep(2)
        since = time.monotonic()
        _copy(before, after)
        events = [*_events()]
        for engine in (before, after):
            for topic, key, value in events:
                engine.send(topic, key, value)
            engine.producer.flush(60)
        after.wait_ready()
        verdict = settled(before) + settled(after)
        until(lambda: not _others(before, after), 60)
        seconds = time.monotonic() - since
    verdict.add("wrong_order", len(_others(before, after)), "feeds of the two prefixes")
    yield Row(
        fault=f"from {before.partitions} to {PARTITIONS} partitions by another prefix",
        events=load.events,
        verdict=verdict,
        recover_s=seconds,
        recover_bar_s=60.0,
        peak_mb=memory.mb,
    )


def _copy(before: Engine, after: Engine) -> None:
    done = after.feedmill(f"topics copy --from-prefix {before.prefix} --by ops")
    assert done.returncode == 0, done.stderr


def _events() -> Iterator[tuple[str, str, object]]:
    """A post and a click for each partition: until then its last records have copied stamps."""
    for partition in range(PARTITIONS):
        post_id = id_in(partition, "live", PARTITIONS)
        at_ms = now_ms()
        yield "posts", post_id, post_of(post_id, f"A walk by the river, {post_id}")
        click = {"post_id": post_id, "user_id": "u", "kind": "click", "at_ms": at_ms}
        yield "engagements", post_id, click


def _others(before: Engine, after: Engine) -> list[str]:
    """The feeds that are not the same."""
    feeds = found_of(before, expected_of(before)).feeds
    return [
        name
        for name, (entries, _) in feeds.items()
        if not entries or differences(entries, after.feed(name)[0])
    ]

"""A million live posts: a start, and a flush of Redis.

Long form only, since writing them takes minutes.
"""

import time

from bench_restart import SIZE, RedisView
from live_posts import LivePosts

from builders.engine_topics import PARTITIONS
from builders.waiting import until
from chaos.peak_memory import PeakMemory, peak_memory
from chaos.scenario import Chaos, Row, Rows
from chaos.verdict import Verdict
from feedmill.streams.environment import read_environment

POSTS = 1_000_000
# A tenth of the log is superseded: each second post has an older signal, each fourth older counts.
OLDER = 0.5
START_BAR_S, FLUSH_BAR_S = 60.0, 10.0
PEAK_BAR_MB = 1500.0
_LOOK_EVERY_S = 0.2
_WITHIN_S = 240.0


def run(chaos: Chaos) -> Rows:
    if not chaos.is_long:
        return
    address, _ = chaos.own_stack()
    engine = chaos.engine(kafka=address.kafka, redis=chaos.own_redis().url)
    environment = read_environment(engine.environment())
    live = LivePosts(environment, POSTS, PARTITIONS, OLDER)
    live.write()
    view = RedisView(environment, live)
    with peak_memory(engine) as memory:
        engine.start_worker()
        yield _row("a start with a million live posts", view, live, START_BAR_S, memory)
        engine.wait_ready(seconds=_WITHIN_S)
        until(lambda: not view.posts_missing(0), _WITHIN_S, 1.0)
        engine.redis.flushall()
        yield _row("FLUSHALL with a million live posts", view, live, FLUSH_BAR_S, memory)
        until(lambda: not view.posts_missing(0), _WITHIN_S, 1.0)


def _row(fault: str, view: RedisView, live: LivePosts, bar_s: float, memory: PeakMemory) -> Row:
    """Wait until every feed is whole."""
    start = time.monotonic()
    until(view.feeds, _WITHIN_S, _LOOK_EVERY_S)
    first_s = time.monotonic() - start
    until(lambda: not view.missing(SIZE, 0), _WITHIN_S, _LOOK_EVERY_S)
    feeds_s = time.monotonic() - start
    return Row(
        fault=fault,
        rounds=1,
        events=live.records,
        verdict=Verdict(),
        recover_s=feeds_s,
        recover_bar_s=bar_s,
        peak_mb=memory.mb,
        peak_bar_mb=PEAK_BAR_MB,
        notes=(f"the first feed after {first_s:.1f} s, all after {feeds_s:.1f} s",),
    )

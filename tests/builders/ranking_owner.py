"""A combiner that writes to a real Redis, one cycle after the other."""

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from builders.events import post, signal
from builders.waiting import until
from feedmill.events.partition import ALL_SHARDS
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner import Combiner
from feedmill.streams.environment import Environment
from feedmill.streams.observe.metrics import Metrics
from feedmill.streams.ranking.feed_freshness import FeedFreshness
from feedmill.streams.ranking.redis_handover import RedisHandover
from feedmill.streams.redis.scripts import Keys
from feedmill.streams.settings.clock import LogClock, now_ms
from feedmill.streams.worker.step import StepContext, WorkerView

NAMES = SignalNames()
NOW_MS = now_ms()  # Redis drops by its own clock what is out of the window
KEYS = Keys("")


def tokens(token: int | None, shards: Iterable[int] = ALL_SHARDS) -> dict[int, int]:
    """By shard the token of an owner, which has none if it has no token."""
    return {} if token is None else dict.fromkeys(shards, token)


def always() -> bool:
    return True


def never() -> bool:
    return False


class Owner(WorkerView):
    """A combiner that writes to Redis, one cycle after the other."""

    def __init__(self, url: str, token: int | None) -> None:
        clock = LogClock(lambda: 0.0)
        clock.stamp(NOW_MS)
        self.combiner = Combiner(NAMES, shards=frozenset())
        self.hurries = 0
        connection: Any = SimpleNamespace(environment=Environment(redis=url))
        context = StepContext(connection, clock, Metrics("combiner", "one"), 1, worker=self)
        self.handover = RedisHandover(self.combiner, FeedFreshness(1, "one"), context)
        self.handover.set_tokens(tokens(token))

    def hurry(self) -> None:
        self.hurries += 1

    def add(self, post_id: str, *communities: str) -> None:
        view = self.combiner.view
        one = post(post_id, author_id=post_id, created_at_ms=NOW_MS, communities=communities)
        view.update_post(one, 1, NOW_MS)
        for name in NAMES.all:
            view.update_signal(name, signal(post_id, 1, 0.1))

    def cycle(self, has_time: Callable[[], bool] = always, *, caught_up: bool = True) -> None:
        self.handover.begin_writing()
        self.handover.read_report()
        self.combiner.work(NOW_MS)
        self.handover.write(has_time, caught_up=caught_up)

    def cycle_until(self, is_so: Callable[[], bool]) -> None:
        def tried() -> bool:
            self.cycle()
            return is_so()

        until(tried, every=0.005)

    def settle(self) -> None:
        """Go on until everything is written."""
        self.cycle_until(lambda: self.handover.shown_offset == self.combiner.settings.offset)
        self.cycle_until(lambda: not self.combiner.has_changes and self.is_idle())

    def is_idle(self) -> bool:
        return self.handover._writer.is_idle and not self.handover._submitted


def settle_all(*owners: Owner) -> None:
    """Let all go on in turns until each has written everything."""

    def all_settled() -> bool:
        for owner in owners:
            owner.cycle()
        settled = [o.is_idle() and not o.combiner.has_changes for o in owners]
        return all(settled) and not any(o.handover.is_behind for o in owners)

    until(all_settled, every=0.005)

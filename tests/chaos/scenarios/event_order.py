"""Events late, early, out of order and repeated; edits, deletions and posts that come again."""

import math
import threading
import time
from functools import partial
from typing import Any

from builders.engine import WORKER, Engine, Worker
from builders.engine_topics import Json
from builders.waiting import in_background, now_ms, until
from chaos.peak_memory import peak_memory
from chaos.recovery import TAKEOVER_BAR_S, Probe, settled
from chaos.scenario import Chaos, Row, Rows
from chaos.verdict import Verdict

DAY_MS = 24 * 3_600_000
PORN: Json = {"text": "Sexy naked girls, hot porn video, watch me now 18+", "self_labels": ["porn"]}
_SAME_VALUE = 1e-5  # of a float32, over events some milliseconds apart


def run(chaos: Chaos) -> Rows:
    order = EventOrder(chaos)
    with peak_memory(order.engine) as memory:
        rounds = 10 if chaos.is_long else 1
        for number in range(rounds):
            order.round(f"{number}.")
        order.verdict += settled(order.engine)
        recover_s = order.start_again_from_the_logs()
        order.verdict += settled(order.engine)
    yield Row(
        fault="late, early, shuffled, repeated events; edits, deletions",
        rounds=rounds,
        events=order.events,
        verdict=order.verdict,
        recover_s=recover_s,
        recover_bar_s=TAKEOVER_BAR_S,
        peak_mb=memory.mb,
        failures=tuple(order.failures),
    )


class EventOrder:
    """Sends what comes in the wrong order, and checks what the log alone does not say."""

    def __init__(self, chaos: Chaos) -> None:
        self.engine: Engine = chaos.engine()
        self.verdict = Verdict()
        self.failures: list[str] = []
        self.events = 0
        self._drawn = chaos.random
        self.engine.ready_worker("only")

    def round(self, prefix: str) -> None:
        """Send everything once, with posts of this prefix."""
        self._late_and_shuffled(prefix)
        self._from_the_future(prefix)
        self._repeated_across_restarts(prefix)
        self._edited_to_porn(prefix)
        self._deleted_before_it_came(prefix)
        self._created_again(prefix)

    def start_again_from_the_logs(self) -> float:
        """Kill the worker, empty Redis, and wait until everything is there again."""
        self._restart(Worker.kill, before_start=self.engine.forget_redis)
        return Probe(self.engine).seconds()

    # --- what is sent ------------------------------------------------------------------------

    def _late_and_shuffled(self, prefix: str) -> None:
        """The same events up to a day late, in two orders: the same counts, the same value.

        They are too few for a burst, in which the last ones would count less.
        """
        ids = [prefix + "sorted", prefix + "shuffled"]
        self._posts(*ids)
        times = sorted(now_ms() - self._drawn.randrange(DAY_MS) for _ in range(36))
        shuffled = self._drawn.sample(times, len(times))
        for both in zip(times, shuffled, strict=True):
            for post_id, at_ms in zip(ids, both, strict=True):
                self._click(post_id, at_ms)
        self._wait_clicks(dict.fromkeys(ids, len(times)))
        self._check_same_value(*ids)

    def _from_the_future(self, prefix: str) -> None:
        """An event of tomorrow counts as one of now."""
        ids = [prefix + "now", prefix + "tomorrow"]
        self._posts(*ids)
        for _ in range(20):
            self._click(ids[0], now_ms())
            self._click(ids[1], now_ms() + DAY_MS)
        self._wait_clicks(dict.fromkeys(ids, 20))
        self._check_same_value(*ids)

    def _repeated_across_restarts(self, prefix: str) -> None:
        """An `event_id` and a user count once, also across a kill and a stop of the worker."""
        post_id = prefix + "repeated"
        self._posts(post_id)
        for restart in (Worker.kill, Worker.stop, None):
            for number in self._drawn.sample(range(30), 30):
                self._click(post_id, now_ms(), event_id=f"{prefix}{number}")
                # Its user once more, by another event.
                self._click(post_id, now_ms(), user_id=f"{prefix}{number}")
            if restart:
                self._restart(restart)
        self._wait_clicks({post_id: 30})

    def _edited_to_porn(self, prefix: str) -> None:
        """A moderator allowed what it was; what it became is hidden at once and stays so."""
        post_id = prefix + "edited"
        offset = self.engine.post(post_id, "A painting of the old harbour")
        self.engine.wait_shown(post_id)
        allowed = {"verdict": "allow", "by": "mo", "reason": "art", "at_ms": now_ms()}
        key = f"post:{post_id}|nsfw"
        self.engine.send("overrides", key, {**allowed, "post_offset": offset}).get(30)
        until(lambda: "override" in self.engine.truth(post_id))
        with in_background(partial(self._watch, post_id)) as watching:
            self.engine.post(post_id, **PORN)
            self.engine.wait_decision(post_id, "hide")
            time.sleep(0.5)
        seen: list[bool] = watching.result()
        if False not in seen or any(seen[seen.index(False) :]):
            self.failures.append(f"{post_id} was shown after its edit")
        self.events += 3

    def _deleted_before_it_came(self, prefix: str) -> None:
        """A deletion concerns what came before it; the last record of a post is the post."""
        post_id = prefix + "deleted-first"
        self.engine.send("posts", post_id, None).get(30)
        self._posts(post_id)
        other = prefix + "deleted-last"
        for _ in range(3):
            self._posts(other)
            self.engine.send("posts", other, None).get(30)
        self.engine.wait_decided([post_id])
        self.events += 4

    def _created_again(self, prefix: str) -> None:
        """A post that was deleted and comes again begins without a count."""
        post_id = prefix + "again"
        self._posts(post_id)
        for _ in range(5):
            self._click(post_id, now_ms())
        self._wait_clicks({post_id: 5})
        self.engine.send("posts", post_id, None).get(30)
        until(lambda: not self.engine.clicks()[post_id])
        self._posts(post_id)
        for _ in range(2):
            self._click(post_id, now_ms())
        self._wait_clicks({post_id: 2})
        self.events += 1

    # --- how ---------------------------------------------------------------------------------

    def _posts(self, *post_ids: str) -> None:
        for post_id in post_ids:
            # The same text: the engagement signals of two posts differ by their counts alone.
            self.engine.post(post_id, "A walk by the river")
        self.events += len(post_ids)

    def _click(self, post_id: str, at_ms: int, **more: Any) -> None:
        # An event that is repeated is the same user's, too.
        user_id = more.pop("user_id", more.get("event_id", f"user-{self.events}"))
        event: Json = {"post_id": post_id, "user_id": user_id, "kind": "click", "at_ms": at_ms}
        self.engine.send("engagements", post_id, {**event, **more})
        self.events += 1

    def _wait_clicks(self, wanted: dict[str, int]) -> None:
        """Wait until so many are counted; more or fewer at the end are double or lost."""
        self.engine.producer.flush(30)

        def counted() -> dict[str, int]:
            return {p: count for p, count in self.engine.clicks().items() if p in wanted}

        until(lambda: sum(counted().values()) >= sum(wanted.values()), 60, every=0.3)
        for post_id, count in counted().items():
            gap = count - wanted[post_id]
            text = f"{count} clicks on {post_id}, not {wanted[post_id]}"
            self.verdict.add("double" if gap > 0 else "lost", abs(gap), text)

    def _check_same_value(self, one: str, other: str) -> None:
        latest = self.engine.latest("signals.engagement")
        values = [latest[post_id]["value"] for post_id in (one, other)]
        if not math.isclose(*values, rel_tol=_SAME_VALUE):
            self.verdict.add("wrong_order", 1, f"engagement of {one} and {other}: {values}")

    def _restart(self, end: Any, before_start: Any = None) -> None:
        self.engine.wait_ready()
        end(self.engine.workers[f"{WORKER}only"])
        if before_start:
            before_start()
        self.engine.start_worker("only")

    def _watch(self, post_id: str, stop: threading.Event) -> list[bool]:
        """Whether the feed shows the post, read after read."""
        seen = []
        while not stop.is_set():
            seen.append(post_id in self.engine.order())
        return seen

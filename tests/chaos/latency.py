"""How soon single events take effect in Redis, while others come in."""

import itertools
import time
from collections import defaultdict
from collections.abc import Callable
from statistics import median

from builders.engine import Engine
from builders.engine_topics import post_of
from builders.waiting import until

COMMUNITY = "probed"
_LOOK_EVERY_S = 0.005
_WITHIN_S = 60.0


class LatencyProbe:
    """Sends one event of each kind after another, and waits for each to be visible.

    `seconds` has by kind how long each took from being sent.
    """

    def __init__(self, engine: Engine, tag: str = "probe") -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self._engine, self._tag = engine, tag
        self._feed = f"{engine.prefix}feed:{{community:{COMMUNITY}}}"
        self._ids = (f"{tag}-{number}" for number in itertools.count())

    def round(self, kinds: tuple[str, ...] = ("post", "engagement", "setting", "override")) -> None:
        """Send a post, then whatever else of it is asked for; in the end delete it."""
        engine, post_id = self._engine, next(self._ids)
        self._time("post", lambda: self._post(post_id), lambda: self._score(post_id) is not None)
        if "engagement" in kinds:
            before = self._score(post_id)
            self._time(
                "engagement",
                lambda: engine.click(post_id, self._tag),
                lambda: self._score(post_id) != before,
            )
        if "setting" in kinds:
            offsets: list[int] = []
            # Another weight each time: what changes nothing shows with the next renewal.
            weights = {"quality": 1.0 + len(self.seconds["setting"]), "engagement": 0.5}
            self._time(
                "setting",
                lambda: offsets.append(engine.set(f"weights/community:{COMMUNITY}", weights)),
                lambda: self._config_offset() >= offsets[0],
            )
        if "override" in kinds:
            self._time(
                "override", lambda: engine.hide(post_id), lambda: self._score(post_id) is None
            )
        # A feed that is full of earlier posts would not show a later one.
        engine.send("posts", post_id, None)

    def median(self, kind: str) -> float:
        return median(self.seconds[kind])

    def _time(self, kind: str, send: Callable[[], object], is_visible: Callable[[], bool]) -> None:
        start = time.monotonic()
        send()
        until(is_visible, _WITHIN_S, every=_LOOK_EVERY_S)
        self.seconds[kind].append(time.monotonic() - start)

    def _post(self, post_id: str) -> None:
        text = f"Notes on a walk, number {post_id}"
        self._engine.send("posts", post_id, post_of(post_id, text, communities=[COMMUNITY]))

    def _score(self, post_id: str) -> float | None:
        score: float | None = self._engine.redis.zscore(self._feed, post_id)
        return score

    def _config_offset(self) -> int:
        return int(self._engine.redis.hget(f"{self._feed}:info", "config_offset") or -1)

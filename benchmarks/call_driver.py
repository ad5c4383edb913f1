"""Drives a combiner as the engine does, and keeps the longest call of each kind of event."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import Any

from bench_ranking import CHANGES_S, WORK_S
from large_view import FOUND, NOW_MS

from feedmill.events.decode import encode
from feedmill.events.settings import SettingsDraft
from feedmill.rankers.combiner import Combiner
from feedmill.rankers.combiner.feed_build import FeedBuild
from feedmill.rankers.combiner.feed_matcher import FeedMatcher
from feedmill.rankers.combiner.feed_places import FeedAuthors
from feedmill.rankers.combiner.feed_ranking import FeedRanking
from feedmill.rankers.combiner.feed_scores import PolicyCache
from feedmill.rankers.combiner.feed_set import FeedSet
from feedmill.rankers.combiner.gate_decisions import GateDecisions
from feedmill.rankers.combiner.live_feeds import LiveFeeds
from feedmill.rankers.combiner.overrides import OverriddenRows, OverrideTable
from feedmill.rankers.combiner.pending_writes import PendingWrites
from feedmill.rankers.combiner.view import PostView
from feedmill.tables.sweep import Sweep

BAR_MS = 20.0
SETTINGS_AT_ONCE = 1000  # as `SettingsLog` reads them
MOST_WRITTEN = 100  # calls in which posts alone are written again
_WATCHED = (
    *(Combiner, PostView, LiveFeeds, FeedBuild, FeedMatcher, FeedAuthors, FeedRanking, FeedSet),
    *(PolicyCache, GateDecisions, OverriddenRows, OverrideTable, PendingWrites, Sweep),
)
# Called for each row or feed: to time them would be most of the time.
_SMALL = {"row_of", "author_of", "update_post", "update_signal", "spec_of", "grow", "feeds_of"}
_SMALL |= {"count", "is_on_demand", "mark_feed", "scores", "takes", "rank", "change"}
_SMALL |= {"is_overridden", "holds", "clear_signal", "update", "overrides_of", "on_demand_of"}
_SMALL |= {"in_force", "has", "follow", "renewal", "note", "mark", "new"}
_SMALL |= {"drop_old", "decisions", "replace", "leave", "in_window"}
_KEPT = {"update_posts", "__init__"}


class Longest:
    """The longest of some calls, and what took most of it."""

    def __init__(self) -> None:
        self.ms = 0.0
        self.calls = 0
        self._named = ""
        self._inner: list[tuple[float, str]] = []

    def run(self, name: str, call: Callable[[], Any]) -> Any:
        """Call it, timed."""
        self._inner = []
        start = time.thread_time()
        result = call()
        took_ms = (time.thread_time() - start) * 1e3
        self.calls += 1
        if took_ms > self.ms:
            self.ms = took_ms
            inner = sorted(self._inner, reverse=True)
            most = [f"{what} {ms:.0f}" for ms, what in inner if ms > took_ms / 3][:4]
            self._named = " < ".join([name, *most])
        return result

    def note(self, ms: float, what: str) -> None:
        """A call within took so long."""
        if ms > 1:
            self._inner.append((ms, what))

    def __str__(self) -> str:
        over = " OVER" if self.ms > BAR_MS else ""
        return f"{self.ms:9.1f}{self.calls:8,}  {self._named}{over}"


class Driver:
    """A combiner, and the loop around it."""

    def __init__(self, combiner: Combiner, posts: int, most: int) -> None:
        self.combiner, self.posts, self.most = combiner, posts, most
        self.random, self.now_ms = Random(5), NOW_MS
        self.longest = Longest()
        self._watch()
        gc.callbacks.append(self._collects)

    @contextmanager
    def kind(self, name: str) -> Iterator[Longest]:
        """An event of this kind, and all that follows; print its longest call."""
        self.longest = Longest()
        yield self.longest
        self.settle()
        print(f"{name:<34}{self.longest}", flush=True)

    def run(self, name: str, call: Callable[[], Any]) -> Any:
        return self.longest.run(name, call)

    def settle(self) -> None:
        """Work and take changes in turn until nothing is left, or for `most` calls."""
        combiner, calls, written = self.combiner, 0, 0
        while calls < self.most:
            calls += 1
            more = self.run("work", lambda: combiner.work(self.now_ms, within(WORK_S)))
            if not more and not combiner.has_changes:
                return
            self.run("take", lambda: combiner.take(self.now_ms, within(CHANGES_S)))
            if not more and combiner.is_rewriting:
                written += 1
            if written > MOST_WRITTEN:
                # The rest counts as written: it is the same for every slice of rows.
                combiner._pending._masks.values[:] = 0
                combiner._pending._swept.clear()
                written = 0

    def set(self, settings: Sequence[tuple[str, dict[str, object] | None]]) -> None:
        """Fold settings as records that come, and follow them as the step does."""
        combiner = self.combiner
        for start in range(0, len(settings), SETTINGS_AT_ONCE):
            self.run("fold", partial(self._fold, settings[start : start + SETTINGS_AT_ONCE]))
        if not self.run("work", lambda: combiner.work(self.now_ms, within(WORK_S))):
            self.run("take", lambda: combiner.take(self.now_ms, within(CHANGES_S), only_whole=True))

    def set_each(self, cases: dict[str, list[tuple[str, dict[str, object] | None]]]) -> None:
        """Measure each of some changes of settings, with all that follows."""
        for name, records_ in cases.items():
            with self.kind(name):
                self.set(records_)

    def _fold(self, settings: Sequence[tuple[str, dict[str, object] | None]]) -> None:
        draft = SettingsDraft(self.combiner.settings)
        for at, (key, value) in enumerate(settings, self.combiner.settings.offset + 1):
            draft.fold(key.encode(), encode({"value": value}), at)
        self.combiner.apply(draft.settings())

    def tick(self, by_ms: int) -> None:
        self.now_ms += by_ms
        self.run("tick", lambda: self.combiner.tick(self.now_ms))

    def some(self, count: int) -> list[int]:
        return [self.random.randrange(min(self.posts, FOUND)) for _ in range(count)]

    def _collects(self, phase: str, info: dict[str, int]) -> None:
        """Python's collector stops and goes."""
        if phase == "start":
            self._collect_start = time.thread_time()
        else:
            took_ms = (time.thread_time() - self._collect_start) * 1e3
            self.longest.note(took_ms, f"collector {info['generation']}")

    def _watch(self) -> None:
        for owner in _WATCHED:
            for name, call in list(vars(owner).items()):
                is_kept = callable(call) and (not name.startswith("__") or name in _KEPT)
                if is_kept and name not in _SMALL and not isinstance(call, property | type):
                    setattr(owner, name, self._timed(call, f"{owner.__name__}.{name}"))

    def _timed(self, call: Any, what: str) -> Callable[..., Any]:
        def timed(*arguments: Any, **options: Any) -> Any:
            start = time.thread_time()
            result = call(*arguments, **options)
            self.longest.note((time.thread_time() - start) * 1e3, what)
            return result

        return timed


def within(seconds: float) -> Callable[[], bool]:
    """As the step asks for time: by the processor."""
    end = time.thread_time() + seconds
    return lambda: time.thread_time() < end

"""All posts of a reader: what the logs say, decisions by gate policy, and indexes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.events.experiment import Experiment, Policy
from feedmill.events.feeds import FeedSpec
from feedmill.events.reader_bounds import ReaderBounds
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames
from feedmill.events.weights import Weights
from feedmill.rankers.combiner.columns import NO_POST, Flags, Rows
from feedmill.rankers.combiner.combiner import RowPasses
from feedmill.rankers.combiner.feed_matcher import FeedMatcher, accepts
from feedmill.rankers.combiner.gate_decisions import DEMOTE, GateDecisions
from feedmill.rankers.combiner.pending_writes import PendingWrites
from feedmill.rankers.combiner.signal_columns import RowSelection
from feedmill.rankers.combiner.view import PostView
from feedmill.readers.cells import Cells
from feedmill.tables.grouped_rows import GroupedRows
from feedmill.tables.mapped_column import in_chunks

_CHANGED_ROWS = 1024
_FILLED_ROWS, _OVERRIDDEN_ROWS = 1 << 16, 256
_EXPIRED_ROWS = 256
# While more rows are marked, posts of authors with new overrides are not searched for.
_FOUND_ROWS = 256
# How often, in ticks, cells without posts are forgotten.
_FORGET_EVERY = 60

_encode = msgspec.json.Encoder(order="sorted").encode


class ListPolicy(NamedTuple):
    """By what a feed, or an arm of it, is ranked, and the decisions about all posts."""

    weights: Weights
    decisions: GateDecisions


class ServedFeed:
    """A feed with a setting `readers/<feed>`, under one state of the settings.

    Attributes
    ----------
    policies
        By `<experiment>.<arm>` the policy of each arm but the control; under "" that of the feed.
    takes
        By number of a group whether the feed takes its posts; False behind the known groups.
    """

    def __init__(
        self,
        name: str,
        spec: FeedSpec,
        bounds: ReaderBounds,
        policies: Mapping[str, ListPolicy],
        experiment: tuple[str, Experiment] | None,
    ) -> None:
        self.name, self.spec, self.bounds = name, spec, bounds
        self.policies, self.experiment = policies, experiment
        self.takes: Flags = np.zeros(0, bool)


class ServedFeeds:
    """The feeds that a reader serves under some settings, once every decision was made."""

    def __init__(self, settings: Settings, view: PostView, known: Iterable[GateDecisions]) -> None:
        self.settings = settings
        self.window_ms = FeedMatcher(settings).longest_window_ms
        before = {_key(decisions.gates): decisions for decisions in known}
        self.decisions: dict[bytes, GateDecisions] = {}
        self.new: list[GateDecisions] = []
        self.feeds: dict[str, ServedFeed] = {}

        def ranked(policy: Policy) -> ListPolicy:
            key = _key(policy.gates)
            if key not in self.decisions:
                decisions = before.get(key)
                if decisions is None:
                    decisions = GateDecisions(view, policy.gates)
                    self.new.append(decisions)
                self.decisions[key] = decisions
            return ListPolicy(policy.weights, self.decisions[key])

        for name, bounds in settings.readers.items():
            spec, policy = settings.feed_of(name), settings.policy_of(name)
            if spec is None or policy is None:  # the feed was removed
                continue
            running = settings.running.get(name)
            arms = {} if running is None else running.arms
            policies = {arm: ranked(own) for arm, own in {"": policy, **arms}.items()}
            experiment = None if running is None else (running.name, running.experiment)
            self.feeds[name] = ServedFeed(name, spec, bounds, policies, experiment)
        for number, group in enumerate(view.groups.values):
            self.learn(number, group)

    def learn(self, number: int, group: Any) -> None:
        """Find which feeds take posts of a group; None in its place says that it is no more."""
        for feed in self.feeds.values():
            if number >= len(feed.takes):
                more = np.zeros(in_chunks(number + 1) - len(feed.takes), bool)
                feed.takes = np.append(feed.takes, more)
            feed.takes[number] = group is not None and accepts(feed.name, feed.spec, group)


class Pool:
    """The view of a reader, kept up to date for requests.

    One thread calls it: the caller updates `view`, calls `follow` before anything is asked, and
    `work` and `tick` in between.  Until `restored` is called nothing is decided or indexed.

    Attributes
    ----------
    served
        The feeds under the newest settings of which all posts were decided.
    authors, groups, cells
        The posts by the numbers of their authors, of their groups, and by cells.
    """

    def __init__(self, names: SignalNames) -> None:
        self.view = PostView(names, keeps_times=False)
        self.served = ServedFeeds(Settings(names), self.view, ())
        self.authors, self.groups, self.cells = GroupedRows(), GroupedRows(), Cells(self.view)
        self.is_restored = self._has_cells = False
        self._now_ms = 0
        # Nothing is written, so no pass marks what is to be written.
        self._passes = RowPasses(self.view, PendingWrites(1, self.view.ids, frozenset()))
        self._building: ServedFeeds | None = None
        self._build: Iterator[None] = iter(())
        self._communities: dict[str, set[int]] = {}
        self._known_groups: list[Any] = []
        self._is_prune_due, self._ticks, self._last_tick_ms = False, 0, 0

    # --- a restore, and new settings ----------------------------------------------------------

    def forget_changes(self) -> None:
        """In a restore: let go of what changed; `restored` looks at all posts."""
        while self.view.changed:
            rows, _ = self.view.changed.take()
            self.view.recycle(rows[self.view.freed_among(rows)])

    def restored(self, settings: Settings) -> None:
        """Index all posts, which takes a second at ten million; `work` decides and serves them."""
        self.is_restored = True
        self.forget_changes()
        self.authors.build(self.view.post.author)
        self.groups.build(self.view.post.group)
        self._learn(np.unique(self.view.post.group))
        self.apply(settings)

    @property
    def serves_newest(self) -> bool:
        """Whether pages follow the settings that were given last."""
        return self.is_restored and self._building is None

    def apply(self, settings: Settings) -> None:
        """Have `work` serve by new settings."""
        known = self.served.decisions.values()
        self._building = ServedFeeds(settings, self.view, known)
        self._build = self._fill(self._building)

    @property
    def newest(self) -> Settings:
        """The settings that were given last, served or not."""
        return (self._building or self.served).settings

    def _fill(self, made: ServedFeeds) -> Iterator[None]:
        """Decide all posts by the new policies, then serve by them."""
        view, capacity = self.view, self.view.capacity
        for first in range(0, capacity if made.new else 0, _FILLED_ROWS):
            part = slice(first, min(first + _FILLED_ROWS, capacity))
            for decisions in made.new:
                decisions.update(part, self._now_ms)
            overridden = view.overridden.among(part, view.post.author)
            overridden &= view.post.offset[part] != NO_POST
            rows = (np.flatnonzero(overridden) + first).astype(np.int32)
            for at in range(0, len(rows), _OVERRIDDEN_ROWS):
                for decisions in made.new:
                    decisions.update(rows[at : at + _OVERRIDDEN_ROWS], self._now_ms)
                yield
            self._update_cells(np.arange(first, part.stop, dtype=np.int32))
            yield
        if made.decisions and not self._has_cells:
            self._has_cells = True
            self.cells.build(self._are_shown(slice(0, view.capacity)))
        before, self.served, self._building = self.served, made, None
        is_same = before.decisions.keys() == made.decisions.keys()
        for first in range(0, 0 if is_same else capacity, _FILLED_ROWS):
            # What only former policies showed leaves its cell.
            end = min(first + _FILLED_ROWS, capacity)
            self._update_cells(np.arange(first, end, dtype=np.int32))
            yield

    # --- following what was read --------------------------------------------------------------

    def follow(self, now_ms: int) -> None:
        """Decide and index what changed in the view."""
        view = self.view
        while view.changed:
            rows, masks = view.changed.take(_CHANGED_ROWS)
            self._decide(rows, rows[(masks & view.deciding) != 0], now_ms)
            self._index(rows)
            freed = rows[view.freed_among(rows)]
            if len(freed):
                view.recycle(freed)

    def decide_again(self, rows: Rows, now_ms: int) -> None:
        """Decide posts whose decisions are known to be out of date."""
        self.view.touch(rows)
        self.follow(now_ms)

    def work(self, now_ms: int, has_time: Callable[[], bool] = lambda: True) -> bool:
        """Do what is left to do while there is time; return whether there is more."""
        self._now_ms = now_ms
        view = self.view
        while True:
            self.follow(now_ms)
            if view.find_overridden(_FOUND_ROWS):
                pass
            elif self._passes:
                self._passes.go_on()
            elif next(self._build, self) is not self:
                pass
            elif view.has_expired:
                view.free(view.expired(now_ms - self.served.window_ms, _EXPIRED_ROWS))
            elif self._is_prune_due:
                self._forget_groups(view.pruning.go_on())
                self._is_prune_due = view.pruning.is_running
                return False
            else:
                return False
            if not has_time():
                return True

    def tick(self, now_ms: int) -> None:
        """Apply the time, about once a second: windows, overrides that end, grace of gates."""
        if now_ms < self._last_tick_ms:
            self.view.overrides.collect_ends()
            self._passes.touch_all()
        self._last_tick_ms = now_ms
        self._passes.end_overrides(now_ms)
        self._passes.end_grace(self._all_decisions(), now_ms)
        self.view.free(self.view.expired(now_ms - self.served.window_ms, _EXPIRED_ROWS))
        self._is_prune_due = True
        self._ticks += 1
        if self._ticks % _FORGET_EVERY == 0:
            self.cells.forget_empty()

    def groups_of(self, communities: Iterable[str]) -> npt.NDArray[np.intp]:
        """The numbers of all groups of some communities."""
        none: set[int] = set()
        found = none.union(*(self._communities.get(name, none) for name in communities))
        return np.fromiter(found, np.intp, len(found))

    def _all_decisions(self) -> list[GateDecisions]:
        new = [] if self._building is None else self._building.new
        return [*self.served.decisions.values(), *new]

    def _decide(self, rows: Rows, judged: Rows, now_ms: int) -> None:
        for decisions in self._all_decisions():
            due = rows if decisions.has_open_gate else judged
            if len(due):
                decisions.update(due, now_ms)

    def _index(self, rows: Rows) -> None:
        view, post = self.view, self.view.post
        self.authors.grow(view.capacity, view.authors.bound)
        self.groups.grow(view.capacity, len(view.groups.values))
        self.authors.move_all(rows, post.author[rows])
        self._learn(post.group[rows])
        self.groups.move_all(rows, post.group[rows])
        self._update_cells(rows)

    def _update_cells(self, rows: Rows) -> None:
        if self._has_cells:
            self.cells.update(rows, self._are_shown(rows))

    def _are_shown(self, rows: RowSelection) -> Flags:
        shown: Flags = np.zeros(len(self.view.post.offset[rows]), bool)
        for decisions in self._all_decisions():
            decisions.grow()
            shown |= decisions.code.values[rows] <= DEMOTE
        return shown

    # --- groups -------------------------------------------------------------------------------

    def _learn(self, numbers: Rows) -> None:
        groups = self.view.groups.values
        self._known_groups += [None] * (len(groups) - len(self._known_groups))
        for number in {*numbers.tolist()}:
            if number >= 0 and self._known_groups[number] is None:
                group = self._known_groups[number] = groups[number]
                for community in group.communities:
                    self._communities.setdefault(community, set()).add(number)
                self._tell(number, group)

    def _forget_groups(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            group = self._known_groups[number]
            if group is None:
                continue
            self._known_groups[number] = None
            for community in group.communities:
                self._communities[community].discard(number)
                if not self._communities[community]:
                    del self._communities[community]
            self._tell(number, None)

    def _tell(self, number: int, group: Any) -> None:
        for served in (self.served, self._building):
            if served is not None:
                served.learn(number, group)


def _key(gates: Mapping[str, Any]) -> bytes:
    return _encode(dict(gates))

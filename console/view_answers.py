"""Answers pages from a view: previews, spreads of gates, posts of an author or for the queue."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec
import numpy as np

from feedmill.console.view_messages import (
    Ask,
    AuthorAsk,
    Change,
    GatesAsk,
    GateSpread,
    GatesResult,
    PileAsk,
    PostsResult,
    PreviewAsk,
    PreviewResult,
    Side,
    ViewPost,
)
from feedmill.events.errors import UsageError
from feedmill.events.gates import GatePolicy
from feedmill.events.partition import partition_of
from feedmill.events.rates import bases_of
from feedmill.events.settings import Settings
from feedmill.operations.preview.feed_preview import (
    FeedPreview,
    FeedSide,
    PreviewedPost,
    preview_feed,
)
from feedmill.rankers.combiner.columns import Rows
from feedmill.rankers.combiner.feed_set import decide_all
from feedmill.rankers.combiner.gate_decisions import (
    DECISIONS,
    HIDE,
    HOLD,
    decide_row,
)
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.settings.config_log import encode_record

BINS = 50
# So near to a threshold a gate's model is not sure.
NEAR = 0.05
# Of so many hidden posts it is looked up who hides them.
_MOST_HIDDEN = 5_000
# Rows of posts, the first first, and why each of them is there.
_Chosen = tuple[Rows, Callable[[int], str]]


class _Pages:
    """A view under its settings at a time, which all answers are made of."""

    def __init__(self, view: PostView, settings: Settings, partitions: int, now_ms: int) -> None:
        self.view, self.settings = view, settings
        self.partitions, self.now_ms = partitions, now_ms

    def changed(self, feed: str, changes: Sequence[Change]) -> Settings:
        """The settings with changes; raises `BadSetting` with the sentence of `config set`."""
        if self.settings.feed_of(feed) is None:
            raise UsageError(f"there is no feed `{feed}`")
        settings = self.settings
        for key, value in changes:
            settings = settings.fold(key.encode(), encode_record(value), settings.offset + 1)
        return settings

    def preview(self, ask: PreviewAsk) -> PreviewResult:
        then = self.changed(ask.feed, ask.changes)
        found = preview_feed(self.view, ask.feed, self.settings, then, self.now_ms, ask.top)
        now_first = sorted(
            (post for post in found.ranked if post.rank_now is not None),
            key=lambda post: post.rank_now or 0,
        )
        keys = (f"weights/{ask.feed}", f"gates/{ask.feed}")
        return PreviewResult(
            at_ms=found.at_ms,
            view_posts=len(self.view.live_rows()),
            now=self._side(found.now, then=False, best=now_first[: ask.top]),
            then=self._side(found.then, then=True, best=_best(found, ask.top)),
            entering=len(found.entering),
            leaving=len(found.leaving),
            moving=len(found.moving),
            offsets={key: self.settings.offsets.get(key, -1) for key in keys},
        )

    def _side(self, side: FeedSide, *, then: bool, best: Sequence[PreviewedPost]) -> Side:
        posts = tuple(self._previewed(post, then=then) for post in best)
        return Side(
            weights=dict(side.weights),
            gates={name: msgspec.to_builtins(gate) for name, gate in side.gates.items()},
            posts=side.posts,
            authors=side.top_authors,
            demoted=side.top_demoted,
            age_ms=side.top_age_ms,
            means=dict(side.top_means),
            best=posts,
        )

    def _previewed(self, post: PreviewedPost, *, then: bool) -> ViewPost:
        row = self.view.ids.find(post.post_id)
        return ViewPost(
            post.post_id,
            post.author_id,
            post.created_ms,
            partition_of(post.post_id.encode(), self.partitions),
            -1 if row is None else self.view.post.offset.item(row),
            post.decision,
            dict(post.signals),
            rank=post.rank if then else post.rank_now,
            score=post.score if then else post.score_now,
            other_rank=post.rank_now if then else post.rank,
        )

    def gates(self, ask: GatesAsk) -> GatesResult:
        then, rows = self.changed(ask.feed, ask.changes), self.view.live_rows()
        spreads = []
        for name in ask.signals or self.view.names.gates:
            values = self.view.signals[name].current_values(rows)
            judged = values[~np.isnan(values)]
            # What rankers say of all posts may be within a hundredth.
            is_gate = name in self.view.names.gates or not len(judged)
            top = 1.0 if is_gate else max(float(judged.max()), 1e-6)
            counts, _ = np.histogram(judged, BINS, (0.0, top))
            spreads.append(GateSpread(name, tuple(counts.tolist()), len(judged), top))
        sides = (self._decided(one.gates_of(ask.feed), rows) for one in (self.settings, then))
        return GatesResult(self.now_ms, len(rows), tuple(spreads), *sides)

    def _decided(self, gates: Mapping[str, GatePolicy], rows: Rows) -> dict[str, int]:
        codes = decide_all(self.view, gates, self.now_ms).code.values[rows]
        counts = np.bincount(codes, minlength=HOLD + 1)
        return {DECISIONS[code]: int(counts[code]) for code in range(HOLD + 1)}

    def author(self, ask: AuthorAsk) -> PostsResult:
        number = self.view.authors.find(ask.author_id)
        rows = self.view.live_rows()
        mine = rows[self.view.post.author[rows] == number] if number is not None else rows[:0]
        order = np.argsort(-self.view.post.created_ms[mine], kind="stable")
        return self._posts(mine[order], ask.most)

    def pile(self, ask: PileAsk) -> PostsResult:
        rows = self.view.live_rows()
        found = {"reported": self._reported, "near": self._near, "held": self._held}
        chosen, why = found.get(ask.pile, self._hidden)(rows)
        return self._posts(chosen, ask.most, why)

    @property
    def _general(self) -> Mapping[str, GatePolicy]:
        return self.settings.gates_of("")

    def _reported(self, rows: Rows) -> _Chosen:
        """The posts that readers report and hide more often than others, the most often first."""
        columns = {name: self.view.signals[name].value.values for name in ("report", "hide")}
        bases = bases_of(self.settings.reaction_rates)
        # Without a record a value is the base: the excess is above 0 only where people complained.
        above = [np.nan_to_num(of[rows] / bases[name] - 1) for name, of in columns.items()]
        excess = np.max(above, axis=0)
        chosen = rows[excess > 0][np.argsort(-excess[excess > 0], kind="stable")]

        def why(row: int) -> str:
            report, hide = (
                1000 * np.nan_to_num(of[row], nan=bases[name]) for name, of in columns.items()
            )
            return f"{report:.1f} reports and {hide:.1f} hides per 1,000 views"

        return chosen, why

    def _near(self, rows: Rows) -> _Chosen:
        """The posts that a gate nearly decided otherwise, the nearest first."""
        nearest = np.full(len(rows), np.inf)
        gate_of = np.full(len(rows), -1)
        gates = list(self._general.items())
        for number, (name, gate) in enumerate(gates):
            values = self.view.signals[name].current_values(rows)
            for at in (gate.hide_at, gate.demote_at):
                if gate.required and at is not None:
                    away = np.nan_to_num(np.abs(values - at), nan=np.inf)
                    gate_of[away < nearest] = number
                    nearest = np.minimum(nearest, away)
        is_near = nearest <= NEAR
        order = np.argsort(nearest[is_near], kind="stable")
        chosen = rows[is_near][order]
        named = dict(zip(chosen.tolist(), gate_of[is_near][order].tolist(), strict=True))

        def why(row: int) -> str:
            name, gate = gates[named[row]]
            value = float(self.view.signals[name].value.values[row])
            limits = [f"{at:g}" for at in (gate.demote_at, gate.hide_at) if at is not None]
            return f"{name} {value:.3f}, thresholds {' and '.join(limits)}"

        return chosen, why

    def _held(self, rows: Rows) -> _Chosen:
        chosen = self._of_code(rows, HOLD)
        return chosen, self._decided_by

    def _hidden(self, rows: Rows) -> _Chosen:
        """The newest posts that a model hides; those that people decided are done."""
        chosen = self._of_code(rows, HIDE)[:_MOST_HIDDEN]
        by = [self._decided_by(row) for row in chosen.tolist()]
        is_model = [not one.startswith(("override:", "rule:")) for one in by]
        return chosen[np.array(is_model, bool)], self._decided_by

    def _of_code(self, rows: Rows, code: int) -> Rows:
        """The posts with a decision, the newest first."""
        codes = decide_all(self.view, self._general, self.now_ms).code.values[rows]
        chosen: Rows = rows[codes == code]
        return chosen[np.argsort(-self.view.post.created_ms[chosen], kind="stable")]

    def _decided_by(self, row: int) -> str:
        return decide_row(self.view, row, self._general, self.now_ms).decided_by

    def _posts(
        self,
        rows: Rows,
        most: int,
        why: Callable[[int], str] = lambda _: "",
    ) -> PostsResult:
        posts = tuple(self._view_post(row, why(row)) for row in rows[:most].tolist())
        return PostsResult(self.now_ms, posts, len(rows))

    def _view_post(self, row: int, why: str) -> ViewPost:
        view, post_id = self.view, self.view.ids[row]
        signals = {name: view.signal(row, name) for name in view.written}
        return ViewPost(
            post_id,
            view.author_of(row),
            view.post.created_ms.item(row),
            partition_of(post_id.encode(), self.partitions),
            view.post.offset.item(row),
            decide_row(view, row, self._general, self.now_ms).name,
            {name: None if one is None else one.value for name, one in signals.items()},
            why=why,
        )


def answer_ask(
    ask: Ask, view: PostView, settings: Settings, partitions: int, now_ms: int
) -> PreviewResult | GatesResult | PostsResult:
    """Answer what a page asks of a view, as of a time (Unix ms).

    Raises `BadSetting` or `UsageError` where a changed setting would be refused.
    """
    pages = _Pages(view, settings, partitions, now_ms)
    if isinstance(ask, PreviewAsk):
        return pages.preview(ask)
    if isinstance(ask, GatesAsk):
        return pages.gates(ask)
    if isinstance(ask, AuthorAsk):
        return pages.author(ask)
    return pages.pile(ask)


def _best(found: FeedPreview, top: int) -> list[PreviewedPost]:
    return [post for post in found.ranked[:top] if post.rank is not None]

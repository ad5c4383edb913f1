"""Recent posts, what was decided about them, and who complained: for moderators."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from feedmill.events.decode import decode_engagement
from feedmill.events.errors import BadEvent
from feedmill.events.gates import GatePolicy
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames
from feedmill.rankers.combiner.columns import Rows
from feedmill.rankers.combiner.feed_matcher import FeedMatcher
from feedmill.rankers.combiner.gate_decisions import decide_rows, verdict_of
from feedmill.rankers.combiner.gating import PASSED, DecisionName
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.kafka.topic_reader import open_topic
from feedmill.streams.settings.environment import Environment

FIRST_CHARACTERS = 300
NEAR = 0.05

# By kind, hide or report, and by post the users who did it.
Complaints = Mapping[str, Mapping[str, set[str]]]


class ListedPost(NamedTuple):
    """A post as moderators see it; `text` has its first characters.

    `near` says which gate's value is within `NEAR` of a threshold, "" for none. `reports` and
    `hides` count users.
    """

    post_id: str
    author_id: str
    created_ms: int
    decision: DecisionName
    decided_by: str
    near: str
    reports: int
    hides: int
    text: str


class TextView(PostView):
    """A view of gates that also keeps the first characters of each post, by row."""

    def __init__(self, names: SignalNames) -> None:
        super().__init__(replace(names, objectives=(), costs=()), most_early=0)
        self.texts: dict[int, str] = {}

    def _take_post(self, row: int, author: int, post: Post, offset: int, timestamp_ms: int) -> None:
        super()._take_post(row, author, post, offset, timestamp_ms)
        if self.post.offset[row] == offset:
            self.texts[row] = post.text[:FIRST_CHARACTERS]


def list_posts(
    view: TextView, settings: Settings, feed: str, complaints: Complaints, now_ms: int
) -> list[ListedPost]:
    """List the posts of a view that a feed takes, all for "", the newest first.

    The settings must know the feed. Posts are decided by its gates, for "" by the general ones, and
    by overrides.
    """
    gates, rows = settings.gates_of(feed), _rows_of(view, settings, feed)
    decided, near = dict(decide_rows(view, rows, gates, now_ms)), _near(view, gates, rows)
    found = []
    for place, row in enumerate(rows.tolist()):
        post_id, decision = view.ids[row], decided.get(place, PASSED)
        reports, hides = (len(complaints[kind].get(post_id, ())) for kind in ("report", "hide"))
        found.append(
            ListedPost(
                post_id,
                view.author_of(row),
                int(view.post.created_ms[row]),
                decision.name,
                decision.decided_by,
                near.get(place, ""),
                reports,
                hides,
                view.texts[row],
            )
        )
    return sorted(found, key=lambda post: -post.created_ms)


def _rows_of(view: PostView, settings: Settings, feed: str) -> Rows:
    rows = view.live_rows()
    if not feed:
        return rows
    matcher, groups = FeedMatcher(settings), view.groups.values
    authors = matcher.spec_of(feed).match.authors
    is_taken = (
        feed in matcher.feeds_of(view.post.group.item(row), groups)
        and (not authors or view.author_of(row) in authors)
        for row in rows.tolist()
    )
    taken: Rows = rows[np.fromiter(is_taken, bool, len(rows))]
    return taken


def _near(view: PostView, gates: Mapping[str, GatePolicy], rows: Rows) -> dict[int, str]:
    """By place of a row the gate whose model is not sure."""
    found: dict[int, str] = {}
    for name, gate in gates.items():
        values = view.signals[name].current_values(rows)
        for field, at in (("hide_at", gate.hide_at), ("demote_at", gate.demote_at)):
            if not gate.required or at is None:
                continue
            for place in np.flatnonzero(abs(values - at) <= NEAR).tolist():
                if not verdict_of(view, int(rows[place]), name).by_rule:
                    found.setdefault(place, f"{name} {values[place]:.3f}, {field} {at:g}")
    return found


def read_complaints(environment: Environment, since_ms: int) -> Complaints:
    """Read who hid or reported posts since then; raises what `open_topic` raises."""
    found: dict[str, defaultdict[str, set[str]]] = {
        "hide": defaultdict(set),
        "report": defaultdict(set),
    }
    with open_topic(environment, "engagements") as reader:
        reader.seek_to_time(since_ms)
        for record in reader.read_to_end():
            value = record.value or b""
            if b'"hide"' in value or b'"report"' in value:  # few are: others are not decoded
                try:
                    event = decode_engagement(record.key or b"", value)
                except BadEvent:
                    continue
                if event.kind in found:
                    found[event.kind][event.post_id].add(event.user_id)
    return found

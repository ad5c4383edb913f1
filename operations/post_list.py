"""Recent posts, what was decided about them, and who complained: for moderators."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from feedmill.events.decode import decode_engagement
from feedmill.events.errors import BadEvent
from feedmill.events.gates import GatePolicy
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.events.signal import SignalNames
from feedmill.operations.preview.gate_preview import SourcedView
from feedmill.rankers.combiner.columns import Rows
from feedmill.rankers.combiner.feed_matcher import FeedMatcher
from feedmill.rankers.combiner.gate_decisions import PASSED, DecisionName, decide_rows, verdict_of
from feedmill.rankers.combiner.view import PostView
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import read_all

FIRST_CHARACTERS = 300
NEAR = 0.05


@dataclass(frozen=True)
class ListedPost:
    """A post as moderators see it; `near` names a gate within `NEAR` of a threshold, else "".

    `reports` and `hides` count users, and `text` has the first characters.
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


class TextView(SourcedView):
    """A view of gates that also keeps the first characters of each post, by row."""

    def __init__(self, names: SignalNames) -> None:
        super().__init__(names)
        self.texts: dict[int, str] = {}

    def _put_post(self, row: int, author: int, post: Post, offset: int, timestamp_ms: int) -> None:
        super()._put_post(row, author, post, offset, timestamp_ms)
        if self.post.offset[row] == offset:
            self.texts[row] = post.text[:FIRST_CHARACTERS]


def list_posts(
    view: TextView, settings: Settings, feed: str, complaints: Counter[tuple[str, str]], now_ms: int
) -> list[ListedPost]:
    """List the posts of a view that a feed takes, all for "", the newest first.

    The settings must know the feed. Posts are decided by its gates, for "" by the general ones, and
    by overrides.
    """
    gates, rows = settings.gates_of(feed), view.live_rows()
    if feed:
        matcher = FeedMatcher(settings)
        rows = rows[np.array([_takes(view, matcher, feed, row) for row in rows.tolist()], bool)]
    decided, near = dict(decide_rows(view, rows, gates, now_ms)), _near(view, gates, rows)
    found = []
    for place, row in enumerate(rows.tolist()):
        post_id, author_id = view.ids[row], view.author_of(row)
        decision, created_ms = decided.get(place, PASSED), int(view.post.created_ms[row])
        reports, hides = complaints[post_id, "report"], complaints[post_id, "hide"]
        said = (decision.decided_by, near.get(place, ""), reports, hides, view.texts[row])
        found.append(ListedPost(post_id, author_id, created_ms, decision.name, *said))
    return sorted(found, key=lambda post: -post.created_ms)


def _takes(view: PostView, matcher: FeedMatcher, feed: str, row: int) -> bool:
    is_of_feed = feed in matcher.feeds_of(view.post.group.item(row), view.groups.values)
    authors = matcher.spec_of(feed).match.authors
    return is_of_feed and (not authors or view.author_of(row) in authors)


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


def count_complaints(environment: Environment, since_ms: int) -> Counter[tuple[str, str]]:
    """Count by post and kind, hide or report, the users who did it since then.

    Raises what `open_topic` raises.
    """
    users: set[tuple[str, str, str]] = set()
    for record in read_all(environment, "engagements", since_ms=since_ms):
        value = record.value or b""
        if b'"hide"' in value or b'"report"' in value:  # few are: others are not decoded
            with suppress(BadEvent):
                event = decode_engagement(record.key or b"", value)
                users.add((event.post_id, event.kind, event.user_id))
    return Counter((post_id, kind) for post_id, kind, _ in users)

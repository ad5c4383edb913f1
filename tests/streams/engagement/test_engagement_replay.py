"""The topics counted again: each row knows what the step knew just then, and what came after."""

import dataclasses
from copy import deepcopy
from random import Random

import numpy as np
import pytest
from msgspec.structs import replace

from builders.engagement_log import Event, Record, draw_log
from builders.engagement_step import Running, record_of
from builders.fake_log import KeptWriter
from builders.records import StoredRecord, record
from feedmill.events.engagement import Engagement, EngagementKind
from feedmill.events.post import Deletion, Post
from feedmill.features.authorship import author_keys, hours_of_day
from feedmill.features.counters import Counters
from feedmill.rankers.engagement import HEADS, clicks_and_impressions
from feedmill.rankers.impressions import Impressions, join
from feedmill.streams.engagement.engagement_replay import EngagementReplay
from feedmill.streams.engagement.feature_row import FeatureRow, decode_row
from feedmill.streams.engagement.partition_state import PartitionState
from feedmill.streams.environment import Environment

START_MS = 1_700_000_000_000
WAIT_MS = 60_000
PostEvent = tuple[Record, Post | Deletion]


def post(post_id: str, at_ms: int = START_MS - 1, offset: int = 0, text: str = "text") -> PostEvent:
    return Record(offset, at_ms, post_id.encode()), Post(post_id, "ann", at_ms, text)


def event(
    offset: int,
    at_ms: int,
    kind: EngagementKind = "impression",
    user: str = "u",
    post_id: str = "p",
    position: int | None = None,
) -> Event:
    content = Engagement(post_id, user, kind, START_MS + at_ms, position=position)
    return Record(offset, START_MS + at_ms, post_id.encode()), content


def replayed(
    events: list[Event], posts: list[PostEvent], end_ms: int = 10**15, **settings: object
) -> tuple[Impressions, dict[str, int]]:
    replay = EngagementReplay(Environment(**settings), WAIT_MS)  # type: ignore[arg-type]  # by name
    replay.add_posts(posts)
    replay.count(events)
    return replay.impressions(end_ms), dict(replay.left_out)


def test_a_row_knows_its_user_by_the_same_hash_for_every_post() -> None:
    events = [
        event(n, n, user=user, post_id=post_id)
        for n, (user, post_id) in enumerate([("u", "p"), ("w", "p"), ("u", "q")])
    ]
    rows, _ = replayed(events, [post("p"), post("q")])
    assert rows.users is not None
    one, two, again = rows.users.tolist()
    assert one == again != two
    both = join([rows, rows.where(rows.versions == 1)])
    assert both.users is not None
    assert both.users.tolist() == [one, two, again, again]
    unknown = dataclasses.replace(rows, users=None)
    assert join([rows, unknown]).users is None


def test_a_row_knows_what_the_step_had_counted_just_before() -> None:
    log = [
        (record, replace(one, user_id=f"{one.user_id}.{number // 20}"))
        for number, (record, one) in enumerate(draw_log(Random(3), 3_000))
    ]
    posts = [post(f"p{i}", log[0][0].timestamp) for i in range(5)]
    rows, _ = replayed(log, posts, user_window=1_000, burst_reactions=3)
    # The step takes the same log in cycles of any size.
    state = PartitionState(Environment(user_window=1_000, burst_reactions=3))
    random, done = Random(4), 0
    met: set[tuple[str, str]] = set()
    expected = []
    for number, (_, one) in enumerate(log):
        is_first = (one.post_id, one.user_id) not in met
        if one.kind in ("impression", *HEADS):
            met.add((one.post_id, one.user_id))
        if one.kind != "impression" or not is_first:
            continue
        while done < number:
            size = min(random.randrange(1, 40), number - done)
            state.count(log[done : done + size])
            state.pack()
            done += size
        found = state.find(one.post_id)
        before = Counters() if found is None else deepcopy(found.counters)
        if state.count(log[number : number + 1]) == [""]:
            expected.append(before)
        done = number + 1
    clicks, impressions = clicks_and_impressions(expected)
    assert len(rows) > 300
    np.testing.assert_array_equal(rows.clicks, clicks)
    np.testing.assert_array_equal(rows.impressions, impressions)
    assert rows.clicks.max() > 1


def test_a_row_says_what_the_user_did_within_the_time() -> None:
    log = [
        event(0, 0, user="clicks"),
        event(1, 1, user="likes late"),
        event(2, 2, user="does nothing"),
        event(3, 10, "click", user="clicks"),
        event(4, 20, "share", user="clicks"),
        event(5, 30, "click", user="was never shown it"),
        event(6, WAIT_MS + 1, "click", user="likes late"),
        event(7, WAIT_MS + 2, "like", user="likes late"),
    ]
    rows, left_out = replayed(log, [post("p")])
    assert [[k for k in HEADS if rows.reacted(k)[i]] for i in range(3)] == [
        ["click", "share"],
        ["click"],
        [],
    ]
    assert rows.impressions.round(3).tolist() == [0, 1, 2]
    assert left_out == {"reactions before any impression": 1}


def test_only_the_first_impression_of_a_user_is_a_row() -> None:
    days_ms = 2 * 86_400_000
    log = [
        event(0, 0, "click", user="knows it"),
        event(1, 1, user="knows it"),
        event(2, 2, user="u"),
        event(3, 3, user="u"),
        event(4, days_ms, user="u"),
        event(5, days_ms, "click", user="u"),
    ]
    rows, _ = replayed(log, [post("p")])
    assert rows.at_ms.tolist() == [START_MS + 2]
    assert not rows.reactions.any()


def test_an_impression_too_close_to_the_end_is_left_out() -> None:
    log = [event(0, 0), event(1, WAIT_MS // 2, user="v")]
    rows, left_out = replayed(log, [post("p")], end_ms=START_MS + WAIT_MS)
    assert len(rows) == 1
    assert left_out == {"impressions too late to know the reactions": 1}


def test_users_see_the_version_whose_record_had_come() -> None:
    posts = [
        post("p", START_MS - 1, 0, "first"),
        post("p", START_MS + 5, 1, "second"),
        post("later", START_MS + 9, 2),
    ]
    log = [
        event(0, 4, user="a"),
        event(1, 5, user="b"),
        event(2, 6, post_id="later"),
        event(3, 7, post_id="nowhere"),
    ]
    rows, left_out = replayed(log, posts)
    assert [rows.posts[n].text for n in rows.versions] == ["first", "second"]
    # Counts go on over an edit.
    assert rows.impressions.tolist()[0] == 0 < rows.impressions.tolist()[1]
    assert left_out == {"impressions of posts that are not there": 2}


def test_author_and_hour_are_those_that_a_live_post_has() -> None:
    day_ms = START_MS // 86_400_000 * 86_400_000
    shown = [
        Post("p", "ann", day_ms + 3 * 3_600_000, "text"),
        # Its clock is wrong: it was created after its record came.
        Post("q", "bob", day_ms + 10 * 86_400_000 + 5 * 3_600_000, "text"),
    ]
    posts: list[PostEvent] = [
        (Record(i, START_MS - 1, one.post_id.encode()), one) for i, one in enumerate(shown)
    ]
    rows, _ = replayed([event(0, 0), event(1, 1, post_id="q")], posts)
    assert hours_of_day(rows.posts).tolist() == hours_of_day(shown).tolist() == [3, 5]
    assert rows.authors.tolist() == author_keys(shown).tolist()


def test_what_the_log_does_not_know_whole_is_left_out() -> None:
    deletion = (Record(2, START_MS + 9, b"gone"), Deletion("gone", True))
    posts = [post("p"), post("gone"), post("new", START_MS + 3), deletion]
    log = [event(7, 1), event(8, 2, post_id="gone"), event(9, 5, post_id="new")]
    rows, left_out = replayed(log, posts)
    # The log begins at offset 7: what came before of older posts was removed.
    assert [rows.posts[n].post_id for n in rows.versions] == ["new"]
    assert left_out == {"impressions of posts deleted since, or older than the log": 2}


def test_a_reaction_in_a_burst_takes_its_impression_with_it() -> None:
    users = [f"bot{i}" for i in range(200)]
    shown = [event(i, i, user=user) for i, user in enumerate(users)]
    clicks = [event(200 + i, 200 + i, "click", user=user) for i, user in enumerate(users)]
    rows, left_out = replayed(shown + clicks, [post("p")], burst_reactions=20)
    # A tenth of the impressions explains twenty clicks, and twenty more are free.
    assert (len(rows), int(rows.reacted("click").sum())) == (40, 40)
    assert left_out == {"impressions followed by a reaction in a burst": 160}


def test_an_impression_counts_as_much_as_its_position_is_looked_at() -> None:
    log = [event(0, 0, position=1), event(1, 1, user="v", position=0), event(2, 2, user="w")]
    rows, _ = replayed(log, [post("p")], examination=(1.0, 0.25))
    assert rows.weights.tolist() == [0.25, 1, 1]
    assert rows.impressions.round(3).tolist() == [0, 0.25, 1.25]


class LoggingStep:
    """Steps that log every value, one after the other, over one log."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, log: list[StoredRecord]) -> None:
        self.rows: list[FeatureRow] = []
        self._monkeypatch, self._log = monkeypatch, log
        self._counters: dict[str, StoredRecord] = {}
        self._running = Running(monkeypatch, feature_share=1.0)

    def run(self, posts: list[StoredRecord], first: int, end: int, random: Random) -> None:
        """Take a part of the log, in cycles of any size."""
        while first < end:
            size = min(random.randrange(1, 60), end - first)
            written = self._running.apply(posts, self._log[first : first + size])
            for (topic, key), value in written.items():
                if topic == "counters":
                    self._counters[key] = record_of(key, value)
                elif topic == "features":
                    self.rows.append(decode_row(value or b""))
            posts, first = [], first + size

    def restart(self, cut: int) -> None:
        """Go on as another step that restores its state."""
        self._running = Running(
            self._monkeypatch,
            list(self._counters.values()),
            self._log[:cut],
            start=self._log[cut].offset,
            feature_share=1.0,
        )
        while not self._running.step.ready_for(0, "engagements"):
            self._running.step.poll(KeptWriter())


def test_what_the_step_logged_is_counted_again_to_the_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = draw_log(Random(5), 2_000)
    log = [record(one.post_id, one, offset=at.offset, timestamp=at.timestamp) for at, one in drawn]
    posts = [post(f"p{i}", drawn[0][0].timestamp, i) for i in range(5)]
    step = LoggingStep(monkeypatch, log)
    stored = [
        record(one.post_id, one, offset=at.offset, timestamp=at.timestamp)
        for at, one in posts
        if isinstance(one, Post)
    ]
    step.run(stored, 0, 1_200, Random(6))
    step.restart(1_200)
    step.run([], 1_200, 2_000, Random(7))
    assert len(step.rows) > 200
    assert any(not row.clicks.is_integer() for row in step.rows)
    replay = EngagementReplay(Environment(user_window=1_000), WAIT_MS)
    replay.add_posts(posts)
    replay.add_logged(step.rows)
    replay.count(drawn)
    replay.impressions(10**15)
    assert (replay.compared, replay.differing) == (len(step.rows), [])


def test_a_logged_value_that_is_another_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    log = [event(0, 0, user="a"), event(1, 1, user="b"), event(2, 2, "click", user="b")]
    stored = [record(one.post_id, one, offset=at.offset, timestamp=at.timestamp) for at, one in log]
    step = LoggingStep(monkeypatch, stored)
    ((at, first),) = [post("p")]
    step.run([record("p", first, offset=at.offset, timestamp=at.timestamp)], 0, 3, Random(6))
    (row,) = step.rows
    for changed in (
        replace(row, impressions=np.nextafter(row.impressions, 9.0)),
        replace(row, counters=replace(row.counters, dwell_ms=1)),
    ):
        replay = EngagementReplay(Environment(), WAIT_MS)
        replay.add_posts([post("p")])
        replay.add_logged([row, changed])
        replay.count(log)
        assert (replay.compared, replay.differing) == (2, ["p"])

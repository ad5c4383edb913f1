"""Feed tables; without Redis, unlike `test_feed`."""

import json

import pytest
from rich.console import Console

from builders.golden import Golden
from feedmill.cli.feed import (
    FeedRow,
    FeedTable,
    RankChanges,
    live_feed_table,
    plain_feed_table,
)
from feedmill.operations.times import age_text
from feedmill.streams.redis.reader import STARTING_MS, FeedSnapshot, PostSnapshot

NOW_MS = 1_790_000_000_000
INFO = {
    "version": "1",
    "weights": '{"quality": 1, "engagement": 1, "scale": {"quality": 1, "engagement": 1},'
    ' "costs": {"report": 20},'
    ' "half_life_hours": null, "max_per_author": null, "explore": 0}',
    "gates": "{}",
}


def feed_table(owned_ms: int, fresh_until_ms: int) -> FeedTable:
    """A feed that its owner took over, and that is fresh until then; both from now."""
    times = {"owner": str(NOW_MS + owned_ms), "fresh_until_ms": str(NOW_MS + fresh_until_ms)}
    return FeedTable(FeedSnapshot("global", (), {**INFO, **times}), (), NOW_MS)


@pytest.mark.parametrize(
    ("owned_ms", "fresh_until_ms", "freshness"),
    [
        # The first write of all, before every stage has reported.
        (-3000, -2990, "starting for 3 s: not every stage has reported yet"),
        # Started again over the feed of yesterday.
        (-3000, -86_400_000, "starting for 3 s: not every stage has reported yet"),
        (-3000, 14_000, "fresh for 14 s"),
        # Fresh under the owner before, not yet under this one.
        (-14_000, -4000, "starting for 14 s: not every stage has reported yet"),
        # Called fresh when taken over, and never after.
        (-23_000, -8000, "STALE for 8 s: a stage is down or behind"),
        (-86_400_000, -8000, "STALE for 8 s: a stage is down or behind"),
        # A stage that never comes up.
        (-STARTING_MS - 1000, -STARTING_MS - 1000, "STALE for 61 s: a stage is down or behind"),
        # A token from a clock that was wrong.
        (86_400_000, -8000, "STALE for 8 s: a stage is down or behind"),
    ],
)
def test_starting_and_stale_are_distinguished(
    owned_ms: int, fresh_until_ms: int, freshness: str
) -> None:
    table = feed_table(owned_ms, fresh_until_ms)
    assert table.freshness == freshness
    assert plain_feed_table(table).splitlines()[1].endswith(freshness)
    assert freshness in shown(table, 100)
    assert table.content["fresh"] is freshness.startswith("fresh")
    assert table.content["state"] == freshness.split(maxsplit=1)[0].lower()


def test_a_feed_without_a_token_is_stale() -> None:
    assert FeedTable(FeedSnapshot("global", (), INFO), (), NOW_MS).state == "stale"


# --- rows -----------------------------------------------------------------------------------


def post(post_id: str, decision: str = "show", **values: float | None) -> PostSnapshot:
    """A post of 90 seconds ago with these signals."""
    signals = {name: f"{'null' if value is None else value} v1 5" for name, value in values.items()}
    fields = {"author_id": "ann", "post": f"7 {NOW_MS - 90_000} 0", "decision": decision}
    return PostSnapshot(post_id, {**fields, **signals})


def ranked(*posts: PostSnapshot) -> FeedTable:
    """A fresh feed of these posts, with one gate."""
    info = {**INFO, "gates": '{"spam": {}}', "config_offset": "3", "size": "42"}
    info["fresh_until_ms"] = str(NOW_MS + 14_000)
    rows = [FeedRow(rank, 100.0 - rank, post) for rank, post in enumerate(posts, 1)]
    ranking = tuple((row.post.post_id, row.score) for row in rows)
    return FeedTable(FeedSnapshot("global", ranking, info), tuple(rows), NOW_MS)


GOOD = post("p1", quality=0.25, engagement=0.5, report=0.0625, spam=0.125)
DEMOTED = post("p2", "demote", quality=None, spam=0.7)
UNKNOWN = PostSnapshot("p3", {})


LONG = post("at://did:plc:abcdefghijklmnop/app.bsky.feed.post/3kxyz")


def test_pipe_terminal_and_json_have_all_of_each_post(golden: Golden) -> None:
    # Names from outside are no markup.
    table = ranked(GOOD, DEMOTED, UNKNOWN, post("[red]p4[/]", "[bold]"), LONG, post("x" * 28))
    said = json.dumps(table.content, ensure_ascii=False, indent=1)
    terminal = shown(table, 160)
    golden.check("feed_table.txt", f"{plain_feed_table(table)}\n\n\n{terminal}\n\n{said}\n")


def shown(table: FeedTable, width: int) -> str:
    console = Console(width=width, force_terminal=False)
    with console.capture() as capture:
        console.print(live_feed_table(table, {"p1": 2, "p2": -1, "p3": None}, width))
    lines = [line.rstrip() for line in capture.get().splitlines()]
    assert max(map(len, lines)) <= width
    return "\n".join(lines)


def test_an_id_that_is_wider_than_the_terminal_goes_on_below() -> None:
    assert "".join(shown(ranked(post("x" * 99)), 40).split()).count("x") == 99
    heading = shown(ranked(), 60).splitlines()[1]
    assert heading.split() == ["rank", "age", "post", "author", "quality", "engagement", "score"]


# --- rank changes ---------------------------------------------------------------------------


def ranks(changes: RankChanges, order: str, now_s: float) -> dict[str, int | None]:
    return changes.update(ranked(*(post(name) for name in order)), now_s)


def test_changes_are_against_the_table_of_some_seconds_ago() -> None:
    changes = RankChanges(over_s=3.0)
    assert ranks(changes, "abc", 0.0) == {"a": 0, "b": 0, "c": 0}
    assert ranks(changes, "bacd", 1.0) == {"b": 1, "a": -1, "c": 0, "d": None}
    assert ranks(changes, "bacd", 2.9) == {"b": 1, "a": -1, "c": 0, "d": None}
    assert ranks(changes, "bacd", 4.0) == {"b": 0, "a": 0, "c": 0, "d": 0}


def test_a_post_that_left_and_returned_is_new() -> None:
    changes = RankChanges(over_s=3.0)
    ranks(changes, "ab", 0.0)
    ranks(changes, "b", 10.0)
    assert ranks(changes, "ab", 20.0) == {"a": None, "b": -1}


@pytest.mark.parametrize(
    ("age_ms", "text"),
    [
        (-5, "0 s"),
        (999, "0 s"),
        (59_999, "59 s"),
        (60_000, "1 m"),
        (3_599_999, "59 m"),
        (3_600_000, "1 h"),
        (86_399_999, "23 h"),
        (86_400_000, "1 d"),
    ],
)
def test_an_age_is_in_its_largest_unit(age_ms: int, text: str) -> None:
    assert age_text(age_ms) == text

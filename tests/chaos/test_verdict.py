"""The judge counts each thing that is wrong, once, in its own column."""

import dataclasses
import json

from builders.contract_score import ranking
from chaos.verdict import Entries, Expected, Found, Json, LivePost, Verdict, judge

WEIGHTS = {"scale": {"quality": 1.0}, "quality": 1.0, "half_life_hours": 24, "max_per_author": None}
GATE = {"enabled": True, "shadow": False, "hide_at": 0.9, "demote_at": 0.6, "demote_factor": 0.5}
INFO = {"weights": json.dumps(WEIGHTS), "gates": json.dumps({"spam": GATE})}
BAD = ("posts", 0, 7)


def live(number: int, *, is_hidden: bool = False) -> LivePost:
    feeds = frozenset({"global"})
    return LivePost(f"p{number}", number, "ann", 1_700_000_000_000, feeds, is_hidden)


EXPECTED = Expected(
    posts={f"p{n}": live(n) for n in range(3)},
    counts={f"p{n}": [3, 1] for n in range(3)},
    bad_records=frozenset({BAD}),
)


def signals_of(expected: Expected) -> dict[str, dict[str, Json]]:
    return {
        name: {
            post_id: {"value": (post.offset + 1) * step, "post_offset": post.offset}
            for post_id, post in expected.posts.items()
        }
        for name, step in (("spam", 0.1), ("quality", 0.25))
    }


def right(expected: Expected = EXPECTED) -> Found:
    """What an engine shows that did everything right."""
    signals = signals_of(expected)
    truths = {
        post_id: {
            "post_offset": post.offset,
            "author_id": post.author_id,
            "created_ms": post.created_ms,
            **({"override": {"verdict": "hide"}} if post.is_hidden else {}),
            **{name: last[post_id] for name, last in signals.items()},
        }
        for post_id, post in expected.posts.items()
    }
    return Found(
        truths=truths,
        feeds={"global": (ranking(truths, INFO), INFO)},
        signals=signals,
        counts=dict(expected.counts),
        dead_letters=[BAD],
    )


def counted(verdict: Verdict) -> tuple[int, int, int]:
    return verdict.lost, verdict.double, verdict.wrong_order


def with_feed(entries: Entries) -> Found:
    return dataclasses.replace(right(), feeds={"global": (entries, INFO)})


def test_nothing_is_wrong_with_what_is_right() -> None:
    assert counted(judge(EXPECTED, right())) == (0, 0, 0)
    hidden = dataclasses.replace(EXPECTED, posts={"p0": live(0), "p1": live(1, is_hidden=True)})
    assert counted(judge(hidden, right(hidden))) == (0, 0, 0)
    assert [post for post, _ in right(hidden).feeds["global"][0]] == ["p0"]


def test_a_post_that_redis_lacks_is_lost_with_its_signals() -> None:
    truths = {p: t for p, t in right().truths.items() if p != "p1"}
    assert counted(judge(EXPECTED, dataclasses.replace(right(), truths=truths))) == (3, 0, 0)


def test_a_signal_of_an_old_version_is_lost() -> None:
    found = right()
    found.signals["spam"]["p2"] = {"value": 0.3, "post_offset": 1}
    assert judge(EXPECTED, found).lost == 1


def test_a_rate_is_lost_where_it_was_counted_or_redis_has_one() -> None:
    reported = {**EXPECTED.counts, "p1": [3, 1, 0, 0, 0, 0, 0, 1]}
    expected = dataclasses.replace(EXPECTED, counts=reported)
    found = dataclasses.replace(right(), signals={**signals_of(EXPECTED), "report": {}})
    assert judge(EXPECTED, found).lost == 0
    found = dataclasses.replace(found, counts=reported)
    assert judge(expected, found).lost == 1
    found.truths["p2"]["report"] = {"value": 0.7, "post_offset": 2}
    assert judge(expected, found).lost == 2


def test_a_signal_that_redis_has_otherwise_than_the_topic_is_lost() -> None:
    found = right()
    found.truths["p2"]["quality"] = {"value": 0.7, "post_offset": 2}
    assert counted(judge(EXPECTED, found)) == (1, 0, 0)


def test_counts_below_are_lost_and_counts_above_are_double() -> None:
    counts = {"p0": [1, 1], "p1": [3, 5]}
    assert counted(judge(EXPECTED, dataclasses.replace(right(), counts=counts))) == (6, 4, 0)


def test_what_is_left_of_a_deleted_post_is_double() -> None:
    fewer = dataclasses.replace(EXPECTED, posts={p: EXPECTED.posts[p] for p in ("p0", "p1")})
    found = dataclasses.replace(right(), feeds={})
    assert counted(judge(fewer, found)) == (0, 3, 0)


def test_dead_letters_are_wanted_exactly_once() -> None:
    twice = [BAD, BAD, ("posts", 0, 9)]
    assert counted(judge(EXPECTED, dataclasses.replace(right(), dead_letters=twice))) == (0, 2, 0)
    assert counted(judge(EXPECTED, dataclasses.replace(right(), dead_letters=[]))) == (1, 0, 0)


def test_each_wrong_place_of_a_feed_counts() -> None:
    (first, second, third), _ = right().feeds["global"]
    assert judge(EXPECTED, with_feed([second, first, third])).wrong_order == 2
    assert judge(EXPECTED, with_feed([first, second])).wrong_order == 1
    assert judge(EXPECTED, with_feed([first, second, (third[0], third[1] + 1e-8)])).wrong_order == 1
    assert judge(EXPECTED, with_feed([first, second, (third[0], third[1] + 1e-10)])).is_clean


def test_a_feed_that_is_not_there_lacks_all_its_posts() -> None:
    entries, _ = right().feeds["global"]
    found = dataclasses.replace(right(), feeds={"global": ([], {})})
    assert judge(EXPECTED, found).wrong_order == 3
    post = dataclasses.replace(live(1), feeds=frozenset({"global", "lang:en"}))
    more = dataclasses.replace(EXPECTED, posts={**EXPECTED.posts, "p1": post})
    feeds: dict[str, tuple[Entries, dict[str, str]]] = {"global": (entries, INFO)}
    found = dataclasses.replace(right(), feeds={**feeds, "lang:en": ([], {})})
    assert judge(more, found).wrong_order == 1

"""The flagged share per source: a fold that can be begun anew, and values that hide nowhere."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from msgspec import Struct
from msgspec.structs import replace

from builders.events import post, settings_of
from feedmill.events.settings import Settings
from feedmill.filters.hide_rate_guard import (
    LEAST_AUTHORS,
    LEAST_POSTS,
    WINDOW_BYTES,
    WINDOW_MS,
    WINDOW_RECORDS,
    HideRates,
    JudgedPosts,
    OverLimit,
    SourceBatch,
    hide_limit,
    sources_of,
)

HOME, AWAY = "community:home", "community:away"


class ScoredPost(Struct, frozen=True):
    """One post of `JudgedPosts`."""

    offset: int
    at_ms: int
    sources: tuple[str, ...]
    value: float
    size: int = 300


def columns(posts: Sequence[ScoredPost]) -> JudgedPosts:
    return JudgedPosts(
        [one.offset for one in posts],
        [one.at_ms for one in posts],
        [one.size for one in posts],
        [one.value for one in posts],
        SourceBatch([one.sources for one in posts]),
        range(len(posts)),
    )


def over(posts: Sequence[ScoredPost], shares: HideRates) -> list[OverLimit]:
    """Which flagged posts are over the limit."""
    found = shares.fold(columns(posts))
    return [one for one in found if posts[one.row].value >= 0.9]


def judged(count: int, flagged: float, source: str = AWAY, first: int = 0) -> list[ScoredPost]:
    """Every n-th post is flagged."""
    every = round(1 / flagged) if flagged else count + 1
    return [
        ScoredPost(
            first + i,
            1000 * (first + i),
            (f"author:{i % 31}", source, "lang:en"),
            0.95 if flagged and i % every == 0 else 0.1,
        )
        for i in range(count)
    ]


def found(posts: list[ScoredPost], shares: HideRates | None = None) -> list[int]:
    return [one.row for one in over(posts, shares or HideRates(0.9, 0.10))]


def test_sources_are_communities_language_author_and_domains() -> None:
    of_all = post(
        text="see www.news.b.co.uk",
        lang="en",
        communities=("c", "d"),
        links=("http://a.example/x", "http://cdn.a.example/x"),
        author_id="page-7",
    )
    assert sources_of(of_all) == (
        "author:page-7",
        "community:c",
        "community:d",
        "lang:en",
        "host:a.example",
        "host:b.co.uk",
    )


def test_a_share_below_the_cap_is_left_alone() -> None:
    assert found(judged(1000, 0.05)) == []


def test_above_the_cap_only_what_would_hide_is_capped_once_there_are_enough() -> None:
    posts = judged(1000, 0.25)
    assert found(posts) == [i for i in range(LEAST_POSTS, 1000) if i % 4 == 0]


def test_one_source_over_the_cap_is_enough_and_the_others_stay_free() -> None:
    shares = HideRates(0.9, 0.10)
    both = [
        p for pair in zip(judged(600, 0.02, HOME), judged(600, 0.12), strict=True) for p in pair
    ]
    both = [replace(p, offset=i, sources=p.sources[:2]) for i, p in enumerate(both)]
    assert {both[i].sources[1] for i in found(both, shares)} == {AWAY}
    assert shares.is_over(AWAY)
    assert not shares.is_over(HOME)


def test_it_says_the_same_when_begun_a_window_earlier() -> None:
    drawn, posts = random.Random(2), []
    for i in range(12_000):
        source, value = drawn.choice((HOME, AWAY)), drawn.random()
        posts.append(
            ScoredPost(
                i,
                i * drawn.choice((200, 201)),
                (f"author:{drawn.randrange(40)}", source),
                value**3 if source == HOME else value,
            )
        )
    posts = [replace(p, at_ms=200 * p.offset) for p in posts]
    whole, middle = found(posts), 9000
    shares = HideRates(0.9, 0.10)
    found(posts[middle - WINDOW_RECORDS : middle], shares)
    assert [middle + i for i in found(posts[middle:], shares)] == [i for i in whole if i >= middle]


def test_one_timestamp_in_the_future_latches_nothing() -> None:
    shares = HideRates(0.9, 0.10)
    ahead = judged(1, 0.0)[0]
    over(judged(100, 0.0), shares)
    over([replace(ahead, offset=100, at_ms=10 * WINDOW_MS)], shares)
    over(judged(300, 0.2, first=101), shares)
    # All of these leave after an hour, as if that timestamp had not been.
    late = [replace(one, at_ms=one.at_ms + 2 * WINDOW_MS) for one in judged(1, 0.0, first=401)]
    over(late, shares)
    assert shares.rate(AWAY) == 0.0


def test_rates_are_those_of_counting_the_window_anew() -> None:
    drawn, shares, window, flagged_at = random.Random(3), HideRates(0.5, 0.10), [], 0.5
    offset = at_ms = 0
    for i in range(12_000):
        offset, at_ms = offset + drawn.choice((1, 1, 3)), at_ms + drawn.choice((10, 600))
        names = [f"author:{drawn.randrange(i // 10, i // 10 + 40)}", "lang:en"]
        names += [f"host:{n}" for n in drawn.sample(range(20), drawn.choice((0, 1, 2, 3, 8)))]
        size = drawn.choice((300, 300, 3_000, 20_000 * (i > 8_000)))
        window.append(ScoredPost(offset, at_ms, tuple(names), drawn.random(), size))
        shares.fold(columns(window[-1:]))
        if i % 1000:
            continue
        if i % 3000 == 0:
            flagged_at = drawn.random()
            shares.set_flagged_at(flagged_at)
        oldest_ms, oldest = at_ms - WINDOW_MS, offset - WINDOW_RECORDS
        window = [p for p in window if p.at_ms > oldest_ms and p.offset > oldest]
        while sum(p.size for p in window[1:]) >= WINDOW_BYTES:
            window.pop(0)
        for name in {*(source for p in window for source in p.sources), "author:0"}:
            values = [p.value for p in window if name in p.sources]
            flagged = sum(value >= flagged_at for value in values)
            assert shares.rate(name) == flagged / max(len(values), 1)


def test_an_author_over_the_limit_is_reported_and_spares_nothing() -> None:
    shares = HideRates(0.9, 0.10)
    mine = [
        ScoredPost(i, 1000 * i, ("author:bot", "community:bots", "lang:xx", "host:bot.example"), 1)
        for i in range(400)
    ]
    found = over(mine, shares)
    assert [one.row for one in found] == [*range(LEAST_POSTS, 400)]
    assert {one.source for one in found} == {"author:bot"}
    assert not any(one.is_spared for one in found)
    assert shares.is_over("author:bot")
    assert not shares.is_over("community:bots")


@pytest.mark.parametrize("authors", [LEAST_AUTHORS - 1, LEAST_AUTHORS])
def test_a_community_is_spared_while_its_flagged_posts_are_of_twenty_authors(authors: int) -> None:
    shares = HideRates(0.9, 0.10)
    posts = [
        ScoredPost(i, 1000 * i, (f"author:{i % authors}", AWAY), 0.95) for i in range(LEAST_POSTS)
    ]
    # Of many more authors are posts that are not flagged.
    posts += [ScoredPost(200 + i, 200_000 + i, (f"author:{i}", AWAY), 0.1) for i in range(40, 99)]
    last = ScoredPost(1_000, 300_000, ("author:0", AWAY), 0.95)
    over(posts, shares)
    assert [one.source for one in over([last], shares)] == ([AWAY] if authors == 20 else [])
    # An hour later they are gone, and so are their authors.
    late = [ScoredPost(2_000, 300_000 + WINDOW_MS, ("author:0", AWAY), 0.95)]
    assert over(late, shares) == []
    assert shares.rate(AWAY) == 1.0


@pytest.mark.parametrize("most", [40, 700])
def test_many_posts_at_once_are_folded_as_one_by_one(most: int) -> None:
    """Sources come over the limit and leave it; posts come in gaps of offsets and of time."""
    drawn = random.Random(most)
    at_once, one_by_one = HideRates(0.9, 0.10), HideRates(0.9, 0.10)
    offset = at_ms = capped = quiet = 0
    for _ in range(40_000 // most):
        risky, batch = drawn.choice((0.0, 0.02, 0.2)), []
        for _ in range(drawn.randrange(1, most)):
            offset += drawn.choice((1, 1, 1, 4))
            at_ms += drawn.choice((-5, 20, 900))
            names = [f"author:{drawn.randrange(drawn.choice((15, 300)))}", "lang:en"]
            names += [f"community:{n}" for n in drawn.sample(range(12), drawn.choice((1, 2, 6)))]
            flagged = drawn.random() < (risky if "community:3" in names else 0.04)
            size = drawn.choice((300, 300, 300, 9_000))
            batch.append(ScoredPost(offset, at_ms, tuple(names), 0.95 if flagged else 0.1, size))
        if drawn.random() < 0.02:
            offset, at_ms = offset + 4000, at_ms + WINDOW_MS // 2
        expected = [
            found._replace(row=row)
            for row, one in enumerate(batch)
            for found in one_by_one.fold(columns([one]))
        ]
        assert at_once.fold(columns(batch)) == expected
        capped += len(expected)
        quiet += not expected
    assert capped > 200
    assert quiet > 10
    for name in ("lang:en", *(f"community:{n}" for n in range(12))):
        assert at_once.rate(name) == one_by_one.rate(name) > 0


def told(**settings: object) -> Settings:
    return settings_of(
        *((key.replace("__", "/"), {"spam": value}) for key, value in settings.items())
    )


@pytest.mark.parametrize("hide_at", [0.9, 0.5, 0.7, 1.0, 0.6000000001, 0.8999999762])
def test_what_is_lowered_hides_nowhere_and_demotes(hide_at: float) -> None:
    at = hide_limit(told(gates={"hide_at": hide_at, "demote_at": 0.4}), "spam")
    assert at is not None
    assert at.hide_at == hide_at
    assert float(np.float32(at.lowered)) == at.lowered
    assert 0.4 <= at.lowered < hide_at
    assert float(np.nextafter(np.float32(at.lowered), np.float32(2))) >= hide_at


def test_the_least_threshold_of_all_feeds_counts_but_demoting_goes_before() -> None:
    at = hide_limit(told(gates__mine={"hide_at": 0.7}), "spam")
    assert at is not None
    assert at.hide_at == 0.7
    assert 0.6 <= at.lowered < 0.7
    low = hide_limit(told(gates__mine={"hide_at": 0.3}), "spam")
    assert low is not None
    assert 0.6 <= low.lowered < 0.9
    assert hide_limit(told(gates={"hide_at": None}), "spam") is None

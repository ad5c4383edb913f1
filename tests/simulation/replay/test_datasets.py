"""Data sets as sources of events.  All rows here are made up."""

import csv
import gzip
import itertools
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from builders.simulated import REACTIONS, decoded
from feedmill.events.errors import UsageError
from feedmill.events.post import Post
from feedmill.simulation.replay.datasets import CAP, SPREAD_S, open_dataset, scale_to_mean
from feedmill.simulation.schedule import EventSource


def write_reddit(folder: Path, rows: int) -> None:
    draw = np.random.default_rng(7)
    header = ["id", "subreddit", "created_utc", "title", "selftext", "domain", "is_self"]
    header += ["over_18", "score", "ups", "downs", "num_comments", "subscribers"]
    with gzip.open(folder / "engagement_reddit_top.csv.gz", "wt", newline="") as handle:
        out = csv.writer(handle)
        out.writerow(header)
        for n in range(rows):
            own = n % 3 == 0
            ups = int(draw.pareto(1.2) * 100)
            out.writerow(
                (
                    f"id{n}",
                    f"sub{n * 6 // rows}",
                    "1.0",
                    f"Title {n}",
                    "Body\n" * own,
                    "",
                    own,
                    False,
                    ups,
                    ups,
                    0,
                    ups // 10,
                    5,
                )
            )


def write_bluesky(folder: Path, rows: int) -> None:
    header = ["uri", "author", "createdAt", "indexedAt", "text"]
    header += ["replyCount", "repostCount", "likeCount", "quoteCount"]
    with gzip.open(folder / "engagement_bluesky_a.csv.gz", "wt", newline="") as handle:
        out = csv.writer(handle)
        out.writerow(header)
        for n in range(rows):
            uri = f"at://did{n % 9}/app.bsky.feed.post/key{n}"
            text = f"See https://site{n}.example/a, " + "x" * (30_000 if n == 5 else 5)
            out.writerow([uri, f"a{n % 9}", "", "", text, n % 3, n % 2, n % 50, 0])


def dataset(name: str, folder: Path, seed: int = 0, **given: Any) -> EventSource:
    settings: dict[str, Any] = {"posts": 500, "rate": 100.0, "run": "r"}
    settings |= {"reactions": 5.0, "impressions": 5.0, **given}
    rng = np.random.default_rng(seed)
    return open_dataset(name, folder, rng=rng, **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_reddit(folder, 1200)
    write_bluesky(folder, 600)
    return folder


@pytest.mark.parametrize("name", ["reddit", "bluesky"])
def test_a_data_set_brings_its_posts_and_five_reactions_each(name: str, folder: Path) -> None:
    source = dataset(name, folder)
    posts: dict[str, float] = {}
    kinds: Counter[str] = Counter()
    by_post: defaultdict[str, Counter[str]] = defaultdict(Counter)
    ids, last = set(), 0.0
    for last, event in decoded(source.events):
        if isinstance(event, Post):
            posts[event.post_id] = last
            continue
        ids.add(event.event_id)
        kinds[event.kind] += 1
        by_post[event.post_id][event.kind] += 1
        assert posts[event.post_id] <= last <= posts[event.post_id] + SPREAD_S + 4.1
    assert source.posts == len(posts) == 500
    assert len(ids) == kinds.total()
    reactions = sum(kinds[kind] for kind in REACTIONS)
    assert reactions / 500 == pytest.approx(5.0, abs=0.2)
    for counts in by_post.values():
        assert counts["impression"] >= counts["click"] == sum(counts[k] for k in REACTIONS)
    most = max(sum(counts[k] for k in REACTIONS) for counts in by_post.values())
    assert 8 <= most <= CAP * 5
    assert last > 4.99


def test_a_data_set_is_the_same_for_a_seed_and_mixed_across_the_file(folder: Path) -> None:
    first, again = (list(dataset("reddit", folder).events) for _ in range(2))
    assert first == again
    assert first != list(dataset("reddit", folder, seed=1).events)
    early = [e.event for e in first if e is not None and isinstance(e.event, Post)][:60]
    assert len({post.communities for post in early}) == 6


def test_a_reddit_post_is_made_of_its_row(folder: Path) -> None:
    events = [t.event for t in dataset("reddit", folder, posts=0).events if t is not None]
    posts = {event.post_id: event for event in events if isinstance(event, Post)}
    assert len(posts) == 1200
    post = posts["id3-r"]
    assert (post.text, post.lang, post.communities) == ("Title 3\n\nBody\n", "en", ("sub0",))
    assert post.links is None
    other = {t.event for t in dataset("reddit", folder, run="s").events if t is not None}
    authors = {e.post_id.removesuffix("-s"): e.author_id for e in other if isinstance(e, Post)}
    assert all(posts[f"{post_id}-r"].author_id == author for post_id, author in authors.items())


def test_a_bluesky_post_is_made_of_its_row(folder: Path) -> None:
    events = [t.event for t in dataset("bluesky", folder, posts=0).events if t is not None]
    posts = {event.post_id: event for event in events if isinstance(event, Post)}
    assert posts["did2.key2-r"].author_id == "a2"
    assert posts["did2.key2-r"].links == ("https://site2.example/a,",)
    assert len(posts["did5.key5-r"].text) == 20_000


def test_a_loop_goes_on_with_new_ids(folder: Path) -> None:
    source = dataset("bluesky", folder, posts=50, loop=True)
    posts = (e.event for e in source.events if e is not None and isinstance(e.event, Post))
    ids = [post.post_id for post in itertools.islice(posts, 160)]
    assert source.posts is None
    assert len(set(ids)) == 160


def test_a_missing_or_strange_data_set_names_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--data or FEEDMILL_DATA.*replay demo"):
        dataset("reddit", tmp_path)
    path = tmp_path / "engagement_reddit_top.csv.gz"
    path.write_bytes(b"no gzip")
    with pytest.raises(UsageError, match="cannot read"):
        dataset("reddit", tmp_path)
    path.write_bytes(gzip.compress(b"a,b\n1,2\n"))
    with pytest.raises(UsageError, match="not the file that this preset expects"):
        dataset("reddit", tmp_path)


def test_reactions_follow_the_known_ones() -> None:
    known = np.array([0.0, 10.0, 20.0, 1e9])
    factor = scale_to_mean(known, 5.0)
    expected = np.minimum(CAP * 5, factor * known)
    assert expected.mean() == pytest.approx(5.0)
    assert expected[2] == pytest.approx(2 * expected[1])
    assert scale_to_mean(np.zeros(3), 5.0) == 0.0
    assert scale_to_mean(known, 0.0) == 0.0

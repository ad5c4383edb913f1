"""What the demo sends, and how the spam filter's campaign code judges it."""

import itertools
import tracemalloc
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from builders.simulated import REACTIONS, decoded
from feedmill.events.engagement import Engagement
from feedmill.events.gates import GatePolicy
from feedmill.events.post import Post
from feedmill.features.near_copies import PostHistory, PostRecord
from feedmill.features.post_batch import PostBatch
from feedmill.filters.hide_rate_guard import HideRates, JudgedPosts, sources_of_all
from feedmill.filters.raised_values import campaign_probabilities
from feedmill.filters.registry import FILTERS
from feedmill.simulation.audience import RECENT
from feedmill.simulation.demo import DEFAULT_RATE, POST_FRACTIONS, DemoPosts, open_demo
from feedmill.simulation.post_writer import COMMUNITIES
from feedmill.simulation.schedule import EventSource
from feedmill.streams.environment import Environment

POSTS = 5000
GATE = GatePolicy()


def demo(
    seed: int = 0, *, posts: int = 0, rate: float = 5.0, audience: float = 100.0
) -> EventSource:
    rng = np.random.default_rng(seed)
    return open_demo(posts=posts, rate=rate, audience=audience, run="r", rng=rng)


def probabilities(posts: Sequence[Post]) -> npt.NDArray[np.float64]:
    """That each is part of a campaign, the posts coming at the preset's default rate."""
    versions = [
        PostRecord(round(number * 1000 / DEFAULT_RATE), post.post_id, post.author_id, post.text)
        for number, post in enumerate(posts)
    ]
    return campaign_probabilities(PostHistory().fold(versions))


@pytest.mark.parametrize("seed", [1, 2])
def test_ordinary_posts_are_no_campaign(seed: int) -> None:
    demo = DemoPosts("r", np.random.default_rng(seed))
    posts, truths = zip(*(demo.post(number) for number in range(POSTS)), strict=True)
    values = probabilities(posts)[[truth.kind == "ordinary" for truth in truths]]
    assert len(values) > 3500
    assert np.count_nonzero(values >= (GATE.hide_at or 0)) == 0
    assert np.count_nonzero(values >= (GATE.demote_at or 0)) < 0.003 * len(values)


@pytest.mark.parametrize("seed", [2, 8, 11])
@pytest.mark.parametrize("name", ["spam", "nsfw"])
def test_no_source_has_more_hidden_by_the_shipped_filters_than_the_guard_allows(
    name: str, seed: int
) -> None:
    demo = DemoPosts("r", np.random.default_rng(seed))
    posts = [demo.post(number)[0] for number in range(POSTS)]
    values = FILTERS[name].load().score_many(posts).tolist()
    ones, numbers = [1] * POSTS, range(POSTS)
    scored = JudgedPosts(numbers, ones, ones, values, sources_of_all(PostBatch(posts)), numbers)
    rates = HideRates(GATE.hide_at or 0, Environment.flagged_cap)
    # Post by post, as a slow demo sends them.
    for at in range(0, POSTS, 20):
        few = slice(at, at + 20)
        assert (
            rates.fold(
                scored._replace(
                    **{
                        part: getattr(scored, part)[few]
                        for part in ("offsets", "at_ms", "sizes", "values", "rows")
                    }
                )
            )
            == []
        )
    assert max(rates.rate(f"community:{name}") for name in COMMUNITIES) > 0.02


def test_a_campaign_among_them_is_found() -> None:
    demo = DemoPosts("r", np.random.default_rng(3))
    posts = [demo.post(number)[0] for number in range(1000)]
    long = max(posts, key=lambda post: len(post.text))
    places = range(500, 740, 20)
    for i in places:
        posts[i] = Post(f"copy-{i}", f"copier-{i}", 0, f"{long.text} {i}", lang="en")
    values = probabilities(posts)[list(places)]
    assert (values[9:] >= (GATE.hide_at or 0)).all()


def test_the_demo_is_valid_steady_and_the_same_for_a_seed() -> None:
    events = list(decoded(itertools.islice(demo().events, 12_000)))
    assert events == list(decoded(itertools.islice(demo().events, 12_000)))
    assert events != list(decoded(itertools.islice(demo(1).events, 12_000)))
    kinds = Counter("post" if isinstance(e, Post) else e.kind for _, e in events)
    seconds = events[-1][0]
    assert kinds["post"] / seconds == pytest.approx(5.0, rel=0.02)
    assert (kinds.total() - kinds["post"]) / seconds == pytest.approx(100.0, rel=0.1)
    assert set(kinds) == {"post", "impression", "click", "dwell", "hide", "report", *REACTIONS}
    assert kinds["impression"] > kinds["click"] >= kinds["dwell"] > kinds["like"] > 0
    ids = [e.event_id for _, e in events if isinstance(e, Engagement)]
    assert len(set(ids)) == len(ids)


def test_the_demo_has_the_shares_it_states_and_writes_varied_posts() -> None:
    maker = DemoPosts("r", np.random.default_rng(3))
    made = [maker.post(n) for n in range(3000)]
    kinds = Counter(truth.kind for _, truth in made)
    for kind, share in POST_FRACTIONS.items():
        assert kinds[kind] / 3000 == pytest.approx(share, abs=0.015)
    ordinary = [post.text for post, truth in made if truth.kind == "ordinary"]
    assert len(set(ordinary)) > 0.9 * len(ordinary)
    assert {post.lang for post, _ in made} == {"en", "de"}
    assert len({post.communities for post, _ in made}) == 6
    assert 180 <= len({post.author_id for post, _ in made}) <= 200
    assert not any("{" in post.text or "}" in post.text for post, _ in made)
    better = [t.quality > 0.62 for _, t in made if t.kind == "ordinary"]
    lengths = np.array([len(text) for text in ordinary])
    assert lengths[better].mean() > 2 * lengths[np.logical_not(better)].mean()


def test_the_demo_runs_for_ever_in_constant_memory() -> None:
    events = demo(rate=20.0, audience=200.0).events
    tracemalloc.start()
    try:
        sizes = []
        for _ in range(4):
            for _ in itertools.islice(events, 14_000):
                pass
            sizes.append(tracemalloc.get_traced_memory()[0])
    finally:
        tracemalloc.stop()
    # The schedule of pending clicks is full after its longest delay, 60 simulated seconds.
    assert sizes[3] < 1.25 * sizes[2]
    assert RECENT < 1000


def test_the_demo_ends_after_its_posts() -> None:
    events = [t for t in demo(posts=40, rate=0.0).events if t is not None]
    assert sum(t.topic == "posts" for t in events) == 40
    assert {t.due_s for t in events} == {0.0}

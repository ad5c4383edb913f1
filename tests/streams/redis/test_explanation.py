"""`explain` reads from Redis what the combiner decided: both must come to the same."""

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmill.events.feeds import FeedMatch, FeedSpec
from feedmill.events.gates import GatePolicy
from feedmill.events.override import Override, OverrideKey
from feedmill.events.post import Post
from feedmill.events.signal import RULE_MODEL, Signal, SignalNames
from feedmill.events.weights import Weights
from feedmill.rankers.combiner.gate_decisions import decide_row
from feedmill.rankers.combiner.signal_hash import EVERYTHING, fields_of
from feedmill.rankers.combiner.view import PostView
from feedmill.rankers.score import LEAST_SUM, score_of
from feedmill.streams.redis.explanation import FeedEntry, explain, why_absent
from feedmill.streams.redis.reader import FeedSnapshot, PostSnapshot

NAMES = SignalNames.parse("grumble:cost")
NOW_MS = 1_700_000_100_000
ARRIVED_MS = NOW_MS - 1000
HOUR_MS = 3_600_000
TEN = tuple((f"p{rank}", 100.0 - rank) for rank in range(10))

# The graces end before, at and after the time at which the post is explained.
GATES = st.builds(
    GatePolicy,
    enabled=st.booleans(),
    shadow=st.booleans(),
    hide_at=st.sampled_from([None, 0.5, 0.9]),
    demote_at=st.sampled_from([None, 0.25, 0.9]),
    demote_factor=st.sampled_from([0.25, 0.5, 1.0]),
    on_failure=st.sampled_from(["closed", "open"]),
    grace_s=st.sampled_from([0.0, 0.999, 1.0, 1.001, 604_800.0]),
)
SIGNALS = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from([None, 0.0, 0.25, 0.5, 0.9, 1.0]) for name in NAMES.all}
)
OVERRIDES = st.dictionaries(
    st.tuples(
        st.sampled_from([("post", "p"), ("author", "ann")]), st.sampled_from(["*", *NAMES.gates])
    ),
    st.builds(
        Override,
        verdict=st.sampled_from(["allow", "demote", "hide"]),
        by=st.sampled_from(["x", "y"]),
        reason=st.just(""),
        at_ms=st.just(1),
        expires_at_ms=st.sampled_from([None, NOW_MS - 1, NOW_MS, NOW_MS + 1]),
    ),
    max_size=4,
)
WEIGHTS = st.builds(
    Weights,
    objectives=st.fixed_dictionaries(
        {n: st.sampled_from([0.0, 0.3, 1.0]) for n in ("quality", "engagement", "reply")}
    ),
    scale=st.just({"quality": 1.0, "engagement": 10.0, "reply": 2.0}),
    half_life_hours=st.sampled_from([None, 24.0]),
    costs=st.fixed_dictionaries({"grumble": st.sampled_from([0.0, 20.0])}),
)


QUALITY = Weights({"quality": 1.0}, {"quality": 1.0})


def feed_of(
    gates: dict[str, GatePolicy], weights: Weights = QUALITY, name: str = "global"
) -> FeedSnapshot:
    """A feed of ten posts that was ranked by these."""
    info = {"weights": weights.as_dict(), "gates": gates}
    texts = {name: msgspec.json.encode(fields).decode() for name, fields in info.items()}
    return FeedSnapshot(name, TEN, texts)


@given(
    gates=st.fixed_dictionaries(dict.fromkeys(NAMES.gates, GATES)),
    values=SIGNALS,
    judged=st.dictionaries(st.sampled_from(NAMES.all), st.sampled_from([2, 3])),
    overrides=OVERRIDES,
    weights=WEIGHTS,
    model=st.sampled_from(["model", RULE_MODEL]),
    created_ms=st.sampled_from([NOW_MS - 5000, ARRIVED_MS]),
)
def test_decision_factor_and_score_are_those_of_the_combiner(
    gates: dict[str, GatePolicy],
    values: dict[str, float | None],
    judged: dict[str, int],
    overrides: dict[Any, Override],
    weights: Weights,
    model: str,
    created_ms: int,
) -> None:
    view = PostView(NAMES)
    view.update_post(Post("p", "ann", created_ms, "x"), 3, ARRIVED_MS)
    for name, value in values.items():
        error = "no memory" if value is None else None
        offset = judged.get(name, 3)
        view.update_signal(name, Signal("p", offset, value, model, "v1", 1, error))
    for ((kind, about), gate), override in overrides.items():
        view.update_override(OverrideKey(kind, about, gate), override)
    row = view.row_of("p")
    assert row is not None

    (fields,) = fields_of(view, [row], EVERYTHING, gates, NOW_MS)
    texts = {n: v.decode() if isinstance(v, bytes) else v for n, v in fields.items() if v}
    shown = PostSnapshot("p", texts)
    explanation = explain(shown, feed_of(gates, weights), None, "", NOW_MS)

    decided = decide_row(view, row, gates, NOW_MS)
    assert explanation.decision == decided
    post = explanation.post
    assert (post.decision, post.decided_by) == (decided.name, decided.decided_by)
    factor = 1.0
    for gate in explanation.gates:
        factor *= gate.factor
    assert factor == decided.factor
    values = {name: float(view.signals[name].value.cells[row]) for name in weights.signals}
    assert explanation.score == score_of(weights, values, decided.factor, created_ms)
    logarithms = math.log2(max(explanation.total, LEAST_SUM)) + math.log2(explanation.factor)
    lost = sum(term.contribution for term in explanation.costs)
    assert explanation.score == pytest.approx(logarithms + lost + explanation.recency, abs=1e-9)
    if decided.name in ("hide", "hold", "demote"):
        assert " because " in explanation.verdict
        assert not explanation.verdict.endswith(" because ")


def test_grace_counts_from_the_arrival_of_the_posts_record() -> None:
    gates = {"spam": GatePolicy(on_failure="open", grace_s=60.0)}
    feed = feed_of(gates)
    fields = {"post": "3 1000 499000"}
    decisions = [
        explain(PostSnapshot("p", fields), feed, None, "", now_ms).decision.name
        for now_ms in (61_000, 559_999, 560_000)
    ]
    assert decisions == ["hold", "hold", "show"]
    fields["post"] = "3 1000 0"
    assert explain(PostSnapshot("p", fields), feed, None, "", 61_000).decision.name == "show"


def reason(
    spec: FeedSpec | None, *, feed: str = "global", score: float = 1.0, **fields: Any
) -> str:
    """Why the post `p` of `ann` in `python`, an hour old, is not in a feed of ten others."""
    shown = feed_of({}, name=feed)
    post = PostSnapshot("p", {"post": f"3 {NOW_MS - HOUR_MS} 0", "author_id": "ann"})
    record = Post("p", "ann", 1, "x", **{"lang": "en", "communities": ("python",), **fields})
    entry = None if spec is None else FeedEntry(spec, record)
    return why_absent(shown, post, score, ["ben"] * 10, entry, NOW_MS)


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        (FeedSpec(size=10), "below 91.000000, that of the last of 10 posts, as many as the feed"),
        (FeedSpec(size=11), "it belongs into it"),
        (FeedSpec(window_hours=0.5), "it is 1.0 h old, and the feed takes posts of 0.5 h"),
        (FeedSpec(match=FeedMatch(communities=("go",))), "the communities go, and the post has py"),
        (FeedSpec(match=FeedMatch(langs=("de", "fr"))), "the langs de, fr, and the post has en"),
        (FeedSpec(match=FeedMatch(authors=("bob",))), "the authors bob, and the post has ann"),
        (None, "or it is older than the feed's window, or does not match the feed"),
    ],
)
def test_one_reason_is_chosen_for_a_post_that_is_not_in_a_feed(
    spec: FeedSpec | None, said: str
) -> None:
    assert said in reason(spec)


def test_replies_and_feeds_by_name_have_reasons_of_their_own() -> None:
    assert "it is a reply" in reason(FeedSpec(), in_reply_to="q")
    assert "the communities go, and the post has py" in reason(FeedSpec(), feed="community:go")
    assert "the langs de, and the post has none" in reason(FeedSpec(), feed="lang:de", lang=None)
    assert "as many as the feed keeps" in reason(FeedSpec(size=10), feed="lang:en")


def test_what_a_signal_states_as_its_reason_is_said() -> None:
    feed = feed_of({"spam": GatePolicy()})
    post = PostSnapshot("p", {"post": "3 1000 0", "spam": "0.97 56e6e2 9"})
    stated = {"spam": "copy of 12 posts by 11 authors within 10 minutes"}
    explanation = explain(post, feed, None, "", NOW_MS, stated)
    assert explanation.verdict == f"hidden because spam 0.97 \u2265 0.9 ({stated['spam']})"

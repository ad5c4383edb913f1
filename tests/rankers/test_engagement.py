from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.events import counters_of, posts_of
from builders.fuzz_targets import TREES
from feedmill.events.engagement import ENGAGEMENT_KINDS, EngagementKind
from feedmill.events.errors import BadArtifact
from feedmill.events.post import Media, Post
from feedmill.features.counters import Counters, update
from feedmill.features.media import UNKNOWN
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.shape import shape_matrix
from feedmill.models.artifact import read_artifact
from feedmill.models.text_model import FEATURES
from feedmill.models.trees import Trees
from feedmill.rankers.engagement import ExpectedClicks, tree_columns
from feedmill.rankers.registry import load
from feedmill.rankers.spec import STORE

# Written for this test; none comes from a data set.
BAIT = ["You Won't Believe What This Mom Did Next!", "21 Things Only Cat People Will Understand"]

PLAIN = [
    "The council approved the new budget on Tuesday after a debate of two hours.",
    "Scientists at the institute measured the temperature of the lake for ten years.",
]

EDGE = ["", " ", "a", "😀" * 40, "x" * 20_000, "日本語のテキスト"]


@pytest.fixture(scope="module")
def engagement() -> ExpectedClicks:
    model = load("engagement")
    assert isinstance(model, ExpectedClicks)
    return model


def test_priors_are_rates_of_each_row_alone(engagement: ExpectedClicks) -> None:
    many = posts_of([*BAIT, *PLAIN, *EDGE])
    priors = engagement.prior_many(many)
    assert ((priors > 0) & (priors < 0.1)).all()
    alone = np.concatenate([engagement.prior_many([p]) for p in many])
    np.testing.assert_array_equal(priors, alone)
    assert engagement.prior_many([]).shape == (0,)


def test_trees_correct_the_linear_lift_by_the_shape(engagement: ExpectedClicks) -> None:
    batch = PostBatch(posts_of([*BAIT, *PLAIN]))
    lift = engagement.lift.score(batch.text)
    columns = tree_columns(lift, shape_matrix(batch.text))
    # The second column is the length: one tree that tells the texts apart by it.
    middle = float(np.median(columns[:, 1]))
    text = TREES.replace("idx=1", f"idx={columns.shape[1] - 1}")
    text = text.replace("split_feature=0", "split_feature=1").replace("=0.5", f"={middle}")
    corrected = replace(engagement, trees=Trees.parse(text)).prior_batch(batch)
    by_length = np.where(columns[:, 1] <= middle, 0.25, -0.25)
    np.testing.assert_allclose(corrected, engagement.base * np.exp(lift + by_length))
    assert len(set(by_length)) == 2


def test_a_model_from_before_the_trees_is_the_linear_one(engagement: ExpectedClicks) -> None:
    stored = read_artifact(STORE, "engagement", FEATURES)
    arrays = {key: array for key, array in stored.arrays.items() if key != "trees"}
    old = ExpectedClicks.of(replace(stored, arrays=arrays))
    posts = posts_of([*BAIT, *PLAIN])
    linear = replace(engagement, trees=None)
    np.testing.assert_array_equal(old.prior_many(posts), linear.prior_many(posts))


def shown(text: str, links: tuple[str, ...] | None, *kinds: str) -> Post:
    return Post("p", "a", 1, text, links=links, media=tuple(Media("u", kind) for kind in kinds))


def test_the_kind_of_media_moves_the_prior_and_an_unknown_one_does_not(
    engagement: ExpectedClicks,
) -> None:
    text, links = PLAIN[0], ("https://example.org/budget",)
    posts = [
        Post("p", "a", 1, text),
        shown(text, links),
        *(shown(text, None, k) for k in ("image", "video")),
    ]
    unknown, link, image, video = engagement.prior_many(posts)
    assert unknown == engagement.prior_many(posts_of([text]))[0]
    assert link < unknown < image < video < 1.2 * unknown
    np.testing.assert_array_equal(
        engagement.prior_batch(PostBatch(posts)), [unknown, link, image, video]
    )
    alone = [engagement.prior_many([one])[0] for one in posts]
    np.testing.assert_array_equal(alone, [unknown, link, image, video])


def test_the_lift_of_media_is_the_weighted_sum_of_the_heads(engagement: ExpectedClicks) -> None:
    weights = read_artifact(STORE, "engagement", FEATURES).metadata["head_weights"]
    summed = sum(weights[kind] * effects for kind, effects in engagement.media.items())
    np.testing.assert_allclose(engagement.media_lift, summed)
    assert [kind for kind, effects in engagement.media.items() if effects.any()] == [
        "like",
        "share",
    ]
    assert engagement.media_lift[UNKNOWN] == 0


def test_a_model_from_before_media_reads_the_text_alone(engagement: ExpectedClicks) -> None:
    stored = read_artifact(STORE, "engagement", FEATURES)
    arrays = {key: array for key, array in stored.arrays.items() if not key.startswith("media_")}
    old = ExpectedClicks.of(replace(stored, arrays=arrays))
    posts = [shown(text, None, "video") for text in PLAIN]
    np.testing.assert_array_equal(old.prior_many(posts), engagement.prior_many(posts_of(PLAIN)))


@pytest.mark.parametrize("array", [np.zeros(3), np.full(5, 1e9), np.full(5, np.nan)])
def test_media_that_cannot_be_right_are_refused(array: np.ndarray) -> None:
    stored = read_artifact(STORE, "engagement", FEATURES)
    wrong = replace(stored, arrays={**stored.arrays, "media_like": array})
    with pytest.raises(BadArtifact, match="media_like"):
        ExpectedClicks.of(wrong)


def test_a_post_that_nobody_has_seen_gets_its_prior(engagement: ExpectedClicks) -> None:
    priors = engagement.prior_many(posts_of(PLAIN))
    np.testing.assert_array_equal(engagement.score_many(priors, [Counters(), Counters()]), priors)
    only_reports = counters_of(("report", 3))
    assert engagement.score_many(priors[:1], [only_reports])[0] == priors[0]


@pytest.mark.parametrize(
    "rows",
    [
        # Small counts shrink to the prior, and ignored impressions lower the value.
        [(("impression", n), ("click", n // 10)) for n in (0, 10, 100, 1_000)],
        [[("impression", n)] for n in (2_000, 50, 0)],
    ],
)
def test_each_is_worth_more_than_the_one_before(
    engagement: ExpectedClicks, rows: list[list[tuple[EngagementKind, int]]]
) -> None:
    counters = [counters_of(*one) for one in rows]
    values = engagement.score_many(np.full(len(rows), engagement.base), counters)
    assert (np.diff(values) > 0).all()
    assert engagement.base in values
    assert values.max() < 0.12


@pytest.mark.parametrize(
    "others",
    [
        # Who clicks, likes and answers is one click; hides and reports take none away.
        [("like", 10), ("reply", 5), ("share", 20)],
        [("hide", 4), ("report", 4)],
    ],
)
def test_other_reactions_change_nothing(
    engagement: ExpectedClicks, others: list[tuple[EngagementKind, int]]
) -> None:
    clicks: list[tuple[EngagementKind, int]] = [("impression", 1_000), ("click", 20)]
    rows = [counters_of(*clicks), counters_of(*clicks, *others)]
    weight = engagement.prior_weight
    expected = (20 + weight * engagement.base) / (1_000 + weight)
    values = engagement.score_many(np.full(2, engagement.base), rows)
    assert values.tolist() == pytest.approx([expected, expected])
    assert values[0] == values[1]


def test_reactions_without_impressions_count(engagement: ExpectedClicks) -> None:
    prior = np.full(4, engagement.base)
    likes = [Counters(), *(counters_of(("like", n)) for n in (10, 100, 1_000))]
    values = engagement.score_many(prior, likes)
    assert (np.diff(values) > 0).all()
    odds = values / (1 - values)
    np.testing.assert_allclose(odds[1:] / odds[0], np.sqrt([11, 101, 1_001]))


KIND_COUNTS = st.lists(
    st.tuples(st.sampled_from(ENGAGEMENT_KINDS), st.integers(0, 40)), min_size=0, max_size=6
)


@settings(max_examples=150)
@given(
    events=KIND_COUNTS,
    kind=st.sampled_from(["click", "like", "reply", "share"]),
    prior=st.floats(1e-4, 0.5),
)
def test_one_more_positive_never_lowers(
    engagement: ExpectedClicks,
    events: list[tuple[EngagementKind, int]],
    kind: EngagementKind,
    prior: float,
) -> None:
    before, after = counters_of(*events), counters_of(*events, (kind, 1))
    low, high = engagement.score_many(np.array([prior, prior]), [before, after])
    assert 0 <= low <= high + 1e-12 <= 1 + 1e-12


def test_the_value_does_not_depend_on_when_it_is_asked_or_how_rows_are_batched(
    engagement: ExpectedClicks,
) -> None:
    rows = [counters_of(("impression", 9), ("like", i), at_ms=i * 10**9) for i in range(40)]
    priors = np.linspace(0.005, 0.05, 40)
    whole = engagement.score_many(priors, rows)
    alone = [engagement.score_many(priors[i : i + 1], rows[i : i + 1])[0] for i in range(40)]
    np.testing.assert_array_equal(whole, alone)
    shifted = [counters_of(("impression", 9), ("like", i), at_ms=10**12) for i in range(40)]
    np.testing.assert_allclose(engagement.score_many(priors, shifted), whole, rtol=1e-12)


def test_the_variance_is_that_of_the_beta_distribution(engagement: ExpectedClicks) -> None:
    priors = np.array([0.02, 0.02, 0.02])
    rows = [Counters(), counters_of(("impression", 100), ("click", 2)), counters_of(("like", 3))]
    variances = engagement.variance_many(priors, rows)
    weight = engagement.prior_weight
    a, b = weight * 0.02, weight * 0.98
    for found, (clicks, shown) in zip(variances[:2], [(0, 0), (2, 100)], strict=True):
        first, second = a + clicks, b + shown - clicks
        total = first + second
        assert found == pytest.approx(first * second / total**2 / (total + 1), rel=1e-6)
    # The clicks came at the rate of the prior, which they make more certain.
    assert variances[1] < variances[0]
    assert np.isnan(variances[2])


@given(
    rows=st.lists(
        st.tuples(
            st.lists(
                st.tuples(
                    st.sampled_from(ENGAGEMENT_KINDS), st.integers(1, 9), st.integers(0, 10**12)
                ),
                max_size=6,
            ),
            st.floats(1e-4, 0.5),
        ),
        min_size=1,
        max_size=11,
    )
)
def test_few_posts_have_the_values_that_many_have(
    engagement: ExpectedClicks, rows: list[tuple[list[tuple[EngagementKind, int, int]], float]]
) -> None:
    counters = []
    for events, _ in rows:
        one = Counters()
        for kind, count, at_ms in events:
            for _ in range(count):
                update(one, kind, at_ms)
        counters.append(one)
    priors = np.array([prior for _, prior in rows])
    many = engagement.score_many(np.tile(priors, 12), counters * 12)
    few = engagement.score_many(priors, counters)
    assert few.tobytes() == many[: len(rows)].tobytes()

"""Who labelled what: no rater has too many rows, and each bets once."""

import numpy as np

from builders.label_simulation import judged, ordinary_text
from feedmill.events.label import Label
from feedmill.events.post import Post
from feedmill.training.continual.rated_posts import (
    AuditedPost,
    RatedPost,
    audited_posts,
    independent_rows,
    near_copy_clusters,
    rated_posts,
    without_audit,
)

LONG = "the harbour of the old town was full of small boats that came for the yellow summer market"


def row(post_id: str, raters: str, text: str = "", author: str = "") -> RatedPost:
    post = Post(
        post_id, author or f"by-{post_id}", 1, text or f"text of {'abcdefghij'[int(post_id)]}"
    )
    return RatedPost(post, 1.0, tuple(raters), int(post_id))


def test_a_flooding_rater_has_an_eighth_of_what_the_others_have() -> None:
    rows = rated_posts(judged("flood", 1))
    of_flooder = [one for one in rows if one.raters == ("flooder",)]
    others = len(rows) - len(of_flooder)
    assert others >= 230
    assert 20 < len(of_flooder) <= 30
    assert rows == rated_posts(list(reversed(judged("flood", 1))))


def test_a_rater_has_a_few_labels_whatever_the_others_have() -> None:
    def label(n: int) -> tuple[Post, list[Label]]:
        post = Post(f"p{n}", "a", n, " ".join("abcdefghij"[int(d)] for d in str(n)))
        return post, [Label(f"p{n}", "spam", 1.0, "only", n)]

    assert len(rated_posts([label(n) for n in range(1000, 1100)])) == 20


def test_a_post_has_the_majority_of_its_labels_and_its_raters_in_order_of_time() -> None:
    post = Post("p", "a", 1, "text")
    labels = [
        Label("p", "spam", 0.0, "cy", 30),
        Label("p", "spam", 1.0, "ann", 20),
        Label("p", "spam", 1.0, "bob", 10),
    ]
    assert rated_posts([(post, labels)]) == [RatedPost(post, 1.0, ("bob", "ann", "cy"), 30)]


def test_of_equal_texts_the_first_is_taken() -> None:
    rows = [
        (Post(i, i, 1, text), [Label(i, "spam", value, i, at_ms)])
        for i, text, value, at_ms in (("x", "Win 100", 0.0, 20), ("y", "win  999", 1.0, 10))
    ]
    assert [one.post.post_id for one in rated_posts(rows)] == ["y"]


def test_a_post_is_with_the_rater_who_comes_first() -> None:
    rows = [row("0", "a"), row("1", "b"), row("2", "ba"), row("3", "c")]
    assert independent_rows(rows) == [[0, 2], [1], [3]]
    assert independent_rows([]) == []


def test_authors_and_near_copies_of_an_earlier_rater_are_left_out() -> None:
    copy = LONG.replace("yellow", "green")
    rows = [
        row("0", "a", LONG, author="x"),
        row("1", "a", author="x"),
        row("2", "b", author="x"),
        row("3", "b", copy),
        row("4", "b"),
    ]
    assert independent_rows(rows) == [[0, 1], [4]]


def test_near_copies_are_one_cluster_and_other_texts_are_not() -> None:
    random = np.random.default_rng(3)
    texts = [ordinary_text(random) for _ in range(200)]
    assert near_copy_clusters(texts) == list(range(200))
    copies = [LONG, *texts, LONG.replace("small", "large"), LONG.upper(), "a b", "A  B", "a c"]
    assert near_copy_clusters(copies)[201:] == [0, 0, 203, 203, 205]
    assert near_copy_clusters([]) == []


POST = Post("p", "a", 1, "text")


def label(source: str, value: float, probability: float | None = None) -> Label:
    return Label("p", "spam", value, source, 10, sampling_probability=probability)


def test_labels_of_posts_that_somebody_chose_are_not_in_the_audit() -> None:
    judged = [(POST, [label("ann", 1.0)])]
    assert audited_posts(judged) == []
    assert without_audit(judged) == judged


def test_in_the_audit_only_its_own_labels_count() -> None:
    judged = [(POST, [label("ann", 1.0), label("bob", 1.0), label("cy", 0.0, 0.25)])]
    assert audited_posts(judged) == [AuditedPost(POST, 0.0, 0.25)]
    # A report about the same post does not bring it back into training.
    assert without_audit(judged) == []

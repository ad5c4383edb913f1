"""Rows that taught a model never judge it: in no mode, not in disguise, not across files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import numpy as np
import pytest

from builders.training_data import labelled, material, ordinary, sample
from feedmill.events.errors import UsageError
from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.models.artifact import ModelCard
from feedmill.models.text_model import Scores, TextModel
from feedmill.training.datasets.labelled_posts import (
    LabelledPosts,
    LabelledRow,
    labelled_posts,
    text_fingerprint,
)
from feedmill.training.evaluation import filters as evaluation
from feedmill.training.evaluation.filters import (
    cross_validate,
    evaluate_ordinary,
    evaluate_stored,
    filter_metrics,
    grouped_folds,
    leave_one_dataset_out,
    mean_metrics,
)
from feedmill.training.evaluation.slices import author_ages, slices_of
from feedmill.training.training_data import Dataset, TrainingData


class Parrot:
    """Knows by heart what it was taught: a leak makes it perfect, and it says what it scored."""

    def __init__(self, taught: Sequence[LabelledPosts] = ()) -> None:
        self.bad = {
            text_fingerprint(p.text)
            for c in taught
            for p, y in zip(c.posts, c.labels, strict=True)
            if y
        }
        self.texts = {text_fingerprint(post.text) for c in taught for post in c.posts}
        self.groups = {group for c in taught for group in c.groups}
        self.asked: list[Post] = []

    name, version = "spam", "0" * 12

    def score_many(self, posts: Sequence[Post]) -> Scores:
        self.asked += posts
        return np.array([0.95 if text_fingerprint(p.text) in self.bad else 0.1 for p in posts])

    def score_batch(self, batch: PostBatch) -> Scores:
        return self.score_many(batch.posts)


class Fitted:
    def __init__(self, model: Parrot) -> None:
        self.parrot = model

    def model(self, name: str, version: str) -> Parrot:
        return self.parrot


@pytest.fixture
def parrots(monkeypatch: pytest.MonkeyPatch) -> list[Parrot]:
    """The models that the evaluation trains, in order."""
    made: list[Parrot] = []

    def fit(
        recipe: object, rows: Sequence[LabelledPosts], clean: Sequence[LabelledPosts]
    ) -> Fitted:
        made.append(Parrot([*rows, *clean]))
        return Fitted(made[-1])

    monkeypatch.setattr(evaluation, "fit", fit)
    return made


def leaky() -> TrainingData:
    """Texts and groups that stand in several files and parts, as they do in the wild."""
    data = material()
    bad, few = (s.rows for s in data.labelled)
    copies = [
        LabelledRow(p.text.upper(), y, f"copy{i % 9}")
        for i, (p, y) in enumerate(zip(bad.posts, bad.labels, strict=True))
        if i % 3 == 0
    ]
    shared = labelled_posts(
        "few",
        "bad",
        [
            LabelledRow(p.text, y, f"g{i % 7}")
            for i, (p, y) in enumerate(zip(few.posts, few.labels, strict=True))
        ],
    )
    planted = labelled_posts(
        "copies",
        "copies",
        [
            *copies,
            *(
                LabelledRow(f"own {p.text}", y, f"own{i % 40}")
                for i, (p, y) in enumerate(zip(few.posts, few.labels, strict=True))
            ),
        ],
    )
    clean = labelled_posts(
        "one",
        "one",
        [
            LabelledRow(p.text, 0.0, f"a{i % 40}")
            for i, p in enumerate([*data.ordinary[0].rows.posts, *bad.posts[150::2]])
        ],
    )
    return TrainingData(
        (data.labelled[0], sample(shared, "5" * 64), sample(planted, "6" * 64)),
        (sample(clean, "7" * 64), data.ordinary[1]),
    )


def check_nothing_leaked(parrots: list[Parrot]) -> None:
    assert parrots
    for parrot in parrots:
        assert parrot.asked
        assert not {text_fingerprint(post.text) for post in parrot.asked} & parrot.texts


def test_no_fold_is_judged_by_a_model_that_knew_its_texts_or_groups(parrots: list[Parrot]) -> None:
    data = leaky()
    for index, one in enumerate(data.labelled):
        parrots.clear()
        report = cross_validate("spam", data, index, 4)
        check_nothing_leaked(parrots)
        assert report.measures.auc == 0.5  # a parrot of other texts knows nothing
        assert report.measures.rows + report.dropped == len(one.rows)
        group_of = {p.post_id: g for p, g in zip(one.rows.posts, one.rows.groups, strict=True)}
        for parrot in parrots:
            asked = {group_of[p.post_id] for p in parrot.asked if p.post_id in group_of}
            assert not asked & parrot.groups


def test_alone_a_fold_learns_from_its_own_set(parrots: list[Parrot]) -> None:
    data = leaky()
    report = cross_validate("spam", data, 0, 3, evaluation.TrainingBudget(alone=True))
    check_nothing_leaked(parrots)
    own = {text_fingerprint(post.text) for post in data.labelled[0].rows.posts}
    assert all(parrot.texts <= own for parrot in parrots)
    assert report.mode == "alone"
    assert report.note == "3 folds by group; learned from its other folds, without ordinary posts"


def test_a_set_left_out_taught_nothing(parrots: list[Parrot]) -> None:
    reports = leave_one_dataset_out("spam", leaky())
    check_nothing_leaked(parrots)
    assert [report.name for report in reports] == ["bad", "few", "copies"]
    assert all(report.measures.auc == 0.5 for report in reports)
    with pytest.raises(UsageError, match="takes two"):
        leave_one_dataset_out("spam", replace(leaky(), labelled=leaky().labelled[:1]))


def card_of(*samples: Dataset) -> ModelCard:
    uses = [s.use(1, "labelled") for s in samples]
    return ModelCard("spam", "0" * 64, "2026-01-01", "", 1, uses, {}, [], "")


def taught_of(*samples: Dataset) -> list[LabelledPosts]:
    return [s.rows.where(s.rows.parts != "judge") for s in samples]


def test_a_stored_model_is_judged_on_what_it_never_saw() -> None:
    data = leaky()
    trained = (data.labelled[0], data.labelled[1], *data.ordinary)
    parrot = Parrot(taught_of(*trained))
    reports = evaluate_stored(parrot, card_of(*trained), data)
    check_nothing_leaked([parrot])
    assert [report.note.split(" that")[0] for report in reports[:2]] == [
        "the judge part of a file"
    ] * 2
    assert reports[2].note == "a file it never saw"
    assert reports[2].dropped > 0  # the planted copies of texts that trained it
    # What the leak would have brought: the copies of violating texts, all known by heart.
    known = Parrot(taught_of(*trained)).score_many(data.labelled[2].rows.posts)
    assert (known > 0.9).any()
    assert reports[2].measures.caught_hidden == 0


def test_a_file_is_known_again_by_its_content_and_by_its_name() -> None:
    own = sample(labelled("bad", 1), "1" * 64)
    renamed = sample(replace(own.rows, source="other"), "1" * 64)
    altered = sample(own.rows, "9" * 64)
    card = card_of(own)
    for given, said in (
        (renamed, "a file that trained it"),
        (altered, "of other or unknown sha256"),
    ):
        report = evaluate_stored(Parrot(), card, TrainingData((given,), ()))[0]
        assert said in report.note
        assert report.measures.rows == int((own.rows.parts == "judge").sum())
    strange = sample(labelled("new", 5), "5" * 64)
    report = evaluate_stored(Parrot(), card, TrainingData((strange,), ()))[0]
    assert report.note == "a file it never saw; its rows were not looked for in bad.csv"
    assert report.measures.rows == len(strange.rows)


def test_another_split_of_a_file_that_taught_is_refused() -> None:
    card = card_of(sample(labelled("bad", 1), "1" * 64))
    other = sample(labelled("bad", 1), "1" * 64, group="author")
    with pytest.raises(
        UsageError, match=r"bad.csv taught `spam@0+`, split g, by g; it cannot judge"
    ):
        evaluate_stored(Parrot(), card, TrainingData((other,), ()))


def test_a_file_all_of_which_taught_cannot_judge() -> None:
    own = sample(labelled("bad", 1), "1" * 64)
    with pytest.raises(UsageError, match="every row of it trained or tuned"):
        evaluate_stored(
            Parrot(), card_of(own), TrainingData((sample(taught_of(own)[0], "1" * 64),), ())
        )


def test_ordinary_posts_count_once_under_the_strictest_filter() -> None:
    class Says(Parrot):
        def __init__(self, scores: list[float]) -> None:
            super().__init__()
            self.scores = scores

        def score_many(self, posts: Sequence[Post]) -> Scores:
            return np.array(self.scores)

    rows = labelled_posts(
        "o",
        "o",
        [LabelledRow(t, y, t) for t, y in (("a", 0.0), ("b", 0.0), ("c", 0.0), ("d", 1.0))],
    )
    models: list[tuple[TextModel, ModelCard]] = [
        (Says([0.9, 0.7, 0.1, 0.95]), card_of()),
        (Says([0.1, 0.95, 0.6, 0.1]), card_of()),
    ]
    (report,) = evaluate_ordinary(models, [sample(rows)])
    assert (report.rows, report.hidden, report.demoted) == (4, 0.75, 0.25)
    assert (report.not_flagged_hidden, report.not_flagged_demoted) == (2 / 3, 1 / 3)
    (judge_part,) = evaluate_ordinary(
        [(Parrot(), card_of(sample(ordinary("one", 3))))], [sample(ordinary("one", 3))]
    )
    assert judge_part.rows == int((ordinary("one", 3).parts == "judge").sum())


def test_folds_keep_groups_whole_and_are_of_like_size() -> None:
    groups = ["a"] * 50 + ["b"] * 30 + ["c"] * 20 + [f"d{i}" for i in range(50)]
    folds = grouped_folds(groups, 3)
    assert all(
        len({f for g, f in zip(groups, folds, strict=True) if g == name}) == 1 for name in groups
    )
    assert np.bincount(folds).tolist() == [50, 50, 50]
    assert set(grouped_folds(["a", "b"], 5)) == {0, 1}
    with pytest.raises(UsageError, match="one group"):
        grouped_folds(["a", "a"], 5)


def test_the_mean_of_folds_leaves_out_those_of_one_class() -> None:
    scores = np.array([0.1, 0.2, 0.95, 0.7])
    good = filter_metrics(scores, np.array([False, False, True, True]), [np.zeros(10)])
    none = filter_metrics(scores, np.zeros(4, dtype=np.bool_), [])
    mean = mean_metrics([good, none])
    assert (mean.rows, mean.violating, mean.auc, mean.caught_hidden) == (8, 2, 1.0, 0.5)
    assert good.recall_at_ordinary == 1.0
    assert none.recall_at_ordinary == 0.0


def test_slices_by_language_length_and_how_long_an_author_is_known() -> None:
    day = 86_400_000
    posts = [
        Post("1", "a", 10 * day, "x"),
        Post("2", "a", 10 * day + 1, "x"),
        Post("3", "a", 12 * day, "x"),
        Post("4", "a", 90 * day, "x"),
        Post("5", "a", 1, "x"),
        Post("6", "author-of-6", 5, "x"),
        Post("7", "b", 0, "x"),
    ]
    ages = author_ages(posts)
    assert ages == [
        *("less than 30 days", "less than 30 days", "less than 30 days", "30 days and more"),
        *("first post", "", ""),
    ]
    texts = ["short one"] * 30 + ["слово за словом " * 4] * 30
    rows = [
        Post(f"{i}", f"author-of-{i}", 0, t, lang="de" if i < 25 else None)
        for i, t in enumerate(texts)
    ]
    labels = (np.arange(60) % 2).astype(np.float64)
    whole = LabelledPosts("s", rows, labels, [""] * 60, np.full(60, "judge"))
    found = {(s.by, s.value): s for s in slices_of(whole, labels * 0.7, 0.6)}
    assert set(found) == {
        ("language", "de"),
        ("language", "other script"),
        ("length", "1-5 words"),
        ("length", "6-15 words"),
    }
    assert found["language", "de"].caught == 1.0
    assert msgspec.json.encode(found["language", "de"])

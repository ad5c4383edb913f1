"""What a report tells of labels: delays, raters, and how well each version is calibrated."""

import numpy as np
import pytest

from builders.events import post as some_post
from feedmill.events.decode import encode
from feedmill.events.label import Label
from feedmill.events.signal import Signal, SignalNames
from feedmill.training.label_report import (
    AUDIT,
    CHOSEN,
    LONGER,
    MINUTE_MS,
    LabelReport,
    RecordedLabels,
    dawid_skene,
)

AT_MS = 1_700_000_000_000


def recorded() -> RecordedLabels:
    return RecordedLabels("spam", SignalNames(), 0)


def add(
    of: RecordedLabels,
    post_id: str,
    value: float | None,
    labels: dict[str, float],
    *,
    delay_ms: int = 1,
    probability: float | None = None,
    version: str = "v1",
) -> None:
    """A post that a version scored, with the labels of these raters."""
    for rater, said in labels.items():
        label = Label(post_id, "spam", said, rater, AT_MS + delay_ms, probability)
        of.add_label(post_id.encode(), encode(label))
    of.add_post(post_id.encode(), encode(some_post(post_id, created_at_ms=AT_MS)), AT_MS)
    if value is not None:
        signal = Signal(post_id, 0, value, "spam", version, AT_MS)
        of.add_signal(post_id.encode(), encode(signal))


def test_delays_are_counted_by_their_length() -> None:
    of = recorded()
    for n, delay_ms in enumerate((MINUTE_MS - 1, MINUTE_MS, 3 * 60 * MINUTE_MS, 10**10)):
        add(of, f"p{n}", 0.5, {"ann": 1.0}, delay_ms=delay_ms)
    found = of.report()
    assert found.delays == {
        "1m": 1, "10m": 1, "1h": 0, "6h": 1, "1d": 0, "7d": 0, LONGER: 1,
    }  # fmt: skip
    assert found.median_delay_ms == (MINUTE_MS + 3 * 60 * MINUTE_MS) / 2


def test_raters_are_compared_on_posts_that_they_share() -> None:
    of = recorded()
    for n in range(40):
        truth = float(n % 2)
        add(of, f"p{n}", None, {"ann": truth, "bob": truth, "cy": 1.0})
    add(of, "alone", None, {"dee": 1.0})
    rows = {row.rater: row for row in of.report().raters}
    assert [row.rater for row in of.report().raters] == ["ann", "bob", "cy", "dee"]
    assert (rows["ann"].labels, rows["ann"].violating, rows["ann"].shared) == (40, 20, 40)
    assert rows["ann"].specificity is not None
    assert rows["cy"].specificity is not None
    assert rows["ann"].specificity > 0.9
    assert rows["cy"].specificity < 0.4
    dee = rows["dee"]
    assert (dee.labels, dee.shared, dee.sensitivity, dee.specificity) == (1, 0, None, None)


def audit(of: RecordedLabels) -> LabelReport:
    """Of all posts a tenth violates; half of those labelled were drawn among violating ones."""
    for n in range(100):
        add(of, f"fine{n}", 0.05, {"ann": 0.0}, probability=0.1)
        add(of, f"bad{n}", 0.55, {"ann": 1.0}, probability=0.9)
    return of.report()


def test_an_audit_stands_for_all_posts() -> None:
    (row,) = audit(recorded()).versions
    assert (row.version, row.drawn, row.posts) == ("v1", AUDIT, 200)
    assert row.violating == pytest.approx(0.1)
    assert row.mean_value == pytest.approx(0.1)
    assert row.gap.value == pytest.approx(0, abs=1e-6)
    assert row.gap.low < 0 < row.gap.high
    assert row.brier.value == pytest.approx(0.9 * 0.05**2 + 0.1 * 0.45**2, rel=1e-4)


def test_versions_and_kinds_of_drawing_have_rows_of_their_own() -> None:
    of = recorded()
    audit(of)
    add(of, "reported", 0.5, {"ann": 1.0}, version="v1")
    add(of, "later", 0.5, {"ann": 1.0}, version="v2")
    rows = [(row.version, row.drawn, row.posts) for row in of.report().versions]
    assert rows == [("v1", AUDIT, 200), ("v1", CHOSEN, 1), ("v2", CHOSEN, 1)]


def test_labels_that_contradict_the_model_are_named_worst_first() -> None:
    of = recorded()
    add(of, "right", 0.9, {"ann": 1.0})
    add(of, "wrong", 0.2, {"ann": 1.0, "bob": 1.0})
    add(of, "worse", 0.95, {"bob": 0.0})
    doubts = of.report().doubts
    assert [(one.post_id, one.label) for one in doubts] == [("worse", 0.0), ("wrong", 1.0)]
    assert list(doubts[1].raters) == ["ann", "bob"]


def test_what_a_rule_decided_is_not_the_models_value() -> None:
    of = recorded()
    add(of, "p", None, {"ann": 0.0})
    of.add_signal(b"p", encode(Signal("p", 0, 1.0, "rule", "block", AT_MS)))
    assert of.report().versions == []


def test_an_edited_post_has_no_value_that_its_labels_answer() -> None:
    of = recorded()
    add(of, "p", 0.9, {"ann": 1.0})
    of.add_post(b"p", encode(some_post("p", "another text")), AT_MS + MINUTE_MS)
    found = of.report()
    assert (found.posts, found.versions, found.doubts) == (1, [], [])


def test_the_rates_of_raters_are_recovered() -> None:
    random = np.random.default_rng(1)
    truth = random.random(3_000) < 0.3
    sensitivity, specificity = [0.9, 0.8, 0.6, 0.95], [0.95, 0.9, 0.7, 0.5]
    posts, raters, says = [], [], []
    for post, violates in enumerate(truth.tolist()):
        for rater in range(4):
            right = random.random() < (sensitivity if violates else specificity)[rater]
            posts.append(post)
            raters.append(rater)
            says.append(violates == right)
    found = dawid_skene(posts, raters, says)
    assert found.sensitivity == pytest.approx(sensitivity, abs=0.04)
    assert found.specificity == pytest.approx(specificity, abs=0.04)
    assert ((found.violates > 0.5) == truth).mean() > 0.9


def test_one_label_says_little_of_its_rater() -> None:
    found = dawid_skene([0, 0], [0, 1], [True, False])
    assert found.sensitivity.min() > 0.7
    assert found.sensitivity.max() < 0.9

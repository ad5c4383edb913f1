"""Who belongs to the audit, and with which label."""

from feedmill.events.label import Label
from feedmill.events.post import Post
from feedmill.training.continual.audit import AuditedPost, audited_posts, without_audit

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

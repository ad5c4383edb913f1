"""The records of `models`: what a worker folds, what is in force, where a rollback goes to."""

import json
from typing import Any

import pytest

from builders.records import StoredRecord
from feedmill.events.errors import UsageError
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.streams.releases.release_log import ListKey, ReleaseFold

MODELS = ("spam", "quality")


def release(offset: int, digit: str, key: bytes | None = b"spam") -> StoredRecord:
    value = json.dumps({"sha256": digit * 64, "answers": [0.5]}).encode()
    return StoredRecord(offset, key=key, value=value)


def test_the_last_five_releases_are_kept_the_newest_first() -> None:
    fold = ReleaseFold(MODELS)
    for offset in range(7):
        assert fold.apply(release(offset, "a")) == "spam"
    assert fold.apply(StoredRecord(7, key=b"spam", value=b"")) == "spam"
    assert fold.apply(release(8, "b", b"quality")) == "quality"
    found = [(one.offset, one.release and one.release.sha256) for one in fold.latest("spam")]
    assert found == [(7, None), *((offset, "a" * 64) for offset in (6, 5, 4, 3))]
    assert fold.latest("nsfw") == ()
    assert fold.offset == 8


def test_a_bad_record_is_refused_and_the_one_before_holds() -> None:
    fold = ReleaseFold(MODELS)
    fold.apply(release(0, "a"))
    assert fold.apply(release(1, "x")) is None
    assert fold.apply(release(2, "b", b"novelty")) is None
    assert fold.apply(release(3, "b", None)) is None
    assert [one.offset for one in fold.latest("spam")] == [0]
    assert fold.offset == 3
    reasons = [(one.model, one.offset, one.reason) for one in fold.refused]
    assert [offset for _, offset, _ in reasons] == [1, 2, 3]
    assert reasons[1][0] == "novelty"
    assert "one of spam, quality" in reasons[1][2]


def test_a_candidate_is_no_release_and_the_last_one_counts_until_a_release() -> None:
    fold = ReleaseFold((*MODELS, "engagement"))
    assert fold.candidate("spam") is None
    fold.apply(release(0, "a"))
    assert fold.apply(release(1, "b", b"candidate/spam")) == "candidate/spam"
    assert fold.apply(release(2, "c", b"candidate/spam")) == "candidate/spam"
    assert [one.offset for one in fold.latest("spam")] == [0]
    candidate = fold.candidate("spam")
    assert candidate is not None
    record = candidate.record
    assert (candidate.offset, record.version, record.core_share) == (2, "c" * 12, 0.05)
    assert (record.partitions, record.may_hide, record.may_demote) == (0, 0.01, 0.02)
    # No earlier candidate is tried where the last one cannot be.
    assert [one.offset for one in fold.latest("candidate/spam")] == [2]
    assert fold.apply(StoredRecord(3, key=b"candidate/spam", value=b"")) == "candidate/spam"
    assert fold.candidate("spam") is None
    fold.apply(release(4, "d", b"candidate/spam"))
    fold.apply(release(5, "e"))
    assert (fold.candidate("spam"), fold.last_candidate("spam")) == (None, None)
    assert fold.latest("candidate/spam") == ((5, None),)
    assert not fold.refused


def test_records_that_are_no_candidate_are_refused_by_name() -> None:
    fold = ReleaseFold((*MODELS, "engagement"))
    wrong: tuple[tuple[str, Any], ...] = (
        *(("shadow/spam", {}), ("canary/spam", {"partitions": 1, "after_ms": 9})),
        *(("candidate/novelty", {}), ("candidate/engagement", {}), ("candidate/spam", {"ends": 7})),
        *(
            ("candidate/spam", {name: share})
            for name in ("may_hide", "may_demote")
            for share in (-0.1, 1.1)
        ),
        *(("candidate/spam", {"partitions": -1}), ("candidate/spam", {"promotes": True})),
        ("spam", {"candidate": 7}),
    )
    for offset, (key, fields) in enumerate(wrong):
        value = json.dumps({"sha256": "a" * 64, "answers": [0.5], **fields}).encode()
        assert fold.apply(StoredRecord(offset, key=key.encode(), value=value)) is None
    assert [one.model for one in fold.refused] == [key for key, _ in wrong]
    reasons = [one.reason for one in fold.refused]
    assert reasons[0] == (
        "Expected the key `candidate/<model>`, got 'shadow/spam' of an earlier build - in the key"
    )
    assert "a model, one of spam, quality, got 'candidate/engagement'" in reasons[3]
    assert reasons[4] == "the candidate of `spam` that began at 7 is not under way"
    assert "$.may_hide" in reasons[5]
    assert "$.until_ms" in reasons[10]
    assert reasons[11] == reasons[4]


def test_a_list_is_no_release_of_a_model_and_its_last_records_are_kept() -> None:
    fold = ReleaseFold(MODELS)
    for offset in range(7):
        assert fold.apply(release(offset, "a", b"list/spam/bad")) == "list/spam/bad"
    fold.apply(StoredRecord(7, key=b"list/spam/bad", value=b""))
    assert fold.apply(release(8, "a", b"list/quality/bad")) is None
    assert fold.latest("spam") == ()
    found = [(one.offset, one.release is None) for one in fold.latest("list/spam/bad")]
    assert found == [(7, True), (6, False), (5, False), (4, False), (3, False)]
    assert [one.model for one in fold.refused] == ["list/quality/bad"]


A, B, SHIPPED = "a" * 64, "b" * 64, "c" * 64
BAD = ListKey("spam", "bad")


def value_of(sha256: str | None, **more: object) -> bytes | None:
    fields = {"sha256": sha256, "answers": [0.5], **more}
    return json.dumps(fields).encode() if sha256 else None


def records_of(key: bytes, *versions: str | None, **more: object) -> list[TopicRecord]:
    return [TopicRecord(n, 1, key, value_of(one, **more)) for n, one in enumerate(versions)]


def history(*versions: str | None, **more: object) -> ReleaseFold:
    other = TopicRecord(9, 1, b"other", b"")
    return ReleaseFold.of(("spam", "quality"), [other, *records_of(b"spam", *versions, **more)])


def list_history(*versions: str | None, key: bytes = b"list/spam/bad") -> ReleaseFold:
    """The history of a list, among records that are about none."""
    others = [(b"spam", b"{}"), (b"list/spam/bad", b"{}"), (b"list/ham/bad", None), (None, None)]
    records = [TopicRecord(90, 1, *one) for one in others]
    lists = [(one.offset, one.key, json.dumps({"sha256": v}).encode() if v else None)
             for one, v in zip(records_of(key, *versions), versions, strict=True)]  # fmt: skip
    return ReleaseFold.of(
        ("spam",), [*records, *(TopicRecord(n, 1, at, value) for n, at, value in lists)]
    )


@pytest.mark.parametrize(
    ("versions", "of_model", "of_list"),
    [
        ((A, B), 0, A),
        ((A, B, B), 0, A),
        ((A, B, A), 1, B),
        # Before the first release, and after one without a version, the shipped version ran.
        ((A,), -1, None),
        ((A, None), 0, A),
        ((None, A), 0, None),
        ((SHIPPED, A), 0, SHIPPED),
        ((A, SHIPPED, None), 0, SHIPPED),
        # Without its list a filter has none.
        ((A, B, None), 1, B),
    ],
)
def test_a_rollback_goes_to_the_last_release_of_another_version(
    versions: tuple[str | None, ...], of_model: int, of_list: str | None
) -> None:
    assert history(*versions).rollback_target("spam", None, SHIPPED).offset == of_model
    release = list_history(*versions).list_rollback_target(BAD)
    assert (release and release.sha256) == of_list


def test_a_list_is_in_force_until_it_is_withdrawn() -> None:
    assert {key: one.sha256 for key, one in list_history(A, B).lists_in_force().items()} == {BAD: B}
    assert list_history(A, None).lists_in_force() == {}
    assert list_history(A, None).last_lists() == {BAD: (1, None)}
    assert list_history(A, key=b"list/nsfw/x").lists_in_force().keys() == {ListKey("nsfw", "x")}


def test_a_rollback_needs_a_release_to_go_to() -> None:
    found = history(A, B).rollback_target("spam", 1, SHIPPED)
    assert found.release is not None
    assert found.release.sha256 == B
    with pytest.raises(UsageError, match="no release at offset 7"):
        history(A, B).rollback_target("spam", 7, SHIPPED)
    with pytest.raises(UsageError, match="`quality` has run no other version than cccccccccccc"):
        history(A, B).rollback_target("quality", None, SHIPPED)
    with pytest.raises(UsageError, match="`spam` has run no other version than cccccccccccc"):
        history(SHIPPED, None).rollback_target("spam", None, SHIPPED)
    with pytest.raises(UsageError, match="never released"):
        list_history(A).list_rollback_target(ListKey("nsfw", "bad"))


def test_a_frozen_model_says_by_whom_and_how_it_is_unfrozen() -> None:
    history(A).check_not_frozen("spam")
    history(None, frozen=True).check_not_frozen("spam")
    frozen = history(A, frozen=True, by="ann", note="election")
    with pytest.raises(UsageError, match=r"frozen at a{12} by ann \(election\); `feedmill models"):
        frozen.check_not_frozen("spam")


def test_a_candidate_is_no_release_and_is_known_after_it_was_stopped() -> None:
    named = TopicRecord(1, 1, b"candidate/spam", value_of(B, core_share=0.5))
    found = ReleaseFold.of(("spam",), [TopicRecord(0, 1, b"spam", value_of(A)), named])
    assert [entry.offset for entry in found.entries("spam")] == [0]
    candidate = found.candidate("spam")
    assert candidate is not None
    assert (candidate.record.sha256, candidate.record.core_share) == (B, 0.5)
    stopped = ReleaseFold.of(("spam",), [named, TopicRecord(2, 1, b"candidate/spam", b"")])
    assert stopped.candidate("spam") is None
    assert stopped.last_named("spam") == candidate.record
    assert history(A).last_named("spam") is None
    assert [row.what for row in stopped.rows("spam")] == ["scores in shadow", "candidate ends"]

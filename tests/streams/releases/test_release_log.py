"""How a worker folds the records of `models`."""

import json
from typing import Any

from builders.records import StoredRecord
from feedmill.streams.releases.release_log import ReleaseFold

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

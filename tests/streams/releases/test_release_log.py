"""How a worker folds the records of `models`."""

import json

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


def test_a_challenger_is_no_release_and_the_last_one_counts() -> None:
    fold = ReleaseFold(MODELS)
    assert fold.challenger("spam") == (-1, None)
    fold.apply(release(0, "a"))
    assert fold.apply(release(1, "b", b"shadow/spam")) == "shadow/spam"
    assert fold.apply(release(2, "c", b"shadow/spam")) == "shadow/spam"
    assert [one.offset for one in fold.latest("spam")] == [0]
    offset, challenger = fold.challenger("spam")
    assert offset == 2
    assert challenger is not None
    assert (challenger.version, challenger.core_share) == ("c" * 12, 0.05)
    assert fold.apply(release(3, "d", b"shadow/novelty")) is None
    assert fold.apply(StoredRecord(4, key=b"shadow/spam", value=b"")) == "shadow/spam"
    assert fold.challenger("spam") == (4, None)
    assert [one.model for one in fold.refused] == ["shadow/novelty"]


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

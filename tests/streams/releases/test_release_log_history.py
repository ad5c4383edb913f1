"""What is in force, where a rollback goes to, and what a frozen model refuses."""

import json

import pytest

from feedmill.events.errors import UsageError
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.streams.releases.release_log import ListKey, ReleaseFold

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

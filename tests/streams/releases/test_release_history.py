"""Where a rollback goes to, and what a frozen model refuses."""

import json

import pytest

from feedmill.events.errors import UsageError
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.streams.releases.release_history import ReleaseHistory

A, B = "a" * 64, "b" * 64


def value_of(sha256: str | None, **more: object) -> bytes | None:
    fields = {"sha256": sha256, "answers": [0.5], **more}
    return json.dumps(fields).encode() if sha256 else None


def history(*versions: str | None, **more: object) -> ReleaseHistory:
    records = [
        TopicRecord(
            offset,
            1,
            b"spam",
            value_of(sha256, **more),
        )
        for offset, sha256 in enumerate(versions)
    ]
    return ReleaseHistory(("spam", "quality"), [TopicRecord(9, 1, b"other", b""), *records])


@pytest.mark.parametrize(
    ("versions", "target"),
    [((A, B), 0), ((A, B, B), 0), ((A, None), 0), ((None, A), 0), ((A, B, A), 1), ((A,), None)],
)
def test_a_rollback_goes_to_the_last_release_of_another_version(
    versions: tuple[str | None, ...], target: int | None
) -> None:
    found = history(*versions).rollback_target("spam", None)
    assert (None if found is None else found.offset) == target


def test_a_rollback_to_an_offset_needs_a_release_there() -> None:
    found = history(A, B).rollback_target("spam", 1)
    assert found is not None
    assert found.release is not None
    assert found.release.sha256 == B
    with pytest.raises(UsageError, match="no release at offset 7"):
        history(A, B).rollback_target("spam", 7)
    with pytest.raises(UsageError, match="`quality` was never released"):
        history(A, B).rollback_target("quality", None)


def test_a_frozen_model_says_by_whom_and_how_it_is_unfrozen() -> None:
    history(A).check_not_frozen("spam")
    history(None, frozen=True).check_not_frozen("spam")
    frozen = history(A, frozen=True, by="ann", note="election")
    with pytest.raises(UsageError, match=r"frozen at a{12} by ann \(election\); `feedmill models"):
        frozen.check_not_frozen("spam")


def test_a_challenger_is_no_release_and_is_known_after_it_was_stopped() -> None:
    named = TopicRecord(0, 1, b"shadow/spam", value_of(B, core_share=0.5))
    found = ReleaseHistory(("spam",), [TopicRecord(1, 1, b"spam", value_of(A)), named])
    assert [entry.offset for entry in found.entries("spam")] == [1]
    offset, challenger = found.challenger("spam")
    assert offset == 0
    assert challenger is not None
    assert (challenger.sha256, challenger.core_share) == (B, 0.5)
    stopped = ReleaseHistory(("spam",), [named, TopicRecord(1, 1, b"shadow/spam", b"")])
    assert stopped.challenger("spam") == (1, None)
    assert stopped.last_challenger("spam") == challenger
    assert history(A).last_challenger("spam") is None

"""Which lists are in force, and where a rollback goes to."""

import json

import pytest

from feedmill.events.errors import UsageError
from feedmill.streams.kafka.topic_reader import TopicRecord
from feedmill.streams.releases.release_history import ListHistory
from feedmill.streams.releases.release_log import ListKey

A, B = "a" * 64, "b" * 64
BAD = ListKey("spam", "bad")


def history(*versions: str | None, key: str = "list/spam/bad") -> ListHistory:
    values = [json.dumps({"sha256": one}).encode() if one else None for one in versions]
    records = [TopicRecord(n, 1, key.encode(), value) for n, value in enumerate(values)]
    others = [(b"spam", b"{}"), (b"list/spam/bad", b"{}"), (b"list/ham/bad", None), (None, None)]
    return ListHistory([*(TopicRecord(90, 1, *one) for one in others), *records])


@pytest.mark.parametrize(
    ("versions", "target"),
    [
        ((A, B), A),
        ((A, B, B), A),
        ((A, B, A), B),
        ((A,), None),
        ((A, None), A),
        ((A, B, None), B),
        ((None,), None),
    ],
)
def test_a_rollback_goes_to_the_last_other_version(
    versions: tuple[str | None, ...], target: str | None
) -> None:
    found = history(*versions).rollback_target(BAD)
    assert (found and found.sha256) == target


def test_a_list_is_in_force_until_it_is_withdrawn() -> None:
    assert {key: one.sha256 for key, one in history(A, B).in_force().items()} == {BAD: B}
    assert history(A, None).in_force() == {}
    assert history(A, key="list/nsfw/x").in_force().keys() == {ListKey("nsfw", "x")}


def test_a_list_that_was_never_released_has_nothing_before_it() -> None:
    with pytest.raises(UsageError, match="never released"):
        history(A).rollback_target(ListKey("nsfw", "bad"))

"""What token a record of `feed-shards` is worth."""

import pytest

from feedmill.streams.kafka.batches import FetchedRecord
from feedmill.streams.ranking.ranking_claim import token_of

AT_MS = 1_700_000_000_000


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (b'{"instance": "one", "above": 5}', AT_MS),
        (b'{"instance": "one", "above": 1700000000000}', AT_MS + 1),
        (b'{"instance": "one", "above": 1800000000000}', 1_800_000_000_001),
        # What Lua cannot hold, and what is no claim.
        (b'{"instance": "one", "above": 9007199254740992}', AT_MS),
        (b'{"instance": "one", "above": "1800000000000"}', AT_MS),
        (b"one", AT_MS),
        (None, AT_MS),
    ],
)
def test_a_token_is_the_time_of_the_claim_or_above_those_before(
    value: bytes | None, token: int
) -> None:
    assert token_of(FetchedRecord(0, AT_MS, b"one/1", value)) == token

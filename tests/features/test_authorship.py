from hashlib import blake2b

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from feedmill.events.post import Post
from feedmill.features.authorship import (
    UNKNOWN_AUTHOR,
    UNKNOWN_HOUR,
    author_key,
    author_keys,
    hours_of_day,
)

HOUR_MS = 3_600_000
MIDNIGHT_MS = 1_700_006_400_000


def post(created_at_ms: int, author_id: str = "ann") -> Post:
    return Post("p", author_id, created_at_ms, "text")


def test_the_hour_is_that_of_the_creation_in_utc() -> None:
    at_ms = [
        MIDNIGHT_MS,
        MIDNIGHT_MS + HOUR_MS - 1,
        MIDNIGHT_MS + HOUR_MS,
        MIDNIGHT_MS + 24 * HOUR_MS - 1,
    ]
    found = hours_of_day([post(one) for one in at_ms])
    assert found.tolist() == [0, 0, 1, 23]
    assert found.dtype == np.int8
    assert hours_of_day([]).shape == (0,)


def test_a_post_without_a_time_has_no_hour() -> None:
    found = hours_of_day([post(0), post(201_446), post(24 * HOUR_MS - 1), post(24 * HOUR_MS)])
    assert found.tolist() == [UNKNOWN_HOUR, UNKNOWN_HOUR, UNKNOWN_HOUR, 0]


@given(st.text(max_size=40))
def test_a_key_is_the_same_in_every_process_and_never_that_of_nobody(author_id: str) -> None:
    key = author_key(author_id)
    digest = blake2b(author_id.encode("utf-8", "replace"), digest_size=8).hexdigest()
    assert key == int(digest, 16) % (2**63 - 1) + 1
    assert UNKNOWN_AUTHOR < key < 2**63


def test_keys_of_posts_are_those_of_their_authors() -> None:
    keys = author_keys([post(1, "ann"), post(2, "bob"), post(3, "ann")])
    assert keys.tolist() == [author_key("ann"), author_key("bob"), author_key("ann")]
    assert keys[0] != keys[1]

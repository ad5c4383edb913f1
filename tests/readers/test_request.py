"""Bodies of page requests: ids that come twice count once, and keys that come twice are refused."""

import pytest

from feedmill.events.reader_bounds import ReaderBounds
from feedmill.readers.request import BadRequest, decode_request


def test_a_repeated_id_counts_once_where_it_came_first() -> None:
    request = decode_request(
        b'{"authors":["b","a","b"],"communities":["y","x","y","x"],'
        b'"mute":{"authors":["d","c","d"],"communities":["z","z"]}}',
        ReaderBounds(),
    )
    assert request.authors == ("b", "a")
    assert request.communities == ("y", "x")
    assert request.mute.authors == ("d", "c")
    assert request.mute.communities == ("z",)


@pytest.mark.parametrize(
    ("body", "key"),
    [
        (b'{"count":5,"count":6}', "count"),
        (b'{"count":5,"\\u0063ount":5}', "count"),
        (b'{"mute":{"authors":["a"],"authors":["b"]}}', "authors"),
    ],
)
def test_a_repeated_key_is_refused_by_its_name(body: bytes, key: str) -> None:
    with pytest.raises(BadRequest, match=f"each key of an object once, got '{key}' again"):
        decode_request(body, ReaderBounds())


def test_lists_that_are_left_out_and_empty_lists_stay_what_they_are() -> None:
    request = decode_request(b'{"authors":[]}', ReaderBounds())
    assert request.authors == ()
    assert request.communities is None

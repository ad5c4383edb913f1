"""The version of a post as Redis has it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmill.rankers.combiner.post_field import PostVersion, decode_post, encode_post

TIMES = st.integers(0, 2**53 - 1)
VERSIONS = st.builds(PostVersion, st.integers(0, 2**63 - 1), TIMES, TIMES)


@given(version=VERSIONS)
def test_what_is_written_is_read(version: PostVersion) -> None:
    assert decode_post({"post": encode_post(version)}) == version


def test_a_person_can_read_it() -> None:
    version = PostVersion(1045, 1_795_541_438_542, 1_795_541_438_554)
    assert encode_post(version) == "1045 1795541438542 12"


def test_a_post_without_the_field_is_not_known() -> None:
    assert decode_post({"author_id": "ann"}) == PostVersion(-1, 0, 0)


@pytest.mark.parametrize("text", ["7", "7 1", "7 1 2 3", "seven 1 2", "7 1 "])
def test_another_text_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match=r"unpack|invalid literal"):
        decode_post({"post": text})

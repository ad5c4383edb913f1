"""Signals as `signals:<post_id>` has them: nothing is lost, and usually nothing is long."""

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.contract_score import truth_of
from feedmill.events.signal import RULE_MODEL
from feedmill.rankers.combiner.signal_columns import StoredSignal, short_version
from feedmill.rankers.combiner.signal_hash import (
    PostVersion,
    decode_post,
    decode_signal,
    encode_post,
    encode_signal,
    fields_of_signal,
)

ARRIVED_MS = 1_700_000_000_000
LATE_MS = 12
HASH_MAX_LISTPACK_VALUE = 64

MODELS = st.one_of(st.sampled_from(["spam", RULE_MODEL, "a@b", "100%", "", "rule:x"]), st.text())
VERSIONS = st.one_of(
    st.sampled_from(["56e6e21cd4ce", "rule:x", "v@1", "v 5 @3", "7", "", " "]), st.text()
)
OFFSETS = st.integers(0, 2**63 - 1)
SIGNALS = st.builds(
    StoredSignal,
    value=st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
    model=MODELS,
    version=VERSIONS,
    post_offset=OFFSETS,
    at_ms=st.integers(0, 2**53 - 1),
    error=st.none() | st.text(min_size=1),
    revision=st.just(0),
)


def fields_of(signal: StoredSignal | None, post_offset: int, arrived_ms: int) -> dict[str, str]:
    fields = fields_of_signal("spam", signal, post_offset, arrived_ms)
    return {
        "post": encode_post(PostVersion(post_offset, arrived_ms - LATE_MS, arrived_ms)),
        **fields,
    }


def version_read(signal: StoredSignal) -> str:
    """The version that is read back; the name of a rule is never cut."""
    return signal.version if signal.model == RULE_MODEL else short_version(signal.version)


@given(signal=SIGNALS, post_offset=OFFSETS, arrived_ms=st.integers(0, 2**53 - 1))
def test_what_is_written_is_read(signal: StoredSignal, post_offset: int, arrived_ms: int) -> None:
    fields = fields_of(signal, post_offset, arrived_ms)
    assert decode_signal("spam", fields) == signal._replace(version=version_read(signal))
    assert decode_post(fields) == PostVersion(post_offset, arrived_ms - LATE_MS, arrived_ms)


@given(signal=SIGNALS, post_offset=OFFSETS)
def test_anyone_can_read_it_by_the_contract(signal: StoredSignal, post_offset: int) -> None:
    named = signal._replace(model="spam", version="v 1")
    assert truth_of(fields_of(named, post_offset, ARRIVED_MS))["spam"] == {
        "value": named.value,
        "model": "spam",
        "version": "v 1",
        "post_offset": named.post_offset,
        "at_ms": named.at_ms,
        **({} if named.error is None else {"error": named.error}),
    }


@given(signal=SIGNALS)
def test_a_signal_of_the_posts_own_version_is_read_back_too(signal: StoredSignal) -> None:
    fields = fields_of(signal, signal.post_offset, ARRIVED_MS)
    assert "@" not in fields["spam"].rpartition(" ")[2]
    assert decode_signal("spam", fields) == signal._replace(version=version_read(signal))


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({}, "0.0123 56e6e2 41"),
        ({"post_offset": 1045}, "0.0123 56e6e2 41 @1045"),
        ({"value": None, "error": "no memory"}, "null 56e6e2 41"),
        ({"at_ms": ARRIVED_MS - 5}, "0.0123 56e6e2 -5"),
        (
            {"model": RULE_MODEL, "version": "casino-links", "value": 1.0},
            "1.0 rule:casino-links 41",
        ),
        ({"model": "other", "version": "7"}, "0.0123 other@7 41"),
    ],
)
def test_a_person_can_read_it(changed: dict[str, Any], text: str) -> None:
    usual = {"value": float(np.float32(0.0123)), "model": "spam", "version": "56e6e21cd4ce"}
    signal = StoredSignal(**{**usual, "post_offset": 1046, "at_ms": ARRIVED_MS + 41, **changed})
    assert encode_signal("spam", signal, 1046, ARRIVED_MS) == text
    version = PostVersion(1045, 1_795_541_438_542, 1_795_541_438_554)
    assert encode_post(version) == "1045 1795541438542 12"


@given(
    value=st.floats(width=32, allow_nan=False, allow_infinity=False), late_ms=st.integers(0, 10**10)
)
def test_signals_of_shipped_models_keep_the_hash_compact(value: float, late_ms: int) -> None:
    signal = StoredSignal(value, "spam", "56e6e21cd4ce", 2**40, ARRIVED_MS + late_ms)
    of_another_version = encode_signal("spam", signal, 2**40 + 1, ARRIVED_MS)
    assert len(of_another_version) <= HASH_MAX_LISTPACK_VALUE


def test_a_signal_that_is_not_there_removes_its_fields() -> None:
    assert fields_of_signal("spam", None, 7, ARRIVED_MS) == {"spam": "", "spam.error": ""}
    assert decode_signal("spam", {"post": "7 1 0"}) is None
    assert decode_post({"author_id": "ann"}) == PostVersion(-1, 0, 0)
    fine = StoredSignal(0.5, "spam", "1", 7, ARRIVED_MS)
    assert fields_of_signal("spam", fine, 7, ARRIVED_MS)["spam.error"] == ""


@pytest.mark.parametrize("text", ["", "0.5", "0.5 v", "half v +1", "0.5 v 1 @x", "0.5 v one"])
def test_another_text_is_no_signal(text: str) -> None:
    if text:
        with pytest.raises(ValueError, match=re.compile("invalid literal|convert")):
            decode_signal("spam", {"spam": text})
    else:
        assert decode_signal("spam", {"spam": text}) is None


@pytest.mark.parametrize("text", ["7", "7 1", "7 1 2 3", "seven 1 2", "7 1 "])
def test_another_text_is_no_version_of_a_post(text: str) -> None:
    with pytest.raises(ValueError, match=r"unpack|invalid literal"):
        decode_post({"post": text})


@pytest.mark.parametrize(
    "version",
    ["", "56e6e2", "56e6e21cd4c", "56e6e21cd4ce0", "56E6E21CD4CE", "56e6e21cd4ce\n", "v1"],
)
def test_a_version_of_other_than_twelve_digits_is_whole(version: str) -> None:
    assert short_version(version) == version

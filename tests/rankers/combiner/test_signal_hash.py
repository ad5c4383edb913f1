"""Signals as `signals:<post_id>` has them: nothing is lost, and usually nothing is long."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.contract_score import truth_of
from feedmill.events.signal import RULE_MODEL
from feedmill.rankers.combiner.signal_hash import (
    SignalSnapshot,
    decode_signal,
    encode_signal,
    fields_of_signal,
)

CREATED_MS = 1_700_000_000_000
HASH_MAX_LISTPACK_VALUE = 64

MODELS = st.one_of(st.sampled_from(["spam", RULE_MODEL, "a@b", "100%", "", "rule:x"]), st.text())
VERSIONS = st.one_of(
    st.sampled_from(["56e6e21cd4ce", "rule:x", "v@1", "v +5 @3", "", " "]), st.text()
)
OFFSETS = st.integers(0, 2**63 - 1)
SIGNALS = st.builds(
    SignalSnapshot,
    value=st.none() | st.floats(width=32, allow_nan=False, allow_infinity=False),
    model=MODELS,
    version=VERSIONS,
    post_offset=OFFSETS,
    at_ms=st.integers(0, 2**53 - 1),
    error=st.none() | st.text(min_size=1),
)


def fields_of(signal: SignalSnapshot | None, post_offset: int, created_ms: int) -> dict[str, str]:
    fields = fields_of_signal("spam", signal, post_offset, created_ms)
    return {"post_offset": str(post_offset), "created_ms": str(created_ms), **fields}


@given(signal=SIGNALS, post_offset=OFFSETS, created_ms=st.integers(0, 2**53 - 1))
def test_what_is_written_is_read(signal: SignalSnapshot, post_offset: int, created_ms: int) -> None:
    assert decode_signal("spam", fields_of(signal, post_offset, created_ms)) == signal


@given(signal=SIGNALS, post_offset=OFFSETS)
def test_anyone_can_read_it_by_the_contract(signal: SignalSnapshot, post_offset: int) -> None:
    named = replace(signal, model="spam", version="v 1")
    assert truth_of(fields_of(named, post_offset, CREATED_MS))["spam"] == {
        "value": named.value,
        "model": "spam",
        "version": "v 1",
        "post_offset": named.post_offset,
        "at_ms": named.at_ms,
        **({} if named.error is None else {"error": named.error}),
    }


@given(signal=SIGNALS)
def test_a_signal_of_the_posts_own_version_is_read_back_too(signal: SignalSnapshot) -> None:
    fields = fields_of(signal, signal.post_offset, CREATED_MS)
    assert "@" not in fields["spam"].rpartition(" ")[2]
    assert decode_signal("spam", fields) == signal


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({}, "0.0123 56e6e21cd4ce +41"),
        ({"post_offset": 1045}, "0.0123 56e6e21cd4ce +41 @1045"),
        ({"value": None, "error": "no memory"}, "null 56e6e21cd4ce +41"),
        ({"at_ms": CREATED_MS - 5}, "0.0123 56e6e21cd4ce -5"),
        (
            {"model": RULE_MODEL, "version": "casino-links", "value": 1.0},
            "1.0 rule:casino-links +41",
        ),
        ({"model": "other", "version": "7"}, "0.0123 other@7 +41"),
    ],
)
def test_a_person_can_read_it(changed: dict[str, Any], text: str) -> None:
    usual = {"value": float(np.float32(0.0123)), "model": "spam", "version": "56e6e21cd4ce"}
    signal = SignalSnapshot(**{**usual, "post_offset": 1046, "at_ms": CREATED_MS + 41, **changed})
    assert encode_signal("spam", signal, 1046, CREATED_MS) == text


@given(
    value=st.floats(width=32, allow_nan=False, allow_infinity=False), late_ms=st.integers(0, 10**10)
)
def test_signals_of_shipped_models_keep_the_hash_compact(value: float, late_ms: int) -> None:
    signal = SignalSnapshot(value, "spam", "56e6e21cd4ce", 2**40, CREATED_MS + late_ms)
    of_another_version = encode_signal("spam", signal, 2**40 + 1, CREATED_MS)
    assert len(of_another_version) <= HASH_MAX_LISTPACK_VALUE


def test_a_signal_that_is_not_there_removes_its_fields() -> None:
    assert fields_of_signal("spam", None, 7, CREATED_MS) == {"spam": "", "spam.error": ""}
    assert decode_signal("spam", {"post_offset": "7", "created_ms": "1"}) is None
    fine = SignalSnapshot(0.5, "spam", "1", 7, CREATED_MS)
    assert fields_of_signal("spam", fine, 7, CREATED_MS)["spam.error"] == ""


@pytest.mark.parametrize("text", ["", "0.5", "0.5 v", "half v +1", "0.5 v 1 @x"])
def test_another_text_is_no_signal(text: str) -> None:
    if text:
        with pytest.raises(ValueError, match=re.compile("invalid literal|convert")):
            decode_signal("spam", {"spam": text})
    else:
        assert decode_signal("spam", {"spam": text}) is None

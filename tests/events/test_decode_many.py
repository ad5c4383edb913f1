import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedmill.events.decode import decode_posts, decode_signal, decode_signals, encode
from feedmill.events.errors import BadEvent
from feedmill.events.post import Post
from feedmill.events.signal import ModelVerdict, Signal, SignalNames

NAMES = SignalNames.parse("extreme:gate,novelty:objective")
Records = list[tuple[bytes | None, bytes | None]]


def posts(*changed: dict[str, Any]) -> Records:
    fields = {"author_id": "a", "created_at_ms": 1_700_000_000_001, "text": "x"}
    events = [{"post_id": f"p{i}", **fields, **one} for i, one in enumerate(changed)]
    return [(event["post_id"].encode(), json.dumps(event).encode()) for event in events]


def signals(*changed: dict[str, Any]) -> Records:
    fields = {"post_offset": 3, "value": 0.5, "model": "m", "version": "v", "at_ms": 1}
    events = [{"post_id": f"p{i}", **fields, **one} for i, one in enumerate(changed)]
    return [(event["post_id"].encode(), json.dumps(event).encode()) for event in events]


def many_posts(records: Records) -> list[Post] | None:
    return decode_posts([key for key, _ in records], [value for _, value in records])


def many_signals(records: Records, name: str = "spam") -> list[Signal] | None:
    keys, values = [key for key, _ in records], [value for _, value in records]
    return decode_signals(name, NAMES, keys, values)


@pytest.mark.parametrize(
    "unusual",
    [
        {"deleted": True},
        {"author_id": "a b"},
        {"author_id": "a\nb"},
        {"author_id": ""},
        {"author_id": "a" * 257},
        {"author_id": "ä"},
        {"author_id": "a|b"},
        {"author_id": "a\x7f"},
        {"in_reply_to": "q{"},
        {"lang": "e n"},
        {"tenant": "t/u"},
        {"communities": ["a", "b c"]},
        {"communities": ["ok", ""]},
        {"text": 5},
        {"created_at_ms": -1},
    ],
)
def test_a_post_that_is_refused_or_unusual_leaves_all_to_the_slower_way(
    unusual: dict[str, Any],
) -> None:
    assert many_posts(posts({}, {}, {})) is not None
    assert many_posts(posts({}, unusual, {})) is None


@pytest.mark.parametrize("broken", [(b"p9", None), (b"p9", b""), (None, b"{}"), (b"p9", b"{")])
def test_a_record_without_key_or_value_leaves_all_to_the_slower_way(
    broken: tuple[bytes | None, bytes | None],
) -> None:
    assert many_posts([*posts({}, {}), broken]) is None
    assert many_signals([*signals({}, {}), broken]) is None


def test_keys_are_those_of_the_events() -> None:
    for records, decode in ((posts({}, {}), many_posts), (signals({}, {}), many_signals)):
        (first, one), (second, other) = records
        assert decode([(first, one), (second, other)]) is not None
        assert decode([(second, one), (first, other)]) is None
        assert decode([(b"p0\np1", one), (b"", other)]) is None
        assert decode([(first, one), (None, other)]) is None


def test_signals_are_those_that_are_decoded_one_by_one() -> None:
    longest = {"model": "m" * 256, "version": "é" * 256}
    records = signals({}, {"value": 0}, {"value": 1.0, "revision": 7, "reason": None}, longest)
    records += signals({"mood": []})
    expected = [decode_signal("spam", NAMES, key, value or b"") for key, value in records]
    assert many_signals(records) == expected
    wide = signals({"value": -2.5}, {"value": 1e30})
    assert many_signals(wide, "novelty") is not None
    assert many_signals(wide, "quality") is None


@pytest.mark.parametrize(
    "unusual",
    [
        {"value": 1.5},
        {"value": -0.1},
        {"value": None},
        {"value": None, "error": "x"},
        {"post_id": "p 1"},
        {"post_offset": -1},
        {"error": "{"},
        {"model": "m" * 257},
        {"version": "v" * 257},
        {"overruled": {"value": 0.1, "model": "m", "version": "v"}},
    ],
)
def test_a_signal_that_is_refused_or_unusual_leaves_all_to_the_slower_way(
    unusual: dict[str, Any],
) -> None:
    assert many_signals(signals({}, unusual, {})) is None


def test_values_that_are_json_only_together_are_refused() -> None:
    head = b'"post_offset":3,"value":0.5,"model":"m","version":"v","at_ms":1'
    for first, second in (
        # Two objects in the first, the last of which ends in the second.
        (b'{"post_id":"p0",%s},{"post_id":"p1"' % head, b"%s}" % head),
        (b'{"post_id":"p0",%s},\n{"post_id":"p1"' % head, b"%s}" % head),
        # A text, a list or an object of an unknown field from the one into the other.
        (b'{"post_id":"p0",%s},{"post_id":"p1",%s,"x":"}' % (head, head), b'{"}'),
        (b'{"post_id":"p0",%s},{"post_id":"p1",%s,"x":[{}' % (head, head), b"{}]}"),
        (b'{"post_id":"p0",%s},{"post_id":"p1","x":{}' % head, b'"y":{},%s}' % head),
        (b'{"post_id":"p0",%s},\n{"post_id":"p1",%s}' % (head, head), b" "),
    ):
        assert many_signals([(b"p0", first), (b"p1", second)]) is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(0, 1) | st.text('{},"\n[]x', max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=4,
)


@st.composite
def _cut_signals(draw: st.DrawFn) -> Records:
    """Records of signals, some with odd fields, whose bytes may be cut elsewhere than between."""
    odd = st.dictionaries(st.sampled_from(["x", "error", "value", "overruled"]), _JSON, max_size=2)
    records = signals(*draw(st.lists(odd, min_size=1, max_size=4)))
    joined = b",".join(value or b"" for _, value in records)
    if draw(st.booleans()):
        return records
    cuts = sorted(draw(st.lists(st.integers(0, len(joined)), max_size=4)))
    parts = [joined[a:b] for a, b in zip([0, *cuts], [*cuts, len(joined)], strict=True)]
    return [(key, part) for (key, _), part in zip(records, parts, strict=False)]


@given(_cut_signals())
def test_many_signals_are_accepted_only_if_each_is(records: Records) -> None:
    found = many_signals(records)
    if found is None:
        return
    try:
        one_by_one = [decode_signal("spam", NAMES, key, value or b"") for key, value in records]
    except BadEvent as error:
        pytest.fail(f"{records} were accepted together: {error}")
    assert found == one_by_one


def test_a_signal_under_a_rule_is_read_as_before() -> None:
    overruled = ModelVerdict(0.25, "spam", "v1")
    signal = Signal("p0", 1, 1.0, "rule", "r", 1, overruled=overruled)
    assert many_signals([(b"p0", encode(signal))]) is None

"""What the decoders of events refuse, and with which reasons: `refused_events.txt`."""

from collections.abc import Callable, Iterator
from typing import Any

from builders.encoded import bytes_of
from builders.golden import Golden
from builders.refusals import Refusals
from feedmill.events import decode, limits, override, signal
from feedmill.events.errors import BadEvent
from feedmill.events.signal import SignalNames

NAMES = SignalNames.parse("extreme:gate,novelty:objective")
POST = {"post_id": "p", "author_id": "a", "created_at_ms": 1_700_000_000_001, "text": "x"}
ENGAGEMENT = {"post_id": "p", "user_id": "u", "kind": "like", "at_ms": 1_700_000_000_001}
EXPOSURE = {
    **{"user_id": "u", "experiment": "e", "arm": "b", "feed": "global", "version": 1},
    **{"first": 0, "count": 10, "at_ms": 1_700_000_000_001},
}
SIGNAL = {"post_id": "p", "post_offset": 3, "value": 0.5, "model": "m", "version": "v", "at_ms": 1}
OVERRIDE = {"verdict": "hide", "by": "ann", "reason": "", "at_ms": 1}
LABEL = {"post_id": "p", "target": "spam", "value": 1, "source": "rater", "at_ms": 1}
INSTANCE: dict[str, Any] = {
    **{"stage": "spam", "instance": "i", "host": "h", "pid": 1, "build": "b"},
    **{"config_offset": -1, "refused": [], "models": {}, "ready": True, "lag": 0, "at_ms": 1},
}

RELEASE: dict[str, Any] = {"sha256": "a" * 64, "answers": [0.5]}

Decode = Callable[[bytes | None, bytes | None], object]


def of_signal(name: str) -> Decode:
    return lambda key, value: decode.decode_signal(name, NAMES, key, value or b"")


DECODERS: dict[str, Decode] = {
    "posts": decode.decode_post,
    "engagements": decode.decode_engagement,
    "exposures": decode.decode_exposure,
    "overrides": lambda key, value: decode.decode_override(NAMES, key, value),
    "labels": decode.decode_label,
    "models": lambda key, value: decode.decode_release(("spam", "quality"), key, value),
    "candidates": lambda key, value: decode.decode_candidate(("spam", "quality"), key, value),
    "lists": lambda key, value: decode.decode_list_release(("spam", "nsfw"), key, value),
    "instances": lambda _, value: decode.decode_instance(value or b""),
    **{f"signals.{name}": of_signal(name) for name in (*NAMES.all,)},
}

# By topic the valid event and its key, and the fields that are changed, one refusal each; a field
# that is changed to `...` is left out.
CHANGES: dict[str, tuple[bytes, dict[str, Any], list[dict[str, Any]]]] = {
    "posts": (
        b"p",
        POST,
        [
            *({name: ...} for name in POST),
            {"text": None},
            {"text": "x" * 20_001},
            *({"created_at_ms": v} for v in ("1", True, 1.5, 1.0, -1, 2**53, 10**40)),
            {"created_at_ms": 1_700_000_000},
            *({"author_id": v} for v in ("a b", "a\nb", "a\n", "", "a|b", "a{b}")),
            *({"author_id": v} for v in ("a\u00a0b", "a\u0085b", "a\u200bb", "é" * 129, "a" * 257)),
            {"in_reply_to": "\u202eq"},
            {"links": ["x"] * 33},
            {"links": ["x", 1]},
            {"communities": ["c"] * 17},
            {"communities": ["a b"]},
            {"self_labels": ["x"] * 17},
            {"lang": "e n"},
            {"lang": "en\n"},
            {"tenant": "x" * 65},
            {"media": [{"url": "u"}]},
            {"media": [{"url": "u", "kind": "image", "sha256": "d41d8cd9"}]},
            {"media": [{"url": "u", "kind": "image"}] * 17},
            {"deleted": "yes"},
        ],
    ),
    "engagements": (
        b"p",
        ENGAGEMENT,
        [
            {"kind": "love"},
            {"user_id": ...},
            {"user_id": "u|v"},
            {"user_id": "\u200d"},
            {"at_ms": -5},
            {"at_ms": 1_700_000_000},
            {"position": -1},
            {"dwell_ms": -1},
            {"dwell_ms": True},
            {"dwell_ms": 1e9},
            {"feed_version": 2**53},
        ],
    ),
    "exposures": (
        b"u",
        EXPOSURE,
        [
            *({name: ...} for name in EXPOSURE),
            {"user_id": "u v"},
            {"experiment": "a b"},
            {"arm": ""},
            {"served": "a|b"},
            {"feed": "x:y"},
            {"version": -1},
            {"first": 10_001},
            {"count": 0},
            {"count": 10_001},
            {"at_ms": 1_700_000_000},
        ],
    ),
    "signals.spam": (
        b"p",
        SIGNAL,
        [
            *({"value": value} for value in (1.5, None, ..., True, "0.5")),
            {"overruled": {"value": 2.0, "model": "spam", "version": "v"}},
            {"overruled": {"value": None, "model": "spam", "version": "v"}},
            {"post_offset": -1},
            {"post_offset": 1.0},
            {"model": "m" * 5000},
        ],
    ),
    "signals.quality": (b"p", SIGNAL, [{"value": -0.1}]),
    "signals.extreme": (b"p", SIGNAL, [{"value": 2}]),
    "signals.novelty": (b"p", SIGNAL, [{"value": 1e39}]),
    "overrides": (
        b"author:a|*",
        OVERRIDE,
        [{"verdict": "ban"}, {"by": ...}, {"post_offset": 3}, {"expires_at_ms": "soon"}],
    ),
    "labels": (b"p", LABEL, [{"target": "engagement"}, {"value": 1.5}, {"source": ...}]),
    "instances": (b"", INSTANCE, [{"ready": ...}, {"pid": "1"}, {"refused": [{"key": "weights"}]}]),
    "models": (
        b"spam",
        RELEASE,
        [
            *({name: ...} for name in RELEASE),
            *({"sha256": v} for v in ("a" * 63, "A" * 64, "../" + "a" * 61, 1)),
            *({"answers": v} for v in ([], [1.5], ["x"], [0.5] * 257)),
            {"frozen": 1},
        ],
    ),
    "candidates": (
        b"candidate/spam",
        {**RELEASE, "partitions": 2},
        [
            *({"sha256": "A" * 64}, {"answers": ...}, {"promotes": True}, {"promotes": 1}),
            *({"partitions": v} for v in (-1, 100_001, "a")),
            *({"core_share": v} for v in (0, 1.5, "a")),
            *({name: v} for name in ("may_hide", "may_demote") for v in (-0.1, 1.5, "a")),
            *({"until_ms": v} for v in (-1, "soon")),
            *({"ends": v} for v in (-1, "x")),
            {"reason": "r" * 5000},
        ],
    ),
}

# Records that are no JSON object of the right kind, or whose key is wrong.
RECORDS: list[tuple[str, bytes | None, bytes | None]] = [
    *(
        ("posts", b"p", value)
        for value in (
            b'{"post_id":"p","author_id":"a","created_at_ms":1700000000001,"text":"\xc3\x28"}',
            b'{"post_id":"p","author_id":"a","created_at_ms":NaN,"text":"x"}',
            b'{"post_id":"p","author_id":"a","created_at_ms":1e400,"text":"x"}',
            b'{"post_id":"p","author_id":"\\ud800","created_at_ms":1700000000001,"text":"x"}',
            b'{"post_id":"p","author_id":"a","created_at_ms":1700000000001,"text":"x"} trailing',
            b'{"post_id":"p","author_id":"a","created_at_ms":1700000000001,"text":"x"',
            b'{"post_id":"p","text":5,"z":' + b"[" * 200_000,
            b'{"post_id":"p","author_id":"a","created_at_ms":1700000000001,"z":'
            + b'{"a":' * 200_000,
            b'{"post_id":"p","deleted":false}',
            b'{"post_id":"p","deleted":1}',
            b"[" * 900_000,
            b"[]",
            b"null",
            b" ",
        )
    ),
    ("posts", b"q", b'{"post_id":"p","deleted":true}'),
    ("posts", b"a b", None),
    ("posts", b"a\nb", None),
    ("posts", b"k" * 257, None),
    ("posts", b"a\xe2\x80\x8bb", None),
    ("posts", b"\xff", None),
    ("posts", None, None),
    *(("models", key, bytes_of(RELEASE)) for key in (b"nsfw", b"../spam", b"\xff", None)),
    ("models", b"shadow/spam", bytes_of(RELEASE)),
    *(
        ("lists", key, b'{"sha256":"%s"}' % (b"a" * 64))
        for key in (b"list/spam", b"list/spam/", b"list/quality/a", b"list/spam/../a", None)
    ),
    *(("lists", b"list/spam/a", value) for value in (b"{}", b'{"sha256":"%s"}' % (b"A" * 64))),
    *(("posts", key, bytes_of(POST)) for key in (b"q", b"p ", b"\xff", None)),
    *((topic, b"q", bytes_of(event)) for topic, event in (("engagements", ENGAGEMENT),)),
    ("exposures", b"q", bytes_of(EXPOSURE)),
    ("signals.spam", b"q", bytes_of(SIGNAL)),
    ("labels", b"q", bytes_of(LABEL)),
    *((topic, b"p", None) for topic in ("engagements", "labels", "instances")),
    *(
        ("overrides", key, bytes_of(OVERRIDE))
        for key in (None, b"\xff|spam", b"post:p", b"post:p|a|b", b"p|spam", b"post:|spam")
    ),
    *(
        ("overrides", key, bytes_of(OVERRIDE))
        for key in (b"user:p|spam", b"post:a b|spam", b"post:p|quality", b"post:p|")
    ),
    ("overrides", b"k" * 900_000, None),
    # What neither decides nor withdraws.
    *(
        ("overrides", b"post:p|*", value)
        for value in (b"{}", b"null", b'{"value":0}', b'{"value":null,"by":7}', b'{"by":"ann"}')
    ),
]


def records() -> Iterator[tuple[str, str, bytes | None, bytes | None]]:
    """Title, topic, key and value of each refused record."""
    for topic, (key, event, changes) in CHANGES.items():
        for changed in changes:
            fields = ", ".join(
                f"`{name}` left out" if value is ... else f"`{name}` {_short(value)}"
                for name, value in changed.items()
            )
            yield f"{topic}: {fields}", topic, key, bytes_of(event, **changed)
    for topic, key_or_none, value in RECORDS:
        title = f"{topic}: key {_short(key_or_none)}, value {_short(value)}"
        yield title, topic, key_or_none, value


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 76 else f"{text[:60]}… of {len(text)} characters"


def test_records_are_refused_with_path_expected_and_found(golden: Golden) -> None:
    refusals = Refusals(BadEvent, decode, limits, override, signal)
    for title, topic, key, value in records():
        reason = refusals.add(title, DECODERS[topic], key, value)
        assert len(reason) < 300, title
    golden.check("refused_events.txt", refusals.text())
    assert refusals.not_reached() == []


def test_a_valid_record_of_each_topic_is_not_refused() -> None:
    for topic, (key, event, _) in CHANGES.items():
        assert DECODERS[topic](key, bytes_of(event))

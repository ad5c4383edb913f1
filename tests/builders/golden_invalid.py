"""Records that break the contract, one of each kind, by the topic they are sent to."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from builders.golden_log import Log

Json = dict[str, Any]

POST: Json = {
    "post_id": "bad",
    "author_id": "ann",
    "created_at_ms": 1_700_000_000_001,
    "text": "text",
}
ENGAGEMENT: Json = {"post_id": "bad", "user_id": "uma", "kind": "like", "at_ms": 1_700_000_000_001}
SIGNAL: Json = {
    "post_id": "bad",
    "post_offset": 3,
    "value": 0.5,
    "model": "m",
    "version": "v",
    "at_ms": 1,
}
OVERRIDE: Json = {"verdict": "hide", "by": "mo", "reason": "", "at_ms": 1}
LABEL: Json = {"post_id": "bad", "target": "spam", "value": 1, "source": "rater", "at_ms": 1}
INSTANCE: Json = {
    "stage": "spam",
    "instance": "i",
    "host": "h",
    "pid": 1,
    "build": "b",
    "config_offset": -1,
    "refused": [],
    "models": {},
    "ready": True,
    "lag": 0,
    "at_ms": 1,
}

# A field that is changed to `...` is left out.
CHANGES: Mapping[str, tuple[Json, tuple[Json, ...]]] = {
    "posts": (
        POST,
        (
            {"post_id": ...},
            {"author_id": ...},
            {"text": ...},
            {"text": None},
            {"text": "x" * 20_001},
            {"created_at_ms": "1"},
            {"created_at_ms": 1.5},
            {"created_at_ms": -1},
            {"created_at_ms": 2**53},
            {"author_id": "a b"},
            {"author_id": ""},
            {"author_id": "a|b"},
            {"author_id": "a\u200bb"},
            {"author_id": "é" * 129},
            {"author_id": "a" * 257},
            {"in_reply_to": "\u202eq"},
            {"links": ["x"] * 33},
            {"links": ["x", 1]},
            {"communities": ["c"] * 17},
            {"communities": ["a b"]},
            {"self_labels": ["x"] * 17},
            {"lang": "e n"},
            {"tenant": "x" * 65},
            {"media": [{"url": "u"}]},
            {"media": [{"url": "u", "kind": "image", "sha256": "12"}]},
            {"deleted": "yes"},
            {"deleted": True, "text": 5, "post_id": 7},
        ),
    ),
    "engagements": (
        ENGAGEMENT,
        (
            {"user_id": ...},
            {"user_id": "u\u200b"},
            {"kind": "love"},
            {"kind": None},
            {"at_ms": -1},
            {"event_id": ""},
            {"feed": 3},
            {"feed_version": -1},
            {"position": 1.5},
            {"dwell_ms": -1},
            {"dwell_ms": 86_400_001},
        ),
    ),
    "signals.spam": (
        SIGNAL,
        (
            {"value": 1.5},
            {"value": None},
            {"value": "0.5"},
            {"post_offset": -1},
            {"model": 1},
            {"version": "v" * 257},
            {"overruled": {"value": 2, "model": "m", "version": "v"}},
            {"overruled": {"value": None, "model": "m", "version": "v"}},
        ),
    ),
    "signals.quality": (SIGNAL, ({"value": -0.5},)),
    "signals.novelty": (SIGNAL, ({"value": 1e39},)),
    "labels": (LABEL, ({"target": "engagement"}, {"value": 2}, {"source": None}, {"note": 5})),
    "instances": (INSTANCE, ({"pid": "1"}, {"refused": [{}]}, {"ready": ...})),
}
RAW = (
    b"\xff\xfe",
    b'{"post_id":"bad","author_id":"a","created_at_ms":1700000000001,"text":"\xc3\x28"}',
    b'{"post_id":"bad","author_id":"a","created_at_ms":NaN,"text":"x"}',
    b'{"post_id":"bad","author_id":"\\ud800","created_at_ms":1700000000001,"text":"x"}',
    b'{"post_id":"bad","author_id":"a","created_at_ms":1700000000001,"text":"x"} trailing',
    b'{"post_id":"bad"',
    b'{"post_id":"bad","text":' + b"[" * 3000,
    b'{"post_id":"bad","text":5, ]',
    b"[]",
    b"null",
    b" ",
)
KEYS = (None, b"", b"\xff", b"other", b"bad ", b"k" * 300)
OVERRIDE_KEYS = (
    b"post:bad",
    b"post:bad|a|b",
    b"topic:bad|*",
    b"post:|*",
    b"post:a b|*",
    b"author:a\xe2\x80\x8b|*",
    b"post:bad|quality",
    b"\xff|*",
)
OVERRIDE_CHANGES: tuple[Json, ...] = (
    {"verdict": "burn"},
    {"by": ...},
    {"reason": None},
    {"expires_at_ms": -1},
    {"post_offset": 1.5},
)
SETTINGS: tuple[tuple[bytes | None, bytes], ...] = (
    (b"weights", b'{"value": {"quality": 1}}'),
    (b"weights", b'{"value": {"quality": 0, "engagement": 0}}'),
    (b"weights", b'{"value": {"quality": 1, "engagement": 1, "explore": 0.1}}'),
    (b"weights", b'{"value": {"quality": 1, "engagement": 1}, "if_offset": 99}'),
    (b"weights", b"{"),
    (b"weights/x@arm", b'{"value": {"quality": 1, "engagement": 1}}'),
    (b"weights/a b", b'{"value": {"quality": 1, "engagement": 1}}'),
    (b"gates", b'{"value": {"quality": {}}}'),
    (b"gates", b'{"value": {"spam": {"hide_at": 1.1}}}'),
    (b"feeds", b'{"value": {}}'),
    (b"feeds/x", b'{"value": {"size": 0}}'),
    (b"feeds/x", b'{"value": {"max_feeds": 5}}'),
    (b"feeds/lang:*", b'{"value": {"match": {"langs": ["en"]}}}'),
    (b"rules/extreme", b'{"value": {}}'),
    (b"rules/spam", b'{"value": {"a": {"verdict": "hide"}}}'),
    (b"rules/spam", b'{"value": {"a": {"verdict": "hide", "patterns": ["(x"]}}}'),
    (b"rules/spam", b'{"value": {"a": {"verdict": "hide", "domains": ["https://a.example"]}}}'),
    (b"rankings", b'{"value": {}}'),
    (b"experiments/x", b'{"value": {}}'),
    (b"moods", b'{"value": {}}'),
    (b"\xff", b'{"value": {}}'),
    (None, b'{"value": {}}'),
)


def add_invalid(log: Log) -> None:
    """Append each of them, and some that are right but lie in the wrong partition."""
    for topic, (right, changes) in CHANGES.items():
        for raw in _changed(right, changes):
            log.add(topic, b"bad", raw)
    for topic in ("posts", "engagements", "signals.spam", "labels", "instances"):
        for raw in RAW:
            log.add(topic, b"bad", raw)
    for topic in ("posts", "engagements", "signals.spam", "labels"):
        right = CHANGES[topic][0]
        for key in KEYS:
            log.add(topic, key, json.dumps(right).encode())
            log.add(topic, key, None)
        log.add(topic, b"bad", json.dumps(right).encode(), off=1)
    for key in OVERRIDE_KEYS:
        log.add("overrides", key, json.dumps(OVERRIDE).encode())
    for raw in (*_changed(OVERRIDE, OVERRIDE_CHANGES), *RAW):
        log.add("overrides", b"post:bad|*", raw)
    log.say("overrides", "author:bad|*", {**OVERRIDE, "post_offset": 1})
    for setting, value in SETTINGS:
        log.add("config", setting, value)


def _changed(right: Json, changes: tuple[Json, ...]) -> Iterator[bytes]:
    for change in changes:
        fields = {name: value for name, value in {**right, **change}.items() if value is not ...}
        yield json.dumps(fields).encode()

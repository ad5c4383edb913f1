"""What is watched of models and of parts of posts, from records."""

import random
from collections.abc import Sequence

import msgspec
import pytest

from builders.events import NOW_MS
from builders.records import StoredRecord, record, record_batch
from feedmill.events.engagement import Engagement, EngagementKind
from feedmill.events.post import Post
from feedmill.events.settings import Settings
from feedmill.events.signal import ModelVerdict, Signal, SignalNames
from feedmill.features.text.ngrams import TextBatch
from feedmill.filters.registry import load
from feedmill.models.text_model import NgramModel
from feedmill.streams.kafka.topic_table import DAY_MS, HOUR_MS
from feedmill.streams.watch.model_watch import (
    ModelWatch,
    Quantity,
    ValueWatch,
    unknown_shares,
    without_weight,
)
from feedmill.streams.watch.post_parts import LEAST_POSTS, BusyParts, PostParts, PostVerdict

# ruff: noqa: RUF001 - Russian is one of them


SPAM = load("spam")
BATCH = 50
# Beginnings, middles and ends of sentences, which go together.
ENGLISH = (
    ("This morning", "Last weekend", "After work", "On the way home", "With my sister", "Again"),
    ("I walked along the river", "we cooked a large pot of soup", "I repaired the old bicycle"),
    ("we looked at the new library", "I read half of a novel", "we planted beans in the garden"),
    ("and it rained all the time", "and nobody was in a hurry", "because the train was late"),
    ("although I was tired.", "which took longer than planned.", "and I would do it again."),
)
FINNISH = (
    ("Tänä aamuna", "Viime viikonloppuna", "Töiden jälkeen", "Kotimatkalla", "Siskoni kanssa"),
    ("kävelin joen rantaa", "keitimme ison kattilan keittoa", "korjasin vanhan polkupyörän"),
    ("katsoimme uutta kirjastoa", "luin puolet romaanista", "istutimme papuja puutarhaan"),
    ("ja koko ajan satoi", "eikä kenelläkään ollut kiire", "koska juna oli myöhässä"),
    ("vaikka olin väsynyt.", "mikä kesti luultua kauemmin.", "ja tekisin sen uudestaan."),
)
RUSSIAN = (
    ("Сегодня утром", "В выходные", "После работы", "По дороге домой", "Вместе с сестрой"),
    ("я гулял вдоль реки", "мы сварили большую кастрюлю супа", "я починил старый велосипед"),
    ("мы смотрели новую библиотеку", "я прочитал половину романа", "мы сажали фасоль в саду"),
    ("и всё время шёл дождь", "и никто не спешил", "потому что поезд опоздал"),
    ("хотя я устал.", "и это заняло больше времени.", "и я сделал бы это снова."),
)


def posts(language: Sequence[Sequence[str]], count: int, seed: int) -> list[Post]:
    draw = random.Random(seed)
    texts = [" ".join(draw.choice(part) for part in language) for _ in range(count)]
    return [Post(f"p{i}", f"a{i}", NOW_MS, text) for i, text in enumerate(texts)]


def no_model(_name: str, _version: str) -> NgramModel | None:
    return None


def new_watch() -> ModelWatch:
    return ModelWatch(SignalNames(), no_model)


def signal(post_id: str, value: float | None, **fields: object) -> Signal:
    error = "it failed" if value is None else None
    plain = Signal(post_id, 0, value, "spam", "v1", 0, error=error)
    return msgspec.structs.replace(plain, **fields)


def take_signals(watch: ModelWatch, name: str, *signals: Signal, at_ms: int = 0) -> None:
    records = [record(one.post_id, one, timestamp=at_ms) for one in signals]
    watch.take(record_batch(f"signals.{name}", records))


def take_judged(watch: ModelWatch, some: Sequence[Post], at_ms: int) -> None:
    """Give posts, then what the shipped model says of them."""
    values = SPAM.score_many(some).tolist()
    signals = [
        signal(p.post_id, v, version=SPAM.version) for p, v in zip(some, values, strict=True)
    ]
    take_signals(watch, "spam", *signals, at_ms=at_ms)
    watch.take(record_batch("posts", [record(p.post_id, p, timestamp=at_ms) for p in some]))


def take_all(watch: ModelWatch, some: Sequence[Post], hour: int) -> dict[str, int]:
    """Give the posts of an hour; return by quantity after how many its alarm came."""
    found: dict[str, int] = {}
    for start in range(0, len(some), BATCH):
        take_judged(watch, some[start : start + BATCH], hour * HOUR_MS)
        for one in watch.reports():
            if one.state == "drift":
                found.setdefault(one.quantity, start + BATCH)
    return found


@pytest.mark.parametrize("language", [FINNISH, RUSSIAN], ids=["fi", "ru"])
def test_another_language_raises_alarms_within_500_posts(language: Sequence[Sequence[str]]) -> None:
    watch = ModelWatch(SignalNames(), lambda name, version: SPAM.ngram_models[0])
    assert take_all(watch, posts(ENGLISH, 1500, seed=1), hour=9) == {}
    assert take_all(watch, posts(ENGLISH, 1500, seed=2), hour=24 + 9) == {}
    found = take_all(watch, posts(language, 1500, seed=3), hour=48 + 9)
    assert found["unknown"] <= 500
    assert found["score"] <= 500
    assert "missing" not in found


def test_unknown_shares_count_the_ngrams_without_a_weight() -> None:
    model = SPAM.ngram_models[0]
    texts = TextBatch(["The train was late", "zzqxj kvwqz"])
    known, strange = unknown_shares(without_weight(model), texts)
    assert 0 <= known < strange <= 1
    empty = NgramModel(model.weights * 0, 1.0, 0.0)
    assert unknown_shares(without_weight(empty), texts) == [1.0, 1.0]


RULED = {"model": "rule", "version": "bad-links"}
KINDS: tuple[EngagementKind, ...] = ("impression", "click", "dwell", "hide", "report", "like")


@pytest.mark.parametrize(
    ("topic", "events", "counts"),
    [
        # Scores by version, failures together.
        (
            "signals.spam",
            [signal("a", 0.2), signal("b", 0.3, version="v2"), signal("c", None)],
            {"spam v1 score": 1, "spam v2 score": 1, "spam  fallback": 3},
        ),
        # Of a post that a rule decided, the model's own value.
        (
            "signals.spam",
            [
                signal("a", 1.0, **RULED, overruled=ModelVerdict(0.1, "spam", "v1")),
                signal("b", 1.0, **RULED),
            ],
            {"spam v1 score": 1, "spam  fallback": 1},
        ),
        # Of engagement only the prior of a post.
        (
            "signals.engagement",
            [signal("a", 0.2), signal("a", 0.4, revision=17)],
            {"engagement v1 score": 1, "engagement  fallback": 1},
        ),
        # Impressions and reactions, and nothing else.
        (
            "engagements",
            [Engagement("p", f"u{i}", kind, NOW_MS) for i, kind in enumerate(KINDS)],
            {"engagement  reactions": 3},
        ),
        *((topic, [None, b"{"], {}) for topic in ("posts", "engagements", "signals.spam")),
    ],
)
def test_what_is_watched_is_counted_and_nothing_else(
    topic: str, events: list[object], counts: dict[str, int]
) -> None:
    watch = new_watch()
    records = [
        StoredRecord(0, 0, b"p", one)
        if isinstance(one, bytes)
        else record(one.post_id if isinstance(one, Signal) else "p", one)
        for one in events
    ]
    watch.take(record_batch(topic, records))
    assert {" ".join(at[:3]): watched.values for at, watched in watch.watches.items()} == counts


def test_what_was_saved_is_there_again_but_for_old_versions() -> None:
    watch = new_watch()
    take_signals(watch, "spam", signal("a", 0.2))
    take_signals(watch, "spam", signal("b", 0.3, version="v2"), at_ms=9 * 24 * HOUR_MS)
    again = ModelWatch(SignalNames(), no_model, watch.saved())
    assert {quantity.version for quantity in again.watches} == {"", "v2"}
    assert list(again.reports()) == list(watch.reports())


def test_a_replaced_version_is_not_reported_after_two_hours() -> None:
    watch = new_watch()
    take_signals(watch, "spam", signal("a", 0.2))
    for hour, versions in ((1, {"v1", "v2"}), (2, {"v2"})):
        take_signals(watch, "spam", signal("b", 0.3, version="v2"), at_ms=hour * HOUR_MS)
        assert {one.version for one in watch.reports() if one.quantity == "score"} == versions


AN_HOUR = 90


def take_hour(watch: ModelWatch, hour: int, flagged: dict[str, float]) -> None:
    """Give posts of each language, of which these shares have a value of 0.7.

    In every second hour signals are read before their posts.
    """
    draw = random.Random(hour)
    for lang, share in flagged.items():
        some = [
            Post(f"{hour}-{lang}-{i}", "a", NOW_MS, "t", lang=lang, communities=(f"of-{lang}",))
            for i in range(AN_HOUR)
        ]
        values = [0.7 if draw.random() < share else 0.1 for _ in some]
        signals = [signal(p.post_id, value) for p, value in zip(some, values, strict=True)]
        at_ms = hour * HOUR_MS
        if hour % 2:
            take_signals(watch, "spam", *signals, at_ms=at_ms)
        watch.take(record_batch("posts", [record(p.post_id, p, timestamp=at_ms) for p in some]))
        if not hour % 2:
            take_signals(watch, "spam", *signals, at_ms=at_ms)


def drifting(watch: ModelWatch) -> set[str]:
    named = {one.quantity for one in watch.reports() if one.state == "drift"}
    return {name for name in named if name.startswith("share at")}


def test_a_wave_in_one_language_is_named_and_one_everywhere_is_named_once() -> None:
    watch = new_watch()
    usual = {"en": 0.02, "sv": 0.02, "de": 0.02, "fr": 0.02, "fi": 0.02}
    for hour in range(48):
        take_hour(watch, hour, usual)
    assert drifting(watch) == set()
    parts = {quantity.part for quantity in watch.watches}
    assert parts >= {"lang:fi", "community:of-fi"}
    for hour in range(48, 53):
        take_hour(watch, hour, {**usual, "fi": 0.2})
        if drifting(watch):
            break
    assert drifting(watch) == {"share at 0.6 in lang:fi", "share at 0.6 in community:of-fi"}
    for hour in range(53, 60):
        take_hour(watch, hour, dict.fromkeys(usual, 0.3))
    assert drifting(watch) == {"share at 0.6"}
    # A restart goes on with what is known of parts.
    again = ModelWatch(SignalNames(), no_model, watch.saved())
    assert {q.part for q in again.watches} == {q.part for q in watch.watches}


def of_all(watch: ModelWatch) -> dict[str, int]:
    return {q.name: w.values for q, w in watch.watches.items() if q.name.startswith("share at")}


def test_thresholds_are_those_in_force_and_posts_count_once() -> None:
    watch = new_watch()
    post = Post("p", "a", NOW_MS, "t")
    for offset in range(2):
        watch.take(record_batch("posts", [record("p", post, timestamp=offset)]))
        # The second is of an edit, or of a release.
        take_signals(watch, "spam", signal("p", 0.7, post_offset=offset))
    assert of_all(watch) == {"share at 0.6": 1, "share at 0.9": 1}
    gates = {"value": {"spam": {"demote_at": 0.25, "hide_at": None}, "nsfw": {"enabled": False}}}
    watch.set_settings(Settings().fold(b"gates", msgspec.json.encode(gates), 0))
    watch.take(record_batch("posts", [record("q", msgspec.structs.replace(post, post_id="q"))]))
    take_signals(watch, "spam", signal("q", 0.7))
    take_signals(watch, "nsfw", signal("q", 0.7))
    assert of_all(watch) == {"share at 0.25": 1, "share at 0.6": 1, "share at 0.9": 1}


def test_names_of_communities_take_bounded_memory_and_a_busy_one_stays() -> None:
    watch = new_watch()
    for turn in range(40):
        some = [
            Post(f"{turn}-{i}", "a", NOW_MS, "t", communities=("busy" if i % 20 == 0 else f"{i}x",))
            for i in range(turn * 200, turn * 200 + 200)
        ]
        take_signals(watch, "spam", *(signal(p.post_id, 0.1) for p in some))
        watch.take(record_batch("posts", [record(p.post_id, p) for p in some]))
    assert {q.part for q in watch.watches if q.part} == {"community:busy"}
    watch.watches[Quantity("spam", "v1", "share at 0.6", "community:gone")] = ValueWatch("tail")
    assert drifting(watch) == set()
    assert {q.part for q in watch.watches if q.part} == {"community:busy"}


VERDICT = PostVerdict("spam", "v1", 0.7)
POST = Post("p", "a", NOW_MS, "t", lang="fi", communities=("x", "y", "x"))
PARTS = ["", "lang:fi", "community:x", "community:y"]


def test_a_verdict_and_its_post_meet_in_either_order_and_once() -> None:
    parts = PostParts()
    assert parts.take_verdict("p", VERDICT) == []
    assert list(parts.take_post(POST, 0)) == [(VERDICT, PARTS)]
    assert list(parts.take_post(POST, 0)) == []
    assert parts.take_verdict("p", VERDICT._replace(value=0.2)) == []
    assert parts.take_verdict("p", VERDICT._replace(name="nsfw")) == PARTS


def test_the_oldest_posts_are_forgotten() -> None:
    parts = PostParts(most_posts=2)
    for post_id in ("p", "q", "r"):
        parts.take_verdict(post_id, VERDICT)
    assert list(parts.take_post(POST, 0)) == []


def test_a_part_with_enough_posts_stays_among_any_number_of_others() -> None:
    busy, draw = BusyParts(most=9), random.Random(1)
    for i in range(20_000):
        busy.take("busy" if draw.random() < 0.15 else f"flood {i}", 0)
    assert busy.is_watched("busy")
    assert sum(f"flood {i}" in busy for i in range(20_000)) <= 8


def test_a_part_is_watched_from_some_posts_on_and_goes_when_it_is_quiet() -> None:
    busy = BusyParts()
    for _ in range(LEAST_POSTS - 1):
        busy.take("x", 0)
    assert not busy.is_watched("x")
    busy.take("x", 0)
    assert busy.is_watched("x")
    for day in range(1, 9):
        busy.take("y", day * DAY_MS)
    assert "x" not in busy
    busy.keep("z")
    assert busy.is_watched("z")

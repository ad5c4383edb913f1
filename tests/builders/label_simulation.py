"""Seeded posts with labels of many raters: a new wave of spam among ordinary posts, and poison."""

from typing import Literal

import numpy as np

from feedmill.events.label import Label
from feedmill.events.post import Post
from feedmill.training.continual.filter_contest import OrdinaryPosts
from feedmill.training.continual.rated_posts import AuditedPost
from feedmill.training.datasets.labelled_posts import LabelledPosts, from_posts
from feedmill.training.label_join import LabelRecord

RATERS, LABELS = 40, 240
_WORDS = (
    *("river", "stone", "cloud", "apple", "winter", "garden", "letter"),
    *("music", "train", "coffee", "window", "paper", "morning", "bridge"),
    *("summer", "kitchen", "market", "yellow", "dinner", "island", "pencil"),
    *("harbour", "blanket", "corner", "village", "teacher", "mountain", "quiet"),
    *("ticket", "orange", "bicycle", "story", "weather", "cousin", "library"),
    *("candle", "forest", "school", "butter", "engine", "carpet", "doctor"),
    *("lemon", "street", "evening", "meadow", "saddle", "copper", "lantern"),
    *("basket",),
)
_OPENINGS = ("i saw", "we found", "who knows", "today", "they sold", "my friend wants", "look at")

# Of "brigade" every rater calls fine posts with one phrase spam.
Scenario = Literal["wave", "none", "flood", "flips", "brigade"]
SCENARIOS: tuple[Scenario, ...] = ("wave", "none", "flood", "flips", "brigade")
# Of all posts, those of the wave, or with the phrase of the brigade.
_PART_OF_ALL = 0.05


def ordinary_text(random: np.random.Generator) -> str:
    """A short text about nothing."""
    words = random.choice(_WORDS, int(random.integers(6, 16)))
    return f"{random.choice(_OPENINGS)} {' '.join(words)}"


def wave_text(random: np.random.Generator) -> str:
    """An ordinary text with a phrase and a domain that no model has seen."""
    words = ordinary_text(random).split()
    at = int(random.integers(1, len(words)))
    return " ".join([*words[:at], "glowroot drops at glowroot-direct.example", *words[at:]])


def _texts(scenario: Scenario, random: np.random.Generator, count: int) -> list[tuple[str, float]]:
    """Texts, half of them violating; of "none" the labels say nothing of the texts."""
    labels = random.permutation(np.arange(count) % 2).astype(float).tolist()
    is_wave = [bool(label) and scenario != "none" for label in labels]
    texts = [wave_text(random) if wave else ordinary_text(random) for wave in is_wave]
    return list(zip(texts, labels, strict=True))


def judged(scenario: Scenario, seed: int) -> list[tuple[Post, list[Label]]]:
    """Return 240 posts, each labelled by one of 40 raters; of "flood" 10,000 wrong labels more.

    Of "flips" a tenth of the labels is wrong.
    """
    random = np.random.default_rng(seed)
    rows = []
    for n, (text, label) in enumerate(_texts(scenario, random, LABELS)):
        wrong = scenario == "flips" and random.random() < 0.1
        rows.append((text, 1 - label if wrong else label, f"rater-{random.integers(RATERS)}", n))
    if scenario == "flood":
        flood = _texts(scenario, random, 10_000)
        rows += [(text, 1 - label, "flooder", n % LABELS) for n, (text, label) in enumerate(flood)]
    return [_judged(place, *row) for place, row in enumerate(rows)]


def _judged(place: int, text: str, label: float, rater: str, at: int) -> tuple[Post, list[Label]]:
    post_id, at_ms = f"p{place}", 1_700_000_000_000 + at * 1000
    post = Post(post_id, f"author-{place}", at_ms, text)
    return post, [Label(post_id, "spam", label, rater, at_ms)]


def label_records(scenario: Scenario, seed: int) -> list[LabelRecord]:
    """Return what a challenger learns from."""
    found = [
        LabelRecord(post, label.value, label.source, label.at_ms)
        for post, labels in judged(scenario, seed)
        for label in labels
    ]
    return sorted(found, key=lambda record: record.at_ms)


def clean_rows(scenario: Scenario, seed: int, count: int = 400) -> LabelledPosts:
    """Return posts of the same kind that nobody learned from, rightly labelled."""
    random = np.random.default_rng(seed)
    kind: Scenario = "none" if scenario == "none" else "wave"
    texts = _texts(kind, random, count)
    if scenario in ("none", "brigade"):
        texts = [(text, 0.0) for text, _ in texts]
    posts = ((Post(f"c{n}", f"c{n}", n, t), y, f"c{n}") for n, (t, y) in enumerate(texts))
    return from_posts("clean", "author", posts)


def audited_rows(scenario: Scenario, seed: int, count: int = 300) -> list[AuditedPost]:
    """Return an audit: one post in ten of all, one in twenty of the wave, rightly labelled."""
    random = np.random.default_rng((seed, 1))
    rows = []
    for n in range(count):
        is_wave = scenario != "none" and random.random() < _PART_OF_ALL
        text = wave_text(random) if is_wave else ordinary_text(random)
        violates = float(is_wave and scenario != "brigade")
        rows.append(AuditedPost(Post(f"a{n}", f"a{n}", n, text), violates, 0.1))
    return rows


def ordinary_posts(count: int, seed: int = 77) -> OrdinaryPosts:
    """Return ordinary posts of as many authors as there are posts."""
    random = np.random.default_rng(seed)
    posts = (Post(f"o{n}", f"o{n}", n, ordinary_text(random)) for n in range(count))
    return OrdinaryPosts.of(from_posts("ordinary", "author", ((p, 0.0, p.post_id) for p in posts)))

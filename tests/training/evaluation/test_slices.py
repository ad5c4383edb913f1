from __future__ import annotations

import msgspec
import numpy as np

from feedmill.events.post import Post
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.evaluation.slices import author_ages, slices_of


def test_slices_by_language_length_and_how_long_an_author_is_known() -> None:
    day = 86_400_000
    posts = [
        Post("1", "a", 10 * day, "x"),
        Post("2", "a", 10 * day + 1, "x"),
        Post("3", "a", 12 * day, "x"),
        Post("4", "a", 90 * day, "x"),
        Post("5", "a", 1, "x"),
        Post("6", "author-of-6", 5, "x"),
        Post("7", "b", 0, "x"),
    ]
    ages = author_ages(posts)
    assert ages == [
        *("less than 30 days", "less than 30 days", "less than 30 days", "30 days and more"),
        *("first post", "", ""),
    ]
    texts = ["short one"] * 30 + ["слово за словом " * 4] * 30
    rows = [
        Post(f"{i}", f"author-of-{i}", 0, t, lang="de" if i < 25 else None)
        for i, t in enumerate(texts)
    ]
    labels = (np.arange(60) % 2).astype(np.float64)
    whole = LabelledPosts("s", rows, labels, [""] * 60, np.full(60, "test"))
    slices = {(s.by, s.value): s for s in slices_of(whole, labels * 0.7, 0.6)}
    assert set(slices) == {
        ("language", "de"),
        ("language", "other script"),
        ("length", "1-5 words"),
        ("length", "6-15 words"),
    }
    assert slices["language", "de"].caught == 1.0
    assert msgspec.json.encode(slices["language", "de"])

"""Generated posts for the tests of training and judging: none comes from a data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from feedmill.training.datasets.known import KnownSet
from feedmill.training.datasets.labelled_posts import Corpus, Row, corpus
from feedmill.training.datasets.tables import Table
from feedmill.training.training_data import Material, Sample

WORDS = (
    *("river", "stone", "cloud", "apple", "winter"),
    *("garden", "letter", "music", "train", "coffee"),
)


def sentences(count: int, seed: int, extra: str = "") -> list[str]:
    """Texts that differ in more than digits, which count as one."""
    random = np.random.default_rng(seed)
    return [
        " ".join(
            [*random.choice(WORDS, 8), extra, "abcdefghij"[i % 10] + "klmnopqrst"[i // 10 % 10]]
        )
        for i in range(count)
    ]


def sample(rows: Corpus, sha256: str = "", group: str = "g") -> Sample:
    table = Table(Path(f"{rows.source}.csv"), name=rows.source, group=group)
    return Sample(rows, KnownSet(table, "made up"), sha256)


def labelled(name: str, seed: int, count: int = 150) -> Corpus:
    bad = [
        Row(t, 1.0, f"g{i % 30}") for i, t in enumerate(sentences(count, seed, "BUY pills NOW!!!"))
    ]
    good = [Row(t, 0.0, f"g{i % 30}") for i, t in enumerate(sentences(count, seed + 1))]
    return corpus(name, name, [*bad, *good])


def ordinary(name: str, seed: int, extra: str = "") -> Corpus:
    texts = sentences(300, seed, extra)
    return corpus(name, name, (Row(t, 0.0, f"a{i % 30}") for i, t in enumerate(texts)))


def material() -> Material:
    return Material(
        (sample(labelled("bad", 1), "1" * 64), sample(labelled("few", 11, 60), "2" * 64)),
        (sample(ordinary("one", 3), "3" * 64), sample(ordinary("two", 4, "today"), "4" * 64)),
    )

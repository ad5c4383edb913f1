"""Generated posts for the tests of training and evaluation; none comes from a data set."""

from pathlib import Path

import numpy as np

from feedmill.training.datasets.known import KnownDataset
from feedmill.training.datasets.labelled_posts import LabelledPosts, LabelledRow, labelled_posts
from feedmill.training.datasets.tables import Table
from feedmill.training.training_data import Dataset, TrainingData

WORDS = (
    *("river", "stone", "cloud", "apple", "winter"),
    *("garden", "letter", "music", "train", "coffee"),
)


def sentences(count: int, seed: int, extra: str = "") -> list[str]:
    """Texts that differ in more than digits."""
    random = np.random.default_rng(seed)
    return [
        " ".join(
            [*random.choice(WORDS, 8), extra, "abcdefghij"[i % 10] + "klmnopqrst"[i // 10 % 10]]
        )
        for i in range(count)
    ]


def dataset(rows: LabelledPosts, sha256: str = "", group: str = "g") -> Dataset:
    table = Table(Path(f"{rows.source}.csv"), name=rows.source, group=group)
    return Dataset(rows, KnownDataset(table, "made up"), sha256)


def labelled(name: str, seed: int, count: int = 150) -> LabelledPosts:
    bad = [
        LabelledRow(t, 1.0, f"g{i % 30}")
        for i, t in enumerate(sentences(count, seed, "BUY pills NOW!!!"))
    ]
    good = [LabelledRow(t, 0.0, f"g{i % 30}") for i, t in enumerate(sentences(count, seed + 1))]
    return labelled_posts(name, name, [*bad, *good])


def ordinary(name: str, seed: int, extra: str = "") -> LabelledPosts:
    texts = sentences(300, seed, extra)
    return labelled_posts(
        name, name, (LabelledRow(t, 0.0, f"a{i % 100}") for i, t in enumerate(texts))
    )


def training_data() -> TrainingData:
    return TrainingData(
        (dataset(labelled("bad", 1), "1" * 64), dataset(labelled("few", 11, 60), "2" * 64)),
        (dataset(ordinary("one", 3), "3" * 64), dataset(ordinary("two", 4, "today"), "4" * 64)),
    )

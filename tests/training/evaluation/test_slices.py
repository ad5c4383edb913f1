import numpy as np

from feedmill.events.post import Post
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.evaluation.slices import language_of, length_band, slices_of


def test_slices_by_language_and_length() -> None:
    texts = ["short one"] * 30 + ["слово за словом " * 8] * 30
    rows = [
        Post(f"{i}", f"author-of-{i}", 0, t, lang="de" if i < 25 else None)
        for i, t in enumerate(texts)
    ]
    labels = (np.arange(60) % 2).astype(np.float64)
    groups = [f"g|{i % 25}" for i in range(60)]
    whole = LabelledPosts("s", rows, labels, groups, np.full(60, "test"))
    slices = {(s.by, s.value): s for s in slices_of(whole, labels * 0.7, 0.6)}
    assert set(slices) == {
        ("language", "de"),
        ("language", "other script"),
        ("length", "to 100"),
        ("length", "to 200"),
    }
    of_german = slices["language", "de"]
    assert (of_german.caught.value, of_german.false_alarms.value, of_german.auc.value) == (1, 0, 1)
    assert of_german.false_alarms.high > 0


def test_bands_of_length_include_their_end() -> None:
    bands = [length_band(n) for n in (0, 100, 101, 2_000, 2_001)]
    assert bands == ["to 100", "to 100", "to 200", "to 2,000", "above 2,000"]


def test_a_stated_language_counts_before_the_script() -> None:
    texts = [("short one", "de"), ("short one", None), ("слово", None), ("12 !", None)]
    found = [language_of(Post("p", "a", 0, text, lang=lang)) for text, lang in texts]
    assert found == ["de", "latin script", "other script", "latin script"]

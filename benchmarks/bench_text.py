"""What a text costs: each filter beside scikit-learn's hashing, tf-idf and linear pipeline.

    OMP_NUM_THREADS=1 python benchmarks/bench_text.py [--rounds 5] [--texts 4096]

The texts are generated (25 words each, seeded).  Before anything is timed the answers are checked:
sums against numpy, batches against single rows.  One thread; processor time per text.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.linear_model import SGDClassifier
from sklearn.pipeline import make_pipeline, make_union

from feedmill.events.engagement import ENGAGEMENT_KINDS
from feedmill.events.post import Post
from feedmill.features.counters import Counters, update
from feedmill.features.post_batch import PostBatch
from feedmill.features.text.lexicon import lexicon_matrix
from feedmill.features.text.ngrams import TextBatch
from feedmill.features.text.shape import shape_matrix
from feedmill.filters.model import FilterModel
from feedmill.filters.registry import FILTERS
from feedmill.filters.registry import load as load_filter
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.quality import QualityModel
from feedmill.rankers.registry import load as load_ranker

Run = Callable[[Sequence[str]], object]
SYLLABLES = ("ba", "do", "ke", "lim", "ra", "sto", "ter", "un", "vi", "wen", "ing", "a")


def generated(count: int, seed: int = 1) -> list[str]:
    """Return `count` texts of 25 words of one to three syllables, some capitals and marks."""
    random = np.random.default_rng(seed)
    vocabulary = ["".join(random.choice(SYLLABLES, random.integers(1, 4))) for _ in range(4_000)]
    texts = []
    for _ in range(count):
        words = [vocabulary[i] for i in (random.pareto(1.1, 25) * 20).astype(int) % 4_000]
        texts.append(" ".join([words[0].capitalize(), *words[1:]]) + random.choice(list(".!?")))
    return texts


def filtered(model: FilterModel, texts: Sequence[str]) -> object:
    return model.score_many(posts(texts))


def scikit_learn(texts: Sequence[str]) -> Run:
    """Return scikit-learn's pipeline on the same kinds of n-grams and as many buckets."""
    hashing = make_union(
        HashingVectorizer(ngram_range=(1, 2), n_features=2**18, alternate_sign=False),
        HashingVectorizer(
            analyzer="char", ngram_range=(3, 5), n_features=2**18, alternate_sign=False
        ),
    )
    linear = SGDClassifier(loss="log_loss", max_iter=5, tol=None, random_state=1)
    pipeline = make_pipeline(hashing, TfidfTransformer(), linear)
    pipeline.fit(texts[:500], np.arange(500) % 2)
    return lambda part: pipeline.predict_proba(part)[:, 1]


def check(texts: Sequence[str], models: Sequence[FilterModel]) -> None:
    """Compare with numpy, and with single rows; raises on a difference."""
    for model in models:
        batch = PostBatch(posts(texts))
        raw = model.evidence_rows(batch) @ model.weights + model.bias
        np.testing.assert_allclose(model.raw_scores(batch), raw, rtol=1e-9, atol=1e-9)
        alone = [model.score_many([post])[0] for post in batch.posts]
        np.testing.assert_array_equal(model.score_batch(batch), alone)


def posts(texts: Sequence[str]) -> list[Post]:
    """Return a post of each text, every third with a link of its own."""
    return [
        Post(f"p{i}", "a", 1, text, links=_link(text) if i % 3 == 0 else None)
        for i, text in enumerate(texts)
    ]


def _link(text: str) -> tuple[str, ...]:
    return ("https://news.example.org/2026/11/" + "-".join(text.lower().split()[:8]),)


def microseconds(run: Run, texts: Sequence[str], size: int, rounds: int) -> float:
    """Return the processor's microseconds per text, the best of `rounds`."""
    best = float("inf")
    for _ in range(rounds):
        begin = time.process_time()
        for start in range(0, len(texts), size):
            run(texts[start : start + size])
        best = min(best, time.process_time() - begin)
    return best / len(texts) * 1e6


def counters_cost(events: int, posts: int, rounds: int) -> float:
    """Return microseconds per event that is counted in."""
    random = np.random.default_rng(3)
    rows = random.integers(0, posts, events).tolist()
    kinds = [ENGAGEMENT_KINDS[kind] for kind in random.integers(0, len(ENGAGEMENT_KINDS), events)]
    at_ms = np.sort(random.integers(0, 10**9, events)).tolist()
    best = float("inf")
    for _ in range(rounds):
        counters = [Counters() for _ in range(posts)]
        begin = time.process_time()
        for row, kind, at in zip(rows, kinds, at_ms, strict=True):
            update(counters[row], kind, at)
        best = min(best, time.process_time() - begin)
        assert sum(sum(counter.counts) for counter in counters) == events
    return best / events * 1e6


def runs(texts: Sequence[str]) -> dict[str, Run]:
    """Return what is timed, by its name in the table; filters read whole posts, links too."""
    models = [load_filter(name) for name in FILTERS]
    check(texts[:300], models)
    quality = load_ranker("quality")
    engagement = load_ranker("engagement")
    assert isinstance(quality, QualityModel)
    assert isinstance(engagement, ExpectedClicks)
    rankers = (quality, engagement)
    linear = (replace(quality, trees=None), replace(engagement, trees=None))
    table = models[0].ngram_models[0].weights
    return {
        "normalise and hash": TextBatch,
        "normalise, hash, sum one table": lambda part: TextBatch(part).weighted_sums(table),
        "shape": lambda part: shape_matrix(TextBatch(part)),
        "cues": lambda part: lexicon_matrix(TextBatch(part)),
        **{model.name: partial(filtered, model) for model in models},
        "quality": lambda part: quality.score_texts(TextBatch(part)),
        "engagement, before counts": lambda part: engagement.prior_batch(PostBatch(posts(part))),
        "both rankers, one featuriser": lambda part: _rank(rankers, PostBatch(posts(part))),
        "both without LightGBM": lambda part: _rank(linear, PostBatch(posts(part))),
        "three filters, one featuriser": lambda part: _all(models, PostBatch(posts(part))),
        "scikit-learn hashing+tf-idf+linear": scikit_learn(texts),
    }


def _rank(rankers: tuple[QualityModel, ExpectedClicks], batch: PostBatch) -> list[object]:
    quality, engagement = rankers
    return [quality.score_batch(batch), engagement.prior_batch(batch)]


def _all(models: Sequence[FilterModel], batch: PostBatch) -> list[object]:
    return [model.score_batch(batch) for model in models]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=4_096)
    options = parser.parse_args()
    texts = generated(options.texts)
    characters = np.mean([len(text) for text in texts])
    print(f"{platform.machine()}, Python {platform.python_version()}, numpy {np.__version__};")
    print(
        f"{len(texts):,} generated texts of 25 words, {characters:.0f} characters; microseconds of"
    )
    print("processor time per text, best of the rounds\n")
    print(f"| {'what':36} | batch of 256 | batch of 1 |\n|{'-' * 38}|-------------:|-----------:|")
    for name, run in runs(texts).items():
        large = microseconds(run, texts, 256, options.rounds)
        single = microseconds(run, texts[:512], 1, max(options.rounds // 2, 1))
        print(f"| {name:36} | {large:12.1f} | {single:10.1f} |", flush=True)
    for events, counted in ((1_000, 1_000), (10_000, 500)):
        cost = counters_cost(events, counted, options.rounds)
        print(f"\ncounters, {events:,} events on {counted:,} posts: {cost:.2f} an event")


if __name__ == "__main__":
    main()

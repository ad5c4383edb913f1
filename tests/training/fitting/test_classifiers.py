from __future__ import annotations

import numpy as np
import pytest

from builders.events import posts_of
from feedmill.features.post_batch import PostBatch
from feedmill.training.fitting.classifiers import Expert, LinearBlend, fit_linear_blend


def test_experts_of_a_blend_weigh_alike_however_large_their_columns_are() -> None:
    texts = ["win free money now", "a walk in the woods"] * 40
    batch = PostBatch(posts_of(texts))
    labels = np.array([1.0, 0.0] * 40)
    ngrams = (labels * 1e6)[:, None]
    everything = np.ones(80, dtype=np.bool_)
    blend = LinearBlend((Expert("cues", 1.0, 1.0),))
    classifier = fit_linear_blend(blend, ngrams, batch, labels, np.ones(80), everything)
    rows = np.concatenate([ngrams, batch.columns("cues")], axis=1)
    from_ngrams = rows[:, :1] * classifier.weights[:1]
    from_lexicon = rows[:, 1:] @ classifier.weights[1:]
    assert from_ngrams.std() == pytest.approx(1.0, rel=1e-5)
    assert from_lexicon.std() == pytest.approx(1.0, rel=1e-5)
    assert np.isneginf(classifier.floors).all()


def test_an_expert_that_finds_nothing_does_not_outweigh_one_that_does() -> None:
    texts = ["win free money now", "a walk in the woods"] * 40
    batch = PostBatch(posts_of(texts))
    labels, everything = np.array([1.0, 0.0] * 40), np.ones(80, dtype=np.bool_)
    ngrams = np.tile([0.0, 1.0], 40)[:, None]
    blend = LinearBlend((Expert("cues", 1.0, 1.0),), floor=-1.0)
    classifier = fit_linear_blend(blend, ngrams, batch, labels, np.ones(80), everything)
    np.testing.assert_array_equal(classifier.floors, [-1.0, -1.0])
    rows = np.concatenate([ngrams, batch.columns("cues")], axis=1)
    rows[0, 0] = -1e9
    by_lexicon = rows[0, 1:] @ classifier.weights[1:] + classifier.biases[1]
    assert by_lexicon == pytest.approx(1.0, rel=1e-5)
    assert classifier.raw_scores(rows)[0] == pytest.approx(-1.0 + by_lexicon)

"""Why a filter gives a post its value: words and columns of evidence, in parts of the log-odds."""

from __future__ import annotations

from math import fsum

import msgspec

from feedmill.events.post import Post
from feedmill.features.post_batch import PostBatch
from feedmill.filters.model import FilterModel, log_odds
from feedmill.models.word_parts import word_parts

Parts = list[tuple[str, float]]
# A text may have thousands of words; no word is written like this.
OTHERS, _MAX_WORDS = "(others)", 30


class Explanation(msgspec.Struct, frozen=True):
    """A value and the parts of its log-odds, which add up to `log_odds`.

    Attributes
    ----------
    words
        By view of the post (`Evidence.views`), what each word adds, the strongest first.
    evidence
        What each column of evidence adds that is not 0, the strongest first.
    constant
        What every post of this length has: the bias less the threshold.
    limit
        What the ceiling of the values takes away, or what a label of the author's own or a linked
        domain adds.
    """

    value: float
    log_odds: float
    words: dict[str, Parts]
    evidence: Parts
    constant: float
    limit: float


def explain_post(model: FilterModel, post: Post) -> Explanation:
    """Explain the value of one post; raises what the model raises on it."""
    batch = PostBatch([post])
    calibrator = model.calibrator
    weights = (model.weights * calibrator.slope).tolist()
    views = model.evidence.views
    columns = model.evidence_rows(batch)[0] * weights
    words: dict[str, Parts] = {}
    for index, (view, ngrams) in enumerate(zip(views, model.ngram_models, strict=True)):
        if not batch.has_content(view)[0]:
            continue
        parts = word_parts(ngrams, batch.view(view).texts[0])
        words[view] = _strongest({word: part * weights[index] for word, part in parts.items()})
    named = dict(zip(model.evidence.names[len(views) :], columns[len(views) :], strict=True))
    evidence = _strongest({name: float(part) for name, part in named.items() if part})
    value = float(model.score_batch(batch)[0])
    scored = model.raw_scores(batch), batch.characters
    odds = float(calibrator.log_odds(*scored)[0])
    if value > float(calibrator.value(*scored)[0]):
        odds = log_odds(value)
    moved = fsum(part for some in (*words.values(), evidence) for _, part in some)
    unlimited = float(calibrator.unlimited(*scored)[0])
    return Explanation(value, odds, words, evidence, unlimited - moved, odds - unlimited)


def _strongest(parts: dict[str, float]) -> Parts:
    """Return the parts, the strongest first; those beyond `_MAX_WORDS` are one."""
    ordered = sorted(parts.items(), key=lambda part: (-abs(part[1]), part[0]))
    others = ordered[_MAX_WORDS:]
    rest = [(OTHERS, fsum(part for _, part in others))] if others else []
    return ordered[:_MAX_WORDS] + rest

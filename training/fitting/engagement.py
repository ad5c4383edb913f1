"""Fit the engagement ranker: a head for each kind of reaction, their sum, and what it is worth.

A head is a linear model of the text, and what kinds of media add.  `fit_impressions` fits the
ranker on a product's own impressions, by the recipe of the shipped ranker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from feedmill.features.authorship import hours_of_day
from feedmill.features.media import MEDIA_KINDS, media_kinds
from feedmill.features.text.ngrams import BUCKETS, TextBatch
from feedmill.features.text.shape import SHAPE_COLUMNS
from feedmill.models.text_model import LinearText, quantised, weighted_sum
from feedmill.rankers.engagement import (
    PostEffects,
    no_media,
    posterior,
    prior_of,
    sum_media,
    tree_columns,
)
from feedmill.rankers.impressions import Impressions
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.headline_tests import Arms, SeenArms, after_impressions
from feedmill.training.datasets.impression_arms import (
    ShownPosts,
    arms_of,
    community_days,
    seen_before,
    shown_posts,
)
from feedmill.training.datasets.labelled_posts import LabelledPosts
from feedmill.training.datasets.ranker_datasets import within_group_targets
from feedmill.training.evaluation.ranker_metrics import log_loss, slope_within
from feedmill.training.fitting.linear_text import (
    RidgePenalties,
    TextRows,
    fit_with_scores,
    group_means,
    score_rows,
    text_rows,
)
from feedmill.training.fitting.ngram_models import SEED, folds_of, out_of_fold
from feedmill.training.fitting.post_effects import EffectRows, fit_effects
from feedmill.training.fitting.trees import correction, fit_correction
from feedmill.training.recipes import EngagementRecipe

_MOST_IMPRESSIONS = 20_000
_DRAWS = 6
# A kind of reaction that users hardly show has a head that says nothing.
LEAST_REACTIONS = 50


@dataclass(frozen=True)
class FittedHead:
    """A head before it is summed with others.

    Attributes
    ----------
    text
        The model of texts, which learned nothing of media.
    media
        What each of `MEDIA_KINDS` adds to its score, and 0 for unknown ones: (kinds + 1,).
    rows
        How many rows it learned from.
    """

    text: LinearText
    media: Values
    rows: int

    def scores(self, rows: TextRows) -> Values:
        """Return the score of each row: (rows,)."""
        scores = score_rows(self.text, rows)
        return scores if rows.media is None else scores + self.media[rows.media]


def fit_head(rows: TextRows, penalties: RidgePenalties) -> FittedHead:
    """Fit within groups; media after the text, so that one without media has the text's score."""
    text, scores = fit_with_scores(rows, penalties, within_groups=True)
    media = no_media()
    if penalties.media is not None and rows.media is not None:
        media = fit_media(rows, scores, penalties.media)
    return FittedHead(text, media, len(rows))


def head_scores(rows: TextRows, folds: npt.NDArray[np.int64], penalties: RidgePenalties) -> Values:
    """Score each row by a head that did not learn from the row's fold: (rows,)."""

    def score(kept: Mask, held_out: Mask) -> Values:
        return fit_head(rows.where(kept), penalties).scores(rows.where(held_out))

    return out_of_fold(folds, score)


def fit_media(rows: TextRows, scores: Values, penalty: float) -> Values:
    """Fit what kinds of media add to scores within groups, by a ridge regression.

    Parameters
    ----------
    rows
        Those of unknown kinds are left out.
    scores
        (rows,) of the text, out of fold.
    penalty
        As many rows of a kind as halve what it adds.

    Returns
    -------
    (kinds + 1,), with weighted mean 0 over the rows; 0 for kinds without rows and unknown ones.
    """
    effects = no_media()
    if rows.media is None or not (known := rows.media >= 0).any():
        return effects
    some, media, weights = rows.where(known), rows.media[known], rows.weights[known]
    columns = np.column_stack([np.eye(len(MEDIA_KINDS))[media], some.values - scores[known]])
    columns -= group_means(columns, weights, some.groups)
    kinds, rest = columns[:, :-1], columns[:, -1]
    squares = kinds.T @ (weights[:, None] * kinds) + penalty * np.eye(len(MEDIA_KINDS))
    found = np.linalg.solve(squares, kinds.T @ (weights * rest))
    seen = np.unique(media)
    effects[seen] = found[seen] - np.average(found[media], weights=weights)
    return effects


@dataclass(frozen=True)
class FittedEngagement:
    """What an artifact of engagement is made of.

    Attributes
    ----------
    heads
        By kind of reaction; over the headlines of the tests their scores have mean 0 and unit
        deviation.
    media
        What kinds of media add to the score of each head, as in `ExpectedClicks`.
    head_weights
        What each adds to the log of the click rate.
    effects
        What authors and hours add to their sum; None where nothing told them.
    trees
        LightGBM's text: what `tree_columns` adds to it; None if the recipe has no rounds.
    base, prior_weight
        As in `ExpectedClicks`.
    rows
        How many rows each head learned from.
    """

    heads: Mapping[str, LinearText]
    media: Mapping[str, Values]
    head_weights: Mapping[str, float]
    effects: PostEffects | None
    trees: str | None
    base: float
    prior_weight: float
    rows: Mapping[str, int]

    @property
    def lift(self) -> LinearText:
        """The weighted sum of the heads."""
        return weighted_sum([*self.heads.values()], [*self.head_weights.values()])

    def lifts_of(self, rows: TextRows, added: Values | float = 0.0) -> Values:
        """Return the log of what each text, with its media, lifts the base rate by: (rows,).

        `added` (rows,) is what the effects of author and hour add.
        """
        linear = score_rows(self.lift, rows)
        if rows.media is not None:
            linear = linear + sum_media(self.media, self.head_weights)[rows.media]
        linear = linear + added
        return linear + correction(self.trees, tree_columns(linear, rows.shape))


def fit_engagement(
    recipe: EngagementRecipe, arms: Arms, reactions: Mapping[str, LabelledPosts]
) -> FittedEngagement:
    """Fit on the arms of headline tests, and on posts labelled by their reactions of each kind."""
    return fit_prior(recipe, arms, fit_reaction_heads(recipe, reactions))


def fit_reaction_heads(
    recipe: EngagementRecipe, reactions: Mapping[str, LabelledPosts]
) -> dict[str, FittedHead]:
    """Fit all heads but that of clicks."""
    return {
        head.kind: fit_head(
            reaction_rows(reactions[head.kind], recipe.most_rows)[0], head.penalties
        )
        for head in recipe.heads[1:]
    }


class SeenBefore(NamedTuple):
    """What was seen of arms at some moments, and what came of the rest.

    Attributes
    ----------
    arms
        (moments,) int64: which arm it is.
    seen
        (moments,) each.
    """

    arms: npt.NDArray[np.int64]
    seen: SeenArms


class FittedHeads(NamedTuple):
    """The heads before they are summed, by kind of reaction.

    Attributes
    ----------
    models
        As fitted on all their rows.
    scores
        (arms,) each: by heads that learned nothing of the arm.
    """

    models: Mapping[str, FittedHead]
    scores: Mapping[str, Values]


def fit_prior(
    recipe: EngagementRecipe, arms: Arms, others: Mapping[str, FittedHead]
) -> FittedEngagement:
    """Fit what arms of headline tests teach, beside the heads of other reactions.

    What the sum of the heads says of clicks, what trees add to it, and what that is worth beside
    counts, is fitted on all tests; there the click head of each half of the weeks is one that
    learned from the other half, and trees correct no test that they learned from.
    """
    rows = arm_rows(arms)
    click = recipe.heads[0]
    models = {click.kind: fit_head(rows, click.penalties), **others}
    batch = TextBatch(arms.texts)
    scores = {kind: head.text.score(batch) for kind, head in others.items()}
    scores[click.kind] = scores_by_halves(rows, arms.weeks, click.penalties)
    return sum_heads(recipe, arms, rows, FittedHeads(models, scores), thinned(arms))


def sum_heads(
    recipe: EngagementRecipe,
    arms: Arms,
    rows: TextRows,
    fitted: FittedHeads,
    moments: Sequence[SeenBefore],
    effect_rows: EffectRows | None = None,
) -> FittedEngagement:
    """Fit what the sum of the heads says of clicks, the trees, and what the prior is worth.

    `rows` are those of `arm_rows`; `moments` say what was seen of arms before more came.  From
    `effect_rows` it learns what authors and hours add before the trees.
    """
    batch = TextBatch(arms.texts)
    summed = np.zeros(len(arms))
    heads, media = {}, {}
    for head in recipe.heads:
        column = fitted.scores[head.kind]
        deviation = float(column.std()) or 1.0
        summed += head.weight * (column - column.mean()) / deviation
        model = fitted.models[head.kind]
        heads[head.kind] = _standardised(model.text, batch, deviation)
        media[head.kind] = model.media / deviation
    slope = slope_within(summed, rows.values, rows.weights, rows.groups)
    lifts, effects = slope * summed, None
    if effect_rows is not None:
        effects, added = fit_effects(effect_rows, lifts, recipe.effects)
        lifts = lifts + added
    trees, corrections = _fit_correction(recipe, rows, lifts)
    lifts = prior_of(1.0, lifts + corrections)
    base = float(arms.clicks.sum() / (arms.impressions * lifts).sum())
    prior_weight = fit_prior_weight(recipe, base * lifts, moments)
    head_weights = {head.kind: slope * head.weight for head in recipe.heads}
    counts = {kind: model.rows for kind, model in fitted.models.items()}
    return FittedEngagement(heads, media, head_weights, effects, trees, base, prior_weight, counts)


def _fit_correction(
    recipe: EngagementRecipe, rows: TextRows, lifts: Values
) -> tuple[str | None, Values]:
    """Fit what the linear lifts leave unexplained within tests.

    Returns LightGBM's text, and (rows,) the corrections by trees that know nothing of a row's test.
    """
    columns = tree_columns(lifts, rows.shape)
    centred = lifts - group_means(lifts[:, None], rows.weights, rows.groups)[:, 0]
    rest = rows.values - centred

    def fit(kept: Mask) -> str | None:
        return fit_correction(columns[kept], rest[kept], rows.weights[kept], 1, recipe.trees)

    def score(kept: Mask, held_out: Mask) -> Values:
        return correction(fit(kept), columns[held_out])

    everything = np.ones(len(rows), dtype=np.bool_)
    return fit(everything), out_of_fold(folds_of(rows.groups), score)


def scores_by_halves(
    rows: TextRows, weeks: npt.NDArray[np.int64], penalties: RidgePenalties
) -> Values:
    """Score each half of the weeks by a head of the other half, less the half's mean: (rows,)."""
    halves = (weeks > np.median(weeks)).astype(np.int64)
    scores = head_scores(rows, halves, penalties)
    means = np.bincount(halves, scores) / np.bincount(halves)
    return np.asarray(scores - means[halves], dtype=np.float64)


def _standardised(model: LinearText, batch: TextBatch, deviation: float) -> LinearText:
    """Return the model over a deviation, shifted so that its mean over a batch is 0."""
    scaled = weighted_sum([model], [1.0 / deviation])
    bias = scaled.ngram_model.bias - float(scaled.score(batch).mean())
    return replace(scaled, ngram_model=replace(scaled.ngram_model, bias=bias))


def thinned(arms: Arms) -> list[SeenBefore]:
    """Draw how much of each arm is seen before, a few times: few impressions more often than many.

    Raises `TypeError` where impressions are no whole numbers.
    """
    random = np.random.default_rng(SEED)
    drawn = []
    for _ in range(_DRAWS):
        log_limit = np.log1p(arms.impressions * 0.8)
        seen = np.expm1(random.uniform(0, 1, len(arms)) * log_limit).astype(np.int64)
        drawn.append(SeenBefore(np.arange(len(arms)), after_impressions(arms, seen, random)))
    return drawn


def fit_prior_weight(
    recipe: EngagementRecipe, priors: Values, moments: Sequence[SeenBefore]
) -> float:
    """Return the weight of (arms,) priors with the least log loss on what came after moments."""

    def loss(prior_weight: float) -> float:
        return sum(
            log_loss(
                posterior(priors[arms], seen.clicks, seen.impressions, prior_weight),
                seen.rate,
                seen.rest,
            )
            for arms, seen in moments
        )

    return min(recipe.prior_weights, key=loss)


def arm_rows(arms: Arms, smoothing: float = 1.0) -> TextRows:
    """Return arms with the log of their click rate, less the mean of their test, as target.

    To each arm half a click on `smoothing` impressions is added.
    """
    logs, weights = log_rates(arms, smoothing)
    tests = np.array(arms.tests, dtype=np.str_)
    values = logs - group_means(logs[:, None], weights, tests)[:, 0]
    return text_rows(arms.texts, values, arms.tests, weights / weights.mean(), arms.media)


def log_rates(arms: Arms, smoothing: float) -> tuple[Values, Values]:
    """Return the log of each click rate, and how well it is known: (arms,) each.

    To each arm half a click on `smoothing` impressions is added.
    """
    rates = (arms.clicks + 0.5) / (arms.impressions + smoothing)
    weights = np.minimum(arms.impressions.astype(np.float64), _MOST_IMPRESSIONS) * rates
    return np.log(rates), weights


def reaction_rows(posts: LabelledPosts, most: int) -> tuple[TextRows, LabelledPosts]:
    """Return posts with `within_group_targets`, at most so many, and these posts."""
    posts = posts.where(np.isfinite(within_group_targets(posts))).sample(most, SEED)
    posts = posts.where(np.isfinite(within_group_targets(posts)))
    values, media = within_group_targets(posts), media_kinds(posts.posts)
    return text_rows(posts.texts, values, posts.groups, media=media), posts


def fit_impressions(recipe: EngagementRecipe, rows: Impressions) -> FittedEngagement:
    """Fit on impressions that `check_enough` let pass, of `most_rows` posts drawn from all.

    Each head learns how often users react so to what they are shown.  What the prior is worth is
    fitted on what was counted before each impression.
    """
    rows = _of_some_posts(rows, recipe.most_rows)
    shown = shown_posts(rows)
    arms = arms_of(rows, shown, recipe.heads[0].kind)
    models: dict[str, FittedHead] = {}
    scores: dict[str, Values] = {}
    for head in recipe.heads:
        of_kind = arms_of(rows, shown, head.kind)
        if of_kind.clicks.sum() < LEAST_REACTIONS:
            silent = LinearText(quantised(np.zeros(BUCKETS), 0.0), np.zeros(len(SHAPE_COLUMNS)))
            models[head.kind] = FittedHead(silent, no_media(), 0)
            scores[head.kind] = np.zeros(len(arms))
            continue
        targets = arm_rows(of_kind, smoothing_of(of_kind))
        models[head.kind] = fit_head(targets, head.penalties)
        scores[head.kind] = scores_by_halves(targets, arms.weeks, head.penalties)
    smoothing = smoothing_of(arms)
    return sum_heads(
        recipe,
        arms,
        arm_rows(arms, smoothing),
        FittedHeads(models, scores),
        [SeenBefore(shown.arms, seen_before(rows))],
        _effect_rows(arms, shown, smoothing),
    )


def _effect_rows(arms: Arms, shown: ShownPosts, smoothing: float) -> EffectRows:
    """Return the arms as effects of authors and hours are fitted on."""
    logs, weights = log_rates(arms, smoothing)
    return EffectRows(
        logs,
        weights / weights.mean(),
        hours_of_day(shown.posts),
        shown.authors,
        np.array(community_days(shown.posts), dtype=np.str_),
        np.array(shown.groups, dtype=np.str_),
    )


def _of_some_posts(rows: Impressions, most: int) -> Impressions:
    shown = np.unique(rows.versions)
    if len(shown) <= most:
        return rows
    drawn = np.random.default_rng(SEED).choice(shown, most, replace=False)
    return rows.where(np.isin(rows.versions, drawn))


def smoothing_of(arms: Arms) -> float:
    """Return on how many impressions half a click is the rate of all arms together.

    So a post that few have seen has about this rate.
    """
    return float(0.5 * arms.impressions.sum() / arms.clicks.sum())

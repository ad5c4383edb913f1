"""A simulation: headlines get authors and hours, and what these do to clicks is planted.

No public data set has impressions together with authors and times.  Here the click rates of the
headlines are those that Upworthy measured; who wrote them, when, and what that does is drawn.

    python -m feedmill.training.evaluation.effect_simulation DATA PAGE    # docs/author-and-hour.md
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feedmill.events.post import Post
from feedmill.features.authorship import DAY_HOURS, author_key, hours_of_day
from feedmill.rankers.engagement import HEADS, posterior
from feedmill.rankers.impressions import Impressions
from feedmill.training.arrays import Mask, Values
from feedmill.training.datasets.headline_tests import Arms, in_test_split, read_arms
from feedmill.training.datasets.impression_arms import seen_before, shown_posts
from feedmill.training.evaluation.impressions import Split, priors_of, split_by_time
from feedmill.training.evaluation.intervals import Bootstrap, Figure
from feedmill.training.evaluation.ranker_metrics import log_losses
from feedmill.training.evaluation.ranker_report import mean_figures
from feedmill.training.fitting.impressions import fit_impressions
from feedmill.training.ranker_recipes import ENGAGEMENT, EngagementRecipe

_START_MS = 1_700_006_400_000  # a midnight
_HOUR_MS = 3_600_000
_DAYS, _COMMUNITIES, _PARTITIONS = 28, 8, 4
_POSTS_OF_AN_AUTHOR = 20
# So many of the authors begin to write only when the model is trained.
_LATE_AUTHORS = 0.15
_LATE_FROM = 0.8
_USERS = 100
_BEST_HOUR = 18
_NONE = (np.inf,)


@dataclass(frozen=True)
class Planted:
    """What is planted, in log.

    Attributes
    ----------
    authors
        The standard deviation of what authors add.
    hours
        What the best hour adds and the worst takes away; a wave of a day between.
    """

    authors: float
    hours: float


@dataclass(frozen=True)
class Gains:
    """The log loss of a model less that of one without effects, in 1e-4 nats an impression.

    Of posts that came later, by which impressions are measured; intervals are by author.
    """

    what: str
    first_look: Figure
    known_authors: Figure
    new_authors: Figure
    with_counts: Figure


def simulate(arms: Arms, planted: Planted, users: int, random: np.random.Generator) -> Impressions:
    """Publish each arm as a post of a drawn author and time, and show it to so many users."""
    count = len(arms)
    authors = max(2, count // _POSTS_OF_AN_AUTHOR)
    # Some authors write much more than others.
    share = random.gamma(1.0, 1.0, authors)
    of_posts = random.choice(authors, count, p=share / share.sum())
    is_late = random.random(authors) < _LATE_AUTHORS
    when = random.random(count)
    when = np.where(is_late[of_posts], _LATE_FROM + (1 - _LATE_FROM) * when, when)
    posts = [
        Post(
            f"p{i}",
            f"author-{of_posts[i]}",
            _START_MS + int(when[i] * _DAYS * DAY_HOURS * _HOUR_MS),
            arms.texts[i],
            communities=(f"c{random.integers(_COMMUNITIES)}",),
        )
        for i in range(count)
    ]
    hours = hours_of_day(posts)
    lifts = planted.authors * random.normal(size=authors)[of_posts]
    lifts += planted.hours * np.cos((hours - _BEST_HOUR) * 2 * np.pi / DAY_HOURS)
    rates = np.minimum(arms.clicks / arms.impressions * np.exp(lifts), 0.9)
    clicked = random.random((count, users)) < rates[:, None]
    return _impressions(posts, clicked)


def _impressions(posts: list[Post], clicked: npt.NDArray[np.bool_]) -> Impressions:
    """Return a row for each post and user, of whom each comes a minute after the last."""
    count, users = clicked.shape
    versions = np.repeat(np.arange(count), users)
    created_ms = np.array([post.created_at_ms for post in posts], dtype=np.int64)
    at_ms = created_ms[versions] + 60_000 * np.tile(np.arange(1, users + 1), count)
    before: Values = np.cumsum(clicked, axis=1, dtype=np.float64) - clicked
    reactions = np.zeros((count * users, len(HEADS)), dtype=np.bool_)
    reactions[:, 0] = clicked.ravel()
    return Impressions(
        posts,
        versions,
        at_ms,
        np.ones(len(versions)),
        before.ravel(),
        np.tile(np.arange(users, dtype=np.float64), count),
        reactions,
        np.array([author_key(post.author_id) for post in posts], dtype=np.int64),
    )


def gains(recipe: EngagementRecipe, rows: Impressions) -> list[Gains]:
    """Compare models that learn hours and authors, on the posts of the last fifth of the time."""
    whole = split_by_time(rows)
    shown = shown_posts(whole.after)
    known = np.isin(shown.authors, np.unique(whole.before.authors[whole.before.versions]))
    effects = recipe.effects
    recipes = {
        "hour": replace(effects, authors=_NONE),
        "author": replace(effects, hours=_NONE),
        "both": effects,
    }
    plain = _losses(replace(recipe, effects=replace(effects, hours=_NONE, authors=_NONE)), whole)
    found = [
        _gains(name, _losses(replace(recipe, effects=some), whole), plain, known)
        for name, some in recipes.items()
    ]
    apart = split_by_time(replace(rows, authors=_by_partition(rows)))
    name = f"author, in {_PARTITIONS} partitions that know nothing of each other"
    return [
        *found,
        _gains(name, _losses(replace(recipe, effects=recipes["author"]), apart), plain, known),
    ]


def _by_partition(rows: Impressions) -> npt.NDArray[np.int64]:
    """Return a key for each author in each partition, as if each stage kept authors of its own."""
    return np.array(
        [
            author_key(f"{author}|{number % _PARTITIONS}")
            for number, author in enumerate(rows.authors.tolist())
        ],
        dtype=np.int64,
    )


@dataclass(frozen=True)
class _Losses:
    """Sums by later post: of the prior alone, and of the value at each impression."""

    authors: list[str]
    prior: Values
    value: Values
    impressions: Values


def _losses(recipe: EngagementRecipe, split: Split) -> _Losses:
    fitted = fit_impressions(recipe, split.before)
    shown, seen = shown_posts(split.after), seen_before(split.after)
    priors = priors_of(fitted, shown)[shown.arms]
    values = posterior(priors, seen.clicks, seen.impressions, fitted.prior_weight)
    count = len(shown.posts)

    def summed(of_rows: Values) -> Values:
        return np.bincount(shown.arms, of_rows * seen.rest, minlength=count).astype(np.float64)

    return _Losses(
        [post.author_id for post in shown.posts],
        summed(log_losses(priors, seen.rate)),
        summed(log_losses(values, seen.rate)),
        summed(np.ones(len(split.after))),
    )


def _gains(what: str, model: _Losses, plain: _Losses, known: Mask) -> Gains:
    def figure(column: Mapping[str, Values], kept: Mask) -> Figure:
        authors = [name for name, is_kept in zip(model.authors, kept, strict=True) if is_kept]
        less = 1e4 * (column["model"] - column["plain"])[kept] / model.impressions[kept]
        return mean_figures(Bootstrap(authors), [less], model.impressions[kept])[0]

    everything = np.ones(len(known), dtype=np.bool_)
    prior = {"model": model.prior, "plain": plain.prior}
    return Gains(
        what,
        figure(prior, everything),
        figure(prior, known),
        figure(prior, ~known),
        figure({"model": model.value, "plain": plain.value}, everything),
    )


_SETTINGS = (Planted(0.4, 0.2), Planted(0.2, 0.1), Planted(0.0, 0.0))


def page(arms: Arms) -> str:
    """Return docs/author-and-hour.md."""
    tables = []
    for planted in _SETTINGS:
        rows = simulate(arms, planted, _USERS, np.random.default_rng(11))
        tables += [
            f"| {planted.authors:g}, {planted.hours:g} | {one.what} | {one.first_look} |"
            f" {one.known_authors} | {one.new_authors} | {one.with_counts} |"
            for one in gains(ENGAGEMENT, rows)
        ]
    return _PAGE.format(arms=f"{len(arms):,}", users=_USERS, days=_DAYS, rows="\n".join(tables))


_PAGE = """\
# Author and hour of a post: a simulation

A model that `feedmill train engagement --from-topics` fits learns what the author and the hour of
a post add to its prior ([why](decisions/ranker-models.md)). The shipped model knows
neither: no public data set has impressions together with authors and times.

So this is a **simulation**: {arms} headlines of Upworthy's tests (none of the rows that test
models) have the click rates that were measured. Each gets an author, one of eight communities and
a time of {days} days by chance, and {users} users see it. What authors and hours do is planted:
the log of the rate rises by a normal deviate of the author and by a wave over the day. One author
in seven begins when the model is already trained.

The recipe learns from the first four fifths of the time, and the posts of the last fifth test it.
Figures are the log loss less that of the same recipe without author and hour, in 1e-4 nats an
impression, so that less is better; the intervals of 95 % are by the cluster bootstrap over
authors. The last column is of the value, which counts move, over all {users} impressions.

| planted: authors, hours | learns | prior | prior, known authors | prior, new authors | value |
|---|---|--:|--:|--:|--:|
{rows}

Written by
`python -m feedmill.training.evaluation.effect_simulation DATA docs/author-and-hour.md`.
"""


if __name__ == "__main__":
    all_arms = read_arms(Path(sys.argv[1]))
    Path(sys.argv[2]).write_text(page(all_arms.where(~in_test_split(all_arms))), "utf-8")

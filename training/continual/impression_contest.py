"""How challengers of engagement are tried: on a product's impressions, author by author.

Whether a user clicks is known a day after the impression (`wait_ms`).  So an impression younger
than that neither trains nor bets, and what a bet is scored by learned only from impressions whose
day was over when that one came.

*Better*: the difference of two Brier scores, of the click of an impression given all that had been
counted of its post.  A bet is the mean over one author's posts.

*Not worse*: on a frozen reference that is older than the window, one bet for each group of near
copies that the challenger's Brier score is larger by `MARGIN` at most.

Impressions of one post, of one author and of one user go wrong together.  So a bet is of one
author's posts, each impression by a user who is in no other bet, and of near copies of a text no
more than one post bets.  What is chosen follows from who saw what, and never from who clicked.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from feedmill.events.errors import UsageError
from feedmill.models.artifact import Artifact, unpack_artifact
from feedmill.rankers.engagement import ExpectedClicks
from feedmill.rankers.impressions import Impressions
from feedmill.training.arrays import Mask, Values
from feedmill.training.continual.challenger import Contest, e_value
from feedmill.training.continual.rated_posts import near_copy_clusters
from feedmill.training.datasets.impression_arms import LEAST_IMPRESSIONS, check_enough
from feedmill.training.fitting.engagement import FittedEngagement, fit_impressions
from feedmill.training.recipes import EngagementRecipe
from feedmill.training.trainers.engagement import pack

# A user has so many impressions at most, or such a part of all, whichever is more.
FREE_IMPRESSIONS, MOST_OF_ALL = 20, 0.01
NO_BET = -1
# How much larger its squared error on the reference may be.
MARGIN = 0.01
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
Numbers = npt.NDArray[np.int64]

# Such a part of the window trains before the first bet.  A model of less would lose its bets.
_FIRST_PART = 0.25
# It is fitted again once it knows so many times the impressions.
_GROWTH = 2.0


def without_floods(rows: Impressions) -> Impressions:
    """Return impressions of which no user has too many; a hash chooses which of a user's stay.

    Raises `UsageError` where the users are not known.
    """
    most = max(FREE_IMPRESSIONS, int(MOST_OF_ALL * len(rows)))
    return rows.where(_rank_of_each(users_of(rows), _hashes(rows)) < most)


def bet_numbers(rows: Impressions, fresh: Mask) -> Numbers:
    """Return the bet of each impression, from 0 on in the order of time; `NO_BET`: of none.

    Parameters
    ----------
    rows
        Impressions with their users.
    fresh
        (rows,) which of them may bet.  Near copies of posts that were shown before never do.
    """
    authors, clusters = _authors_and_clusters(rows)
    old = np.unique(clusters[rows.versions[~fresh]])
    order = np.argsort(rows.at_ms, kind="stable")
    places = order[fresh[order] & ~np.isin(clusters[rows.versions[order]], old)]
    first_author = _first_of_each(clusters[rows.versions[places]], authors[rows.versions[places]])
    places = places[first_author == authors[rows.versions[places]]]
    hashes, users = _hashes(rows)[places], users_of(rows)[places]
    chosen = places[_rank_of_each(users, hashes) == 0]
    numbers = np.full(len(rows), NO_BET, dtype=np.int64)
    _, first, place = np.unique(
        authors[rows.versions[chosen]], return_index=True, return_inverse=True
    )
    numbers[chosen] = np.argsort(np.argsort(first, kind="stable"), kind="stable")[place]
    return numbers


def users_of(rows: Impressions) -> Numbers:
    """Return who saw each impression; raises `UsageError` where that is not known."""
    if rows.users is None:
        raise UsageError("these impressions do not say who saw them; read them from the topics")
    return rows.users


def _authors_and_clusters(rows: Impressions) -> tuple[Numbers, Numbers]:
    """Return the number of the author and of the near-copy cluster of each version: (posts,)."""
    names = np.array([post.author_id for post in rows.posts], dtype=np.str_)
    authors = np.unique(names, return_inverse=True)[1] if len(names) else np.zeros(0, np.int64)
    clusters = near_copy_clusters([post.text for post in rows.posts])
    return authors.astype(np.int64), np.array(clusters, dtype=np.int64)


def _first_of_each(keys: Numbers, values: Numbers) -> Numbers:
    """Return for each row the value of the first row with its key."""
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    return values[first][place]


def _rank_of_each(keys: Numbers, hashes: npt.NDArray[np.uint64]) -> Numbers:
    """Return for each row how many rows of its key have a lower hash, or the same further left."""
    order = np.lexsort((hashes, keys))
    starts = np.flatnonzero(np.diff(keys[order], prepend=keys[order][:1] - 1))
    lengths = np.diff(starts, append=len(keys))
    ranks = np.empty(len(keys), dtype=np.int64)
    ranks[order] = np.arange(len(keys)) - np.repeat(starts, lengths)
    return ranks


def _hashes(rows: Impressions) -> npt.NDArray[np.uint64]:
    """Return a hash of user and post of each impression: the same in every process."""
    posts = np.array([zlib.crc32(post.post_id.encode()) for post in rows.posts], dtype=np.uint64)
    mixed = users_of(rows).astype(np.uint64) ^ (posts[rows.versions] << np.uint64(16))
    hashes: npt.NDArray[np.uint64] = (mixed * _SPREAD) >> np.uint64(7)
    return hashes


@dataclass(frozen=True)
class ImpressionContest(Contest[FittedEngagement]):
    """Challengers of engagement; there is no audit of clicks.

    Attributes
    ----------
    champion
        Who is to be beaten.
    recipe
        That of engagement.
    reference
        Impressions from before the window, which never change.
    wait_ms
        How long after an impression its reactions are known.
    window
        The impressions of the window, with their users, whose reactions are all known.
    fresh_from_ms
        From when on they bet, Unix milliseconds; earlier ones train.
    """

    champion: ExpectedClicks
    recipe: EngagementRecipe
    reference: Impressions
    wait_ms: int
    window: Impressions
    fresh_from_ms: int

    reference_reason = "it may be worse on the reference"

    @cached_property
    def rows(self) -> Impressions:
        """The impressions that train, of which no user has too many."""
        return without_floods(self.window)

    @property
    def counts(self) -> Mapping[str, int]:
        return {
            "impressions": len(self.window),
            "users": len(np.unique(users_of(self.window))),
            "betting": int((self.window.at_ms >= self.fresh_from_ms).sum()),
        }

    def too_few(self) -> str:
        return _too_few(self.rows)

    def bets(self) -> Values:
        """Return a difference of Brier scores for each author's bet, before they are learned."""
        rows, wait_ms = self.rows, self.wait_ms
        stretches = [*self._stretches()]
        first_ms = stretches[0][0] if stretches else int(rows.at_ms.max()) + 1
        numbers = bet_numbers(rows, rows.at_ms >= first_ms)
        gains, bounds = np.zeros(len(rows)), np.zeros(len(rows))
        has_bet: set[int] = set()
        for begin_ms, end_ms in stretches:
            due = (rows.at_ms >= begin_ms) & (rows.at_ms < end_ms) & (numbers != NO_BET)
            # An author whose posts a former model was tried on does not bet again.
            numbers[due & np.isin(numbers, [*has_bet])] = NO_BET
            due &= numbers != NO_BET
            known = rows.where(rows.at_ms + wait_ms <= begin_ms)
            if not due.any() or _too_few(known):
                numbers[due] = NO_BET
                continue
            model = model_of(fit_impressions(self.recipe, known))
            gains[due], bounds[due] = _gains(self.champion, model, rows.where(due))
            has_bet.update(numbers[due].tolist())
        tried = np.isin(numbers, [*has_bet])
        return _bets(numbers[tried], gains[tried], bounds[tried])

    def better(self) -> tuple[int, float]:
        differences = self.bets()
        return len(differences), e_value(differences)

    def fit(self) -> FittedEngagement:
        return fit_impressions(self.recipe, self.rows)

    def reference_differences(self, fitted: FittedEngagement) -> Values:
        return reference_differences(self.champion, model_of(fitted), self.reference)

    def audit_differences(self, fitted: FittedEngagement) -> None:
        return None

    def _stretches(self) -> Iterator[tuple[int, int]]:
        """Yield the times from and up to which one model is tried, Unix milliseconds.

        The first begins when a part of the window is known, the next ones when that has grown.
        """
        known_ms = np.sort(self.rows.at_ms) + self.wait_ms
        last_ms = int(self.rows.at_ms.max()) + 1
        needed = max(LEAST_IMPRESSIONS, _FIRST_PART * len(known_ms))
        begin_ms = max(int(known_ms[int(needed) - 1]), self.fresh_from_ms)
        while begin_ms < last_ms:
            count = int(np.searchsorted(known_ms, begin_ms, side="right"))
            needed = max(needed, count) * _GROWTH
            end_ms = int(known_ms[int(needed) - 1]) if needed <= len(known_ms) else last_ms
            end_ms = min(max(end_ms, begin_ms + 1), last_ms)
            yield begin_ms, end_ms
            begin_ms = end_ms


def model_of(fitted: FittedEngagement) -> ExpectedClicks:
    """Return the model as a worker reads it."""
    arrays, metadata = unpack_artifact(pack(fitted), "the challenger")
    return ExpectedClicks.of(Artifact("engagement", "challenger", arrays, metadata))


def click_probabilities(model: ExpectedClicks, rows: Impressions) -> Values:
    """Return what a model expected of each impression, as of then: (rows,), in [0, 1].

    An impression is clicked the less often the less its position is looked at.
    """
    shown, place = np.unique(rows.versions, return_inverse=True)
    priors = model.prior_many([rows.posts[n] for n in shown.tolist()])[place]
    values = model.value(priors, rows.clicks, rows.impressions)
    return np.asarray(np.clip(rows.weights, 0.0, 1.0) * values, dtype=np.float64)


def brier(model: ExpectedClicks, rows: Impressions) -> Values:
    """Return the squared error of each impression: (rows,), in [0, 1]."""
    losses: Values = (click_probabilities(model, rows) - rows.reacted("click")) ** 2
    return losses


def reference_differences(
    champion: ExpectedClicks, challenger: ExpectedClicks, reference: Impressions
) -> Values:
    """Return how much better than it must be the challenger is, a bet for each text: (bets,)."""
    shown, place = np.unique(reference.versions, return_inverse=True)
    clusters = near_copy_clusters([reference.posts[n].text for n in shown.tolist()])
    gains, bounds = _gains(champion, challenger, reference)
    return _bets(np.array(clusters, dtype=np.int64)[place], gains + MARGIN, bounds + MARGIN)


def _too_few(rows: Impressions) -> str:
    try:
        check_enough(rows)
    except UsageError as error:
        return str(error)
    return ""


def _gains(
    champion: ExpectedClicks, challenger: ExpectedClicks, rows: Impressions
) -> tuple[Values, Values]:
    """Return how much less the challenger loses, and how much that can be, whoever clicks."""
    clicked = rows.reacted("click").astype(np.float64)
    old, new = click_probabilities(champion, rows), click_probabilities(challenger, rows)
    gains: Values = (old - new) * (old + new - 2 * clicked)
    bounds: Values = np.abs(old - new) * np.maximum(old + new, 2 - old - new)
    return gains, bounds


def _bets(numbers: Numbers, gains: Values, bounds: Values) -> Values:
    """Return the mean gain of each bet over the largest that any could be by then: in [-1, 1].

    The largest possible gain is known before anybody clicks, so this is only a choice of stakes.
    Without it bets on clicks, of which few come, would be small ones.
    """
    if not len(numbers):
        return np.zeros(0)
    _, place, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    means = np.bincount(place, gains) / counts
    largest = np.maximum.accumulate(np.bincount(place, bounds) / counts)
    scaled: Values = np.divide(means, largest, out=np.zeros(len(means)), where=largest > 0)
    return np.clip(scaled, -1.0, 1.0)

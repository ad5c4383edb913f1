"""How often a product's readers react to posts, learned from the topic `counters`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from feedmill.events.built_in import FURTHER_SIGNALS
from feedmill.events.rates import LEAST_STRENGTH, Rates, ReactionRate
from feedmill.features.counters import Counters
from feedmill.rankers.reaction_rates import reactions_of
from feedmill.streams.engagement.packed_states import decode_state
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import read_all

LEAST_REACTIONS = 200
# Posts that differ no more than chance has them differ would have an endless strength.
_MOST_STRENGTH = 10_000.0
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LearnedRate:
    """A kind of reaction, what the counts of all posts say of it, and its rate then.

    Attributes
    ----------
    impressions, reactions
        Decayed numbers, as they count in the signals.
    is_learned
        Whether there were `LEAST_REACTIONS`: else the rate is the one in force.
    """

    kind: str
    posts: int
    impressions: float
    reactions: float
    base: float
    strength: float
    is_learned: bool


def learned_rates(
    environment: Environment, now: Rates, tell: Callable[[int, int], None]
) -> tuple[tuple[LearnedRate, ...], int]:
    """Learn the rate of each kind, and how many records of `counters` were unreadable.

    `now` are the rates in force.  `tell` gets how many records were read, and of how many.

    Raises what `read_all` raises.
    """
    newest, unreadable = dict[bytes, tuple[tuple[float, float], ...]](), 0
    for record in read_all(environment, "counters", tell):
        key = record.key or b""
        try:
            counters = decode_state(record.value).kept_counters if record.value else Counters()
        except msgspec.MsgspecError:
            unreadable += 1
            continue
        newest[key] = tuple(reactions_of(kind, counters) for kind in FURTHER_SIGNALS)
    return rates_of(newest.values(), now), unreadable


def rates_of(
    posts: Iterable[tuple[tuple[float, float], ...]], now: Rates
) -> tuple[LearnedRate, ...]:
    """Learn the rates from the reactions and impressions of posts, by kind of `FURTHER_SIGNALS`."""
    counts = np.array([*posts]).reshape(-1, len(FURTHER_SIGNALS), 2)
    found = []
    for place, kind in enumerate(FURTHER_SIGNALS):
        reactions, shown = counts[:, place, 0], counts[:, place, 1]
        reactions, shown = reactions[shown > 0], shown[shown > 0]
        is_learned = bool(reactions.sum() >= LEAST_REACTIONS and len(shown) > 1)
        rate = fit_rate(reactions, shown) if is_learned else now[kind]
        sums = float(shown.sum()), float(reactions.sum())
        found.append(LearnedRate(kind, len(shown), *sums, rate.base, rate.strength, is_learned))
    return tuple(found)


def fit_rate(reactions: Floats, shown: Floats) -> ReactionRate:
    """Fit a Beta distribution of the posts' own rates by moments.

    Kleinman 1973, "Proportions with extraneous variance", weights as many as impressions.

    Parameters
    ----------
    reactions, shown
        Of each post, shape (n,): reactions and impressions, the latter above 0 and no fewer.
    """
    total = shown.sum()
    base = float(np.clip(reactions.sum() / total, 1e-6, 0.999))
    by_chance = base * (1 - base)
    spread = (shown * (reactions / shown - base) ** 2).sum()
    others = len(shown) - 1
    room = total - (shown**2).sum() / total - others
    correlation = (spread / by_chance - others) / room if room > 0 else 0.0
    strength = 1 / correlation - 1 if correlation > 0 else _MOST_STRENGTH
    strength = float(np.clip(strength, LEAST_STRENGTH, _MOST_STRENGTH))
    return ReactionRate(float(f"{base:.4g}"), float(f"{strength:.3g}"))

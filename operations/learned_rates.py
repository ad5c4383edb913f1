"""How often a product's readers react to posts, learned from the topic `counters`."""

from __future__ import annotations

from collections.abc import Callable
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
_LEAST_BASE, _MOST_BASE = 1e-6, 0.999
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LearnedRate:
    """A kind of reaction, what the counts of all posts say of it, and its rate then.

    Attributes
    ----------
    impressions, reactions
        Of all posts; of dwells the decayed numbers, since `counters` also counts short ones.
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
    newest, unreadable = dict[bytes, bytes](), 0
    for record in read_all(environment, "counters", tell):
        try:
            counters = decode_state(record.value).kept_counters if record.value else Counters()
        except msgspec.MsgspecError:
            unreadable += 1
            continue
        newest[record.key or b""] = counts_of(counters).tobytes()
    return rates_of(np.frombuffer(b"".join(newest.values())), now), unreadable


def counts_of(counters: Counters) -> Floats:
    """Return the reactions to a post and its impressions, decayed and whole.

    Shape (2, len(FURTHER_SIGNALS), 2).
    """
    whole = Counters(counters.counts, [float(count) for count in counters.counts])
    both = [[reactions_of(kind, of) for kind in FURTHER_SIGNALS] for of in (counters, whole)]
    return np.array(both)


def rates_of(counts: Floats, now: Rates) -> tuple[LearnedRate, ...]:
    """Learn the rates from the counts of posts, each as `counts_of` returns them.

    The base is that of decayed counts, which the signals are made of.  The strength follows from
    how far posts differ beyond chance, so it takes whole counts: decayed ones differ less by chance
    than as many impressions would.  Dwells have decayed counts alone, and keep their strength.
    """
    decayed, whole = counts.reshape(-1, 2, len(FURTHER_SIGNALS), 2).transpose(1, 2, 3, 0)
    found = []
    for place, kind in enumerate(FURTHER_SIGNALS):
        reactions, shown = decayed[place] if kind == "dwell" else whole[place]
        posts, rate = int((shown > 0).sum()), now[kind]
        is_learned = bool(reactions.sum() >= LEAST_REACTIONS and posts > 1)
        if is_learned:
            base = decayed[place][0].sum() / decayed[place][1].sum()
            strength = rate.strength
            if kind != "dwell":
                strength = fit_strength(reactions[shown > 0], shown[shown > 0])
            base = float(np.clip(base, _LEAST_BASE, _MOST_BASE))
            rate = ReactionRate(float(f"{base:.4g}"), float(f"{strength:.3g}"))
        sums = float(shown.sum()), float(reactions.sum())
        found.append(LearnedRate(kind, posts, *sums, rate.base, rate.strength, is_learned))
    return tuple(found)


def fit_strength(reactions: Floats, shown: Floats) -> float:
    """Fit by moments how many impressions the mean rate is worth, of posts with rates of their own.

    Kleinman 1973, "Proportions with extraneous variance", weights as many as impressions.

    Parameters
    ----------
    reactions, shown
        Of each post, shape (n,): reactions and impressions, the latter above 0 and no fewer.
    """
    total = shown.sum()
    mean = np.clip(reactions.sum() / total, _LEAST_BASE, _MOST_BASE)
    spread = (shown * (reactions / shown - mean) ** 2).sum() / (mean * (1 - mean))
    others = len(shown) - 1
    room = total - (shown**2).sum() / total - others
    correlation = (spread - others) / room if room > 0 else 0.0
    strength = 1 / correlation - 1 if correlation > 0 else _MOST_STRENGTH
    return float(np.clip(strength, LEAST_STRENGTH, _MOST_STRENGTH))

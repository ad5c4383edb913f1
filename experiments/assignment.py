"""Which arm of an experiment a user gets: a function of salt, experiment and user alone.

The same function in four languages, with vectors that all of them pass, is `examples/assignment`.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from feedmill.events.experiment import WHOLE


def places(salt: str, experiment: str, user_id: str) -> tuple[int, int]:
    """Return a user's place in the traffic and in the shares, each from 0 to 9,999.

    They are bytes 0 to 7 and bytes 8 to 15 of the SHA-256 of salt, experiment and user, in UTF-8
    with a zero byte between them.  A place is the upper 64 bits of the product of such a number,
    big-endian and unsigned, and 10,000: no floats, and all are equally likely to 2**-50.
    """
    digest = sha256(f"{salt}\0{experiment}\0{user_id}".encode()).digest()
    traffic, share = (int.from_bytes(digest[at : at + 8], "big") for at in (0, 8))
    return traffic * WHOLE >> 64, share * WHOLE >> 64


def arm_of(
    salt: str, experiment: str, user_id: str, traffic: int, arms: Sequence[tuple[str, int]]
) -> str | None:
    """Return the name of a user's arm; None if the user is not in the experiment.

    More traffic moves nobody to another arm: the two places do not depend on each other.

    Parameters
    ----------
    salt, experiment, user_id
        As in the setting, and the user as in exposures and engagements.
    traffic
        How many of 10,000 users are in the experiment.
    arms
        Name and share of each arm in the order of the setting; the shares sum to 10,000.
    """
    in_traffic, in_shares = places(salt, experiment, user_id)
    if in_traffic >= traffic:
        return None
    end = 0
    for arm, share in arms:
        end += share
        if in_shares < end:
            return arm
    raise ValueError(f"the shares of the arms sum to {end}, not to {WHOLE}")

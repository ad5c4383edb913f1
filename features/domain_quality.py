"""How credible the domains of a post's links are, by a public list.

The list (Lin et al. 2023, PNAS Nexus; free to reuse, with citation; as of 2023) ships as hashes of
domains with their score from 0 to 1.  ``python -m feedmill.training.word_lists`` makes it, without
platforms: what is posted there says nothing of who posts it.
"""

from __future__ import annotations

from functools import cache
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt

from feedmill.features.hosts import domains_of_host
from feedmill.features.post_batch import PostBatch

_LIST = Path(__file__).parent / "lists" / "domain_quality.npz"


def domain_key(domain: str) -> int:
    """Return the 64-bit hash of a domain in canonical form."""
    return int.from_bytes(blake2b(domain.encode(), digest_size=8).digest(), "big")


@cache
def domain_scores() -> dict[int, float]:
    """Return the score of each domain of the list, by `domain_key`."""
    with np.load(_LIST, allow_pickle=False) as rows:
        return dict(zip(rows["keys"].tolist(), rows["scores"].tolist(), strict=True))


def host_score(host: str) -> float | None:
    """Return the score of a host: its own, else that of the closest domain above it; or None."""
    scores = domain_scores()
    found = (scores.get(domain_key(domain)) for domain in domains_of_host(host))
    return next((score for score in found if score is not None), None)


def lowest_scores(batch: PostBatch) -> npt.NDArray[np.float64]:
    """Return the lowest score of each post's linked hosts: (posts,), 1 where none is listed."""
    scores = ([host_score(host) for host in hosts] for hosts in batch.link_hosts)
    return np.array([min((s for s in some if s is not None), default=1.0) for some in scores])

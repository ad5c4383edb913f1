from collections import Counter

import numpy as np

from feedmill.events.engagement import Engagement
from feedmill.simulation.audience import TRAITS, Audience, SimulatedPost


def test_the_audience_looks_from_the_top_and_falls_for_clickbait_without_liking_it() -> None:
    rng = np.random.default_rng(5)
    audience = Audience("r", 1, rng)
    kinds = list(TRAITS)
    truth = {}
    for n in range(200):
        truth[f"p{n}"] = kinds[n % len(kinds)]
        audience.publish(SimulatedPost(f"p{n}", kinds[n % len(kinds)], 0, "en", 0.5), 0.0)
    at: Counter[tuple[str, int | None]] = Counter()
    of: Counter[tuple[str, str]] = Counter()
    for visit in range(4000):
        for timed in audience.visit(visit * 0.001):
            event = timed.event
            assert isinstance(event, Engagement)
            at[event.kind, event.position] += 1
            of[event.kind, truth[event.post_id]] += 1
    assert at["click", 0] > 2 * at["click", 3] > 2 * at["click", 7] > 0
    rate = {k: of["click", k] / of["impression", k] for k in kinds}
    assert rate["clickbait"] > rate["ordinary"] > rate["spam"]
    liked = {k: of["like", k] / of["click", k] for k in kinds}
    assert liked["clickbait"] < 0.25 * liked["ordinary"]
    assert of["report", "spam"] > of["report", "ordinary"]

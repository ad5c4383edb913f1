"""The flow on one screen: every stage, what it reads, what it writes, how it fails.

    stage            reads                        writes               without it
    spam             posts                        signals.spam         closed: posts are held
    nsfw             posts                        signals.nsfw         closed: posts are held
    misinformation   posts                        signals.misinfor…    closed: posts are held
    quality          posts                        signals.quality      open: counts as 0
    engagement       posts, engagements           signals.engagement   open: last good value
    combiner         posts, signals.*, overrides  Redis                feeds stay, marked stale

A gate's `on_failure` can open a closed one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import feedmill.filters.registry as filters
import feedmill.rankers.registry as rankers
from feedmill.models.text_model import TextModel
from feedmill.rankers.engagement import EngagementModel
from feedmill.streams.settings.environment import Environment
from feedmill.streams.stages.combiner_stage import CombinerStage
from feedmill.streams.stages.engagement_stage import EngagementStage
from feedmill.streams.stages.model_stage import FilterStage, ModelStage
from feedmill.streams.stages.stage import Stage


def _filter(name: str, environment: Environment) -> Stage:
    load = lambda: filters.load(name, environment.models)  # noqa: E731 - says what it does
    return FilterStage(name, environment, load, remembers=name == "spam")


def _quality(environment: Environment) -> Stage:
    return ModelStage(
        "quality", environment, lambda: cast(TextModel, rankers.load("quality", environment.models))
    )


def _engagement(environment: Environment) -> Stage:
    return EngagementStage(
        "engagement",
        environment,
        lambda: cast(EngagementModel, rankers.load("engagement", environment.models)),
    )


STAGES: dict[str, Callable[[Environment], Stage]] = {
    "spam": partial(_filter, "spam"),
    "nsfw": partial(_filter, "nsfw"),
    "misinformation": partial(_filter, "misinformation"),
    "quality": _quality,
    "engagement": _engagement,
    "combiner": partial(CombinerStage, "combiner"),
}

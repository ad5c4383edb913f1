"""The flow on one screen: every stage, what it reads, what it writes, how it fails.

    stage            reads                        writes               without it
    spam             posts                        signals.spam         closed: posts are held
    nsfw             posts                        signals.nsfw         closed: posts are held
    misinformation   posts                        signals.misinfor…    closed: posts are held
    quality          posts                        signals.quality      open: counts as 0
    engagement       posts, engagements           signals.engagement   open: last good value
    combiner         posts, signals.*, overrides  Redis                feeds stay, marked stale

A gate's `on_failure` can open a closed one.  The filters and rankers are those of the registries.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from feedmill.events.errors import UsageError
from feedmill.events.signal import SignalNames
from feedmill.filters.registry import FILTERS
from feedmill.filters.spec import FilterSpec
from feedmill.models.text_model import TextModel
from feedmill.rankers.registry import ENGAGEMENT_RANKER, TEXT_RANKERS
from feedmill.rankers.spec import RankerSpec
from feedmill.streams.settings.environment import Environment
from feedmill.streams.stages.combiner_stage import CombinerStage
from feedmill.streams.stages.engagement_stage import EngagementStage
from feedmill.streams.stages.model_stage import FilterStage, ModelStage
from feedmill.streams.stages.stage import Stage


def _filter(spec: FilterSpec, environment: Environment) -> Stage:
    _check_declared(spec.name, "gate", environment.signals.gates)
    return FilterStage(spec, environment)


def _text_ranker(spec: RankerSpec[TextModel], environment: Environment) -> Stage:
    _check_declared(spec.name, "objective", environment.signals.objectives)
    return ModelStage(spec.name, environment, lambda: spec.load(environment.models))


def _engagement(environment: Environment) -> Stage:
    spec = ENGAGEMENT_RANKER
    return EngagementStage(spec.name, environment, lambda: spec.load(environment.models))


def _check_declared(name: str, role: str, declared: tuple[str, ...]) -> None:
    if name not in declared:
        raise UsageError(
            f"stage {name}: there is no {role} `{name}`; declare it to every process with"
            f" FEEDMILL_SIGNALS={name}:{role}"
        )


STAGES: dict[str, Callable[[Environment], Stage]] = {
    **{spec.name: partial(_filter, spec) for spec in FILTERS.values()},
    **{spec.name: partial(_text_ranker, spec) for spec in TEXT_RANKERS.values()},
    ENGAGEMENT_RANKER.name: _engagement,
    "combiner": partial(CombinerStage, "combiner"),
}


def stages_of(signals: SignalNames) -> tuple[str, ...]:
    """The stages of an installation with these signals; a model without a signal has none."""
    return tuple(stage for stage in STAGES if stage in (*signals.all, "combiner"))

"""The flow on one screen: every stage, what it reads, what it writes, how it fails.

    stage            reads                        writes               without it
    spam             posts                        signals.spam         closed: posts are held
    nsfw             posts                        signals.nsfw         closed: posts are held
    misinformation   posts                        signals.misinfor…    closed: posts are held
    quality          posts                        signals.quality      open: counts as 0
    engagement       posts, engagements           signals.engagement…  open: last good value
    combiner         posts, signals.*, overrides  Redis                feeds stay, marked stale

A gate's `on_failure` can open a closed gate.  Filters and rankers come from their registries.
A worker runs all of these stages, or some: its steps in this order, in one process.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from feedmill.events.errors import UsageError
from feedmill.events.signal import SignalNames, stage_of
from feedmill.filters.registry import FILTERS
from feedmill.rankers.registry import ENGAGEMENT_RANKER, TEXT_RANKERS
from feedmill.streams.engagement.engagement import EngagementStep
from feedmill.streams.environment import Environment
from feedmill.streams.filters.filters import FilterStep
from feedmill.streams.filters.post_windows import PostWindows
from feedmill.streams.ranking.ranking import RankingStep
from feedmill.streams.scoring.text_models import TextModelStep
from feedmill.streams.worker.step import Step

ENGAGEMENT = ENGAGEMENT_RANKER.name
COMBINER = "combiner"
WHOLE = "worker"
# The role of a worker that does not rank, and of a worker that only ranks.
JUDGE, RANKER = "judge", "ranker"
# The stages that write signals, each called like its signal.
_MODELS = (*FILTERS, *TEXT_RANKERS, ENGAGEMENT)
STAGES = (*_MODELS, COMBINER)


def stages_of(signals: SignalNames) -> tuple[str, ...]:
    """Return the stages of an installation; a model without a declared signal has none."""
    return tuple(stage for stage in STAGES if stage in (*signals.all, COMBINER))


def chosen_stages(
    signals: SignalNames, named: Sequence[str] = (), without: Sequence[str] = ()
) -> tuple[str, ...]:
    """Return the named stages, or all if none is named, without some; in the order of the flow.

    Raises `UsageError`: a stage is unknown or has no declared signal, or none is left.
    """
    stages = stages_of(signals)
    for name in (*named, *without):
        _check(name, signals)
    chosen = tuple(s for s in stages if s not in without and (s in named or not named))
    if not chosen:
        raise UsageError("no stage is left to run; name one, or leave --without out")
    return chosen


def steps_of(stages: Sequence[str], environment: Environment) -> list[Step]:
    """Return the steps of some stages, in the order in which a worker runs them.

    The models come first, then engagement, and the combiner last: it ranks what they wrote.
    """
    models = [name for name in _MODELS if name in stages]
    windows = PostWindows()
    steps = [_model_step(name, windows) for name in models]
    if COMBINER in stages:
        made_here = [name for name in environment.signals.all if stage_of(name) in models]
        steps.append(RankingStep(environment, made_here))
    return steps


def _model_step(name: str, windows: PostWindows) -> Step:
    """Make the step of a model, at the version that ships; filters share the windows of posts."""
    if name in FILTERS:
        spec = FILTERS[name]
        return FilterStep(name, spec.load, remembers=spec.reads_near_copies, windows=windows)
    if name in TEXT_RANKERS:
        return TextModelStep(name, TEXT_RANKERS[name].load)
    return EngagementStep(ENGAGEMENT_RANKER.load)


def group_of(stages: Sequence[str], signals: SignalNames) -> str:
    """Return the consumer group of a worker: `worker` where it judges by every stage, or by none.

    The group of a worker that judges by some stages has their names: workers with the same stages
    share the partitions.  Ranking changes no group, so the combiner moves without the offsets.
    """
    judging = [stage for stage in stages_of(signals) if stage != COMBINER]
    part = [stage for stage in judging if stage in stages]
    return WHOLE if part in ([], judging) else "-".join([WHOLE, *part])


def judged_by(group: str, environment: Environment) -> Collection[str]:
    """Return the stages by which workers of a group judge; none: no worker is in such a group."""
    signals = environment.signals
    named = environment.named(group).split("-")[1:]
    part = named or [stage for stage in stages_of(signals) if stage != COMBINER]
    return part if environment.group(group_of(part, signals)) == group else ()


def role_of(stages: Collection[str]) -> str:
    """Return what a worker of some stages is: `judge`, `ranker`, or `worker`, which is both."""
    if COMBINER not in stages:
        return JUDGE
    return RANKER if set(stages) == {COMBINER} else WHOLE


def _check(name: str, signals: SignalNames) -> None:
    if name not in STAGES:
        raise UsageError(f"no stage `{name}`; there are: {', '.join(STAGES)}")
    if name not in stages_of(signals):
        role = "gate" if name in FILTERS else "objective"
        raise UsageError(
            f"stage {name}: there is no {role} `{name}`; declare it to every process with"
            f" FEEDMILL_SIGNALS={name}:{role}"
        )

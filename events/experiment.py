"""Experiments: the setting `experiments/<name>`, the arms in force, and the exposures of users.

A setting has arms, who is in it, and by which metrics it is judged.  The differences of an arm
become settings of its own.  An exposure says that a user requested a page of such a feed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, NamedTuple

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from feedmill.events.engagement import Count
from feedmill.events.errors import BadSetting
from feedmill.events.feeds import BUILT_IN_FEEDS, check_feed_name, pattern_of
from feedmill.events.gates import GatePolicy, GatePolicyPatch, gates_struct
from feedmill.events.limits import EventId, EventName, EventTimeMs, PlainName, ShortText
from feedmill.events.metric import BUILT_IN_METRICS, Metric
from feedmill.events.reasons import reason_of, with_suggestion
from feedmill.events.signal import SignalNames
from feedmill.events.weights import Weights, weights_decoder

# Traffic and shares are ten-thousandths, so that every language cuts at the same user.
WHOLE = 10_000
MAX_ARMS = 8
# `engagements` live for eight days; a window must be over before they go.
MAX_WINDOW_HOURS = 168
# A minute: the demo's readers do not wait an hour.
MIN_WINDOW_HOURS = 1 / 60

# The other columns of a table of users, and what stands before a metric's name in some.
_COLUMNS = (
    *("user", "arm", "computed_arm", "first_exposure_ms", "complete", "served", "impressions"),
    *("arm_count", "client"),
)
_PREFIXES = ("pre_", "elsewhere_", "on_day")

Share = Annotated[int, Meta(ge=1, le=WHOLE)]
WindowHours = (
    Annotated[int, Meta(ge=1, le=MAX_WINDOW_HOURS)]
    | Annotated[float, Meta(ge=MIN_WINDOW_HOURS, le=MAX_WINDOW_HOURS)]
)
Users = Annotated[int, Meta(ge=1_000, le=10**9)]
Margin = Annotated[float, Meta(gt=0, lt=1)]

_MOST_FOUND = 60

# No feed is longer.
MAX_FEED_SIZE = 10_000

Position = Annotated[int, Meta(ge=0, le=MAX_FEED_SIZE)]
Positions = Annotated[int, Meta(ge=1, le=MAX_FEED_SIZE)]


class Arm(Struct, frozen=True, forbid_unknown_fields=True):
    """One arm: its share of the users, and in what it differs from the feed's own settings.

    Attributes
    ----------
    name, share
        The arm's name, and how many of 10,000 users of the experiment get it.
    weights, gates
        The fields of the settings `weights` and `gates` that differ, by name.
    control_copy
        Whether it is the control once more, to show that equal arms come out equal.
    """

    name: PlainName
    share: Share
    weights: dict[str, Any] = {}
    gates: dict[str, dict[str, Any]] = {}
    control_copy: bool = False

    @property
    def differs(self) -> bool:
        """Whether it has a setting of its own."""
        return bool(self.weights) or any(self.gates.values())


class Experiment(Struct, frozen=True, forbid_unknown_fields=True):
    """The value of `experiments/<name>`.

    Attributes
    ----------
    arms
        Two to eight; the first is the control.
    feeds
        The named feeds that have the arms.
    salt
        What makes its assignment independent of other experiments'.
    traffic
        How many of 10,000 users are in it.
    window_hours
        For how long after a user's first exposure the outcome is summed.
    primary
        The metric that decides.
    guardrails
        By metric, which part of the control's value an arm may be worse by.
    planned_n
        How many users an arm are planned, with complete windows.
    metrics
        By name; those of `BUILT_IN_METRICS` exist, and may be replaced.
    stopped
        Whether it is over, for good.
    """

    arms: Annotated[tuple[Arm, ...], Meta(min_length=2)]
    feeds: Annotated[tuple[str, ...], Meta(min_length=1, max_length=100)]
    salt: PlainName
    planned_n: Users
    traffic: Share = WHOLE
    window_hours: WindowHours = 168
    primary: PlainName = "take_rate"
    guardrails: dict[PlainName, Margin] = {}
    metrics: dict[PlainName, Metric] = {}
    stopped: bool = False

    @property
    def control(self) -> Arm:
        """The arm that the others are compared with."""
        return self.arms[0]

    @property
    def treatments(self) -> tuple[Arm, ...]:
        """The arms whose effect is asked for: neither the control nor a copy of it."""
        return tuple(arm for arm in self.arms[1:] if not arm.control_copy)

    @property
    def shares(self) -> dict[str, int]:
        """The share of each arm, in the order of assignment."""
        return {arm.name: arm.share for arm in self.arms}

    @property
    def window_days(self) -> int:
        """How many calendar days a window has a part of, at most."""
        return math.ceil(self.window_hours / 24) + 1

    @property
    def all_metrics(self) -> dict[str, Metric]:
        """The metrics by name, the built-in ones too."""
        return {**BUILT_IN_METRICS, **self.metrics}


def decode_experiment(value: object, names: SignalNames) -> Experiment:
    """Return the experiment that the value of a setting describes.

    Whether its feeds exist, and whether its gates are at most stricter than theirs, is not checked.

    Raises
    ------
    BadSetting
        With the path, what was expected and what was found.
    """
    try:
        experiment = msgspec.convert(value, Experiment)
        for place, arm in enumerate(experiment.arms):
            _check_differences(arm, f"$.value.arms[{place}]", names)
    except msgspec.ValidationError as error:
        known = (*Experiment.__struct_fields__, *Arm.__struct_fields__, *Metric.__struct_fields__)
        raise BadSetting(with_suggestion(reason_of(error, "$.value"), known)) from None
    _check_arms(experiment)
    _check_feeds(experiment.feeds)
    _check_metrics(experiment)
    return experiment


@cache
def _weights_patch(names: SignalNames) -> type[Struct]:
    """The record of `weights`, every field of which may be left out."""
    fields: list[tuple[str, Any, Any]] = []
    for field in msgspec.structs.fields(weights_decoder(names).struct):
        kind = field.type
        if isinstance(kind, type) and issubclass(kind, Struct):
            inner = [(f.name, f.type | UnsetType, UNSET) for f in msgspec.structs.fields(kind)]
            kind = msgspec.defstruct(kind.__name__, inner, frozen=True, forbid_unknown_fields=True)
        fields.append((field.name, kind | UnsetType, UNSET))
    return msgspec.defstruct("WeightsPatch", fields, frozen=True, forbid_unknown_fields=True)


def _check_differences(arm: Arm, path: str, names: SignalNames) -> None:
    if "." in arm.name:
        # A list is called `<experiment>.<arm>`, and names of experiments may have dots.
        raise BadSetting(f"Expected a name without `.`, got {arm.name!r} - at `{path}.name`")
    patch = _weights_patch(names)
    try:
        msgspec.convert(arm.weights, patch)
    except msgspec.ValidationError as error:
        reason = reason_of(error, f"{path}.weights")
        raise BadSetting(with_suggestion(reason, patch.__struct_fields__)) from None
    for gate in arm.gates:
        if gate not in names.gates:
            known = ", ".join(names.gates)
            raise BadSetting(
                f"Expected a declared gate ({known}), got {gate[:80]!r} - at `{path}.gates`"
            )
    try:
        msgspec.convert(arm.gates, gates_struct(names.gates))
    except msgspec.ValidationError as error:
        reason = reason_of(error, f"{path}.gates")
        raise BadSetting(with_suggestion(reason, GatePolicyPatch.__struct_fields__)) from None


def _check_arms(experiment: Experiment) -> None:
    arms = experiment.arms
    if len(arms) > MAX_ARMS:
        raise BadSetting(f"Expected at most {MAX_ARMS} arms, got {len(arms)} - at `$.value.arms`")
    total = sum(arm.share for arm in arms)
    if total != WHOLE:
        raise BadSetting(
            f"Expected shares that sum to {WHOLE}, got {total} - at `$.value.arms[…].share`"
        )
    if arms[0].differs or arms[0].control_copy:
        raise BadSetting(
            "Expected the control, which has the feed's settings and is no copy, got"
            f" {arms[0].name!r} - at `$.value.arms[0]`"
        )
    for place, arm in enumerate(arms):
        path = f"$.value.arms[{place}]"
        if arm.name in {other.name for other in arms[:place]}:
            raise BadSetting(f"Expected a name of its own, got {arm.name!r} again - at `{path}`")
        if arm.control_copy:
            if arm.differs:
                raise BadSetting(
                    f"Expected a copy of the control without `weights` and `gates`, got"
                    f" {arm.name!r} with some - at `{path}`"
                )
            continue
        settings = (arm.weights, arm.gates)
        same = [arm.name for arm in arms[:place] if (arm.weights, arm.gates) == settings]
        if same or (place and not arm.differs):
            raise BadSetting(
                f"Expected settings of its own, got those of {(same or [arms[0].name])[0]!r} in"
                f" {arm.name!r} - at `{path}`; a second control has `control_copy`"
            )
    if not experiment.treatments:
        raise BadSetting("Expected an arm that is no control, got none - at `$.value.arms`")


def _check_feeds(feeds: tuple[str, ...]) -> None:
    for place, feed in enumerate(feeds):
        path = f"$.value.feeds[{place}]"
        try:
            check_feed_name(feed)
        except BadSetting as error:
            raise BadSetting(f"{error} - at `{path}`") from None
        if pattern_of(feed):
            raise BadSetting(
                f"Expected a feed with a name of its own, got {feed!r}, which a pattern makes - at"
                f" `{path}`"
            )
        if feed in feeds[:place]:
            raise BadSetting(f"Expected each feed once, got {feed!r} again - at `{path}`")


def _check_metrics(experiment: Experiment) -> None:
    metrics = experiment.all_metrics
    known = ", ".join(metrics)
    named = {
        "$.value.primary": experiment.primary,
        **{f"$.value.guardrails.{name}": name for name in experiment.guardrails},
    }
    for path, name in named.items():
        if name not in metrics:
            raise BadSetting(f"Expected a metric ({known}), got {name!r} - at `{path}`")
    for name, metric in experiment.metrics.items():
        if name in _COLUMNS or name.startswith(_PREFIXES):
            raise BadSetting(
                f"Expected a name that no other column has, and without {', '.join(_PREFIXES)}"
                f" before it, got {name!r} - at `$.value.metrics`"
            )
        if metric.per == "reader" and metric.cap is not None:
            raise BadSetting(
                f"Expected no cap where users count once, got {metric.cap:g} - at"
                f" `$.value.metrics.{name}.cap`"
            )
        if metric.per == "reader" and metric.better == "more":
            raise BadSetting(
                "Expected `less`, because `per` reader is for rare harms, got 'more' - at"
                f" `$.value.metrics.{name}.better`"
            )
    if metrics[experiment.primary].per == "reader":
        raise BadSetting(
            "Expected a metric per impression or user, got one per reader, which is for rare harms"
            " - at `$.value.primary`"
        )
    if experiment.primary in experiment.guardrails:
        raise BadSetting(
            f"Expected guardrails beside the primary metric, got {experiment.primary!r} - at"
            " `$.value.guardrails`"
        )


class Policy(NamedTuple):
    """By which weights and gates a list is ranked."""

    weights: Weights
    gates: Mapping[str, GatePolicy]


class FeedExperiment(NamedTuple):
    """A running experiment in one feed.

    Attributes
    ----------
    name, experiment
        The experiment.
    arms
        By `<experiment>.<arm>`, of all arms but the control, what each is ranked by; a copy of the
        control has the very policy of the feed.
    """

    name: str
    experiment: Experiment
    arms: Mapping[str, Policy]

    def info(self) -> str:
        """Return what `:info` of the feed says of it, as JSON."""
        experiment = self.experiment
        said = {
            "name": self.name,
            "salt": experiment.salt,
            "traffic": experiment.traffic,
            "arms": [{"name": arm.name, "share": arm.share} for arm in experiment.arms],
        }
        return msgspec.json.encode(said).decode()


def experiment_in(
    name: str, experiment: Experiment, policy: Policy, names: SignalNames
) -> FeedExperiment:
    """Return a running experiment in a feed of this policy, whatever became of that since.

    A gate is as strict as the arm or the feed says, whichever is stricter; an arm whose weights
    would all be 0 by now has those of the feed.
    """
    arms: dict[str, Policy] = {}
    for arm in experiment.arms[1:]:
        try:
            weights = weights_decoder(names).patched(policy.weights, arm.weights)
        except BadSetting:
            weights = policy.weights
        gates = {g: own.at_least(policy.gates[g]) for g, own in _gates(arm, policy, names).items()}
        own = Policy(weights, gates)
        arms[f"{name}.{arm.name}"] = policy if arm.control_copy else own
    return FeedExperiment(name, experiment, arms)


def experiment_of(feed: str, experiments: Mapping[str, Experiment]) -> str | None:
    """Return the name of the experiment that runs in a feed, None without one."""
    running = (name for name, e in experiments.items() if not e.stopped and feed in e.feeds)
    return next(running, None)


def next_experiment(
    name: str,
    value: object,
    there: Mapping[str, Experiment],
    policy_of: Callable[[str], Policy | None],
    names: SignalNames,
) -> Experiment:
    """Return the experiment that a new value of `experiments/<name>` makes of those there are.

    `there` are the experiments so far, also those that were stopped; `policy_of` gives the policy
    of a feed, None where there is no such feed.

    Raises
    ------
    BadSetting
        With the path, what was expected and what was found.
    """
    experiment = decode_experiment(value, names)
    before = there.get(name)
    if before is not None:
        _check_change(name, before, experiment)
        return experiment
    if experiment.stopped:
        raise BadSetting("Expected false at its start, got true - at `$.value.stopped`")
    for place, feed in enumerate(experiment.feeds):
        path, policy = f"$.value.feeds[{place}]", policy_of(feed)
        if policy is None:
            raise BadSetting(f"Expected a feed that there is, got {feed!r} - at `{path}`")
        if (other := experiment_of(feed, there)) is not None:
            raise BadSetting(
                f"Expected a feed without an experiment, got {feed!r}, in which {other!r} runs"
                f" - at `{path}`; stop that first"
            )
        _check_start(experiment, feed, policy, names)
    return experiment


def check_removal(kind: str, target: str, experiments: Mapping[str, Experiment]) -> None:
    """Raise `BadSetting` if a setting is not to be removed because of experiments."""
    if kind == "experiments":
        raise BadSetting(
            'Expected a value, since an experiment ends by `"stopped": true`, got none - at'
            " `$.value`"
        )
    if kind == "feeds" and target not in BUILT_IN_FEEDS:
        name = experiment_of(target, experiments)
        if name is not None:
            raise BadSetting(
                f"Expected a value, since the experiment {name!r} runs in the feed {target!r}, got"
                " none - at `$.value`; stop that first"
            )


def _check_start(experiment: Experiment, feed: str, policy: Policy, names: SignalNames) -> None:
    """Refuse an arm that equals the feed or another arm there, or has a looser gate."""
    seen: dict[str, Policy] = {experiment.control.name: policy}
    for place, arm in enumerate(experiment.arms):
        if not place or arm.control_copy:
            continue
        path = f"$.value.arms[{place}]"
        own = Policy(_weights(arm, path, policy, names), _gates(arm, policy, names))
        for gate, found in own.gates.items():
            _check_strict(gate, found, policy.gates[gate], f"{path}.gates", feed)
        same = next((name for name, other in seen.items() if other == own), None)
        if same is not None:
            raise BadSetting(
                f"Expected settings of its own in the feed {feed!r}, got those of {same!r} in"
                f" {arm.name!r} - at `{path}`"
            )
        seen[arm.name] = own


def _check_change(name: str, before: Experiment, after: Experiment) -> None:
    """Refuse what is over, has less traffic, or differs in another field."""
    if before.stopped:
        raise BadSetting(
            f"Expected a name that was not used before, got {name!r}, whose experiment was stopped"
            f" - at `experiments/{name}`"
        )
    if after.traffic < before.traffic:
        raise BadSetting(
            f"Expected traffic of {before.traffic} or more, which it has, got {after.traffic} - at"
            " `$.value.traffic`"
        )
    for field in Experiment.__struct_fields__:
        was, found = getattr(before, field), getattr(after, field)
        if field not in ("traffic", "stopped") and was != found:
            raise BadSetting(
                f"Expected what it began with, {_short(was)}, got {_short(found)} - at"
                f" `$.value.{field}`; what differs is an experiment with a name of its own"
            )


def _weights(arm: Arm, path: str, policy: Policy, names: SignalNames) -> Weights:
    try:
        return weights_decoder(names).patched(policy.weights, arm.weights)
    except BadSetting as error:
        raise BadSetting(str(error).replace("`$.value", f"`{path}.weights")) from None


def _gates(arm: Arm, policy: Policy, names: SignalNames) -> dict[str, GatePolicy]:
    patches = msgspec.convert(arm.gates, gates_struct(names.gates))
    return {gate: own.patched(_patch(patches, gate)) for gate, own in policy.gates.items()}


def _patch(patches: Any, gate: str) -> GatePolicyPatch | None:
    patch = getattr(patches, gate)
    return patch if isinstance(patch, GatePolicyPatch) else None


def _check_strict(gate: str, found: GatePolicy, least: GatePolicy, path: str, feed: str) -> None:
    wanted = found.at_least(least)
    for field, value, expected in _differences(found, wanted):
        raise BadSetting(
            f"Expected {_short(expected)} or stricter, as in the feed {feed!r}, got"
            f" {_short(value)} - at `{path}.{gate}.{field}`"
        )


def _differences(policy: GatePolicy, other: GatePolicy) -> Iterator[tuple[str, Any, Any]]:
    for field in GatePolicy.__struct_fields__:
        if getattr(policy, field) != getattr(other, field):
            yield field, getattr(policy, field), getattr(other, field)


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _MOST_FOUND else f"{text[:_MOST_FOUND]}…"


class Exposure(Struct, frozen=True, gc=False):
    """A user requested a page of a feed with an experiment; sent before the page is rendered.

    The fields are those of docs/contracts.md, "Events".
    """

    user_id: EventId
    experiment: EventName
    arm: EventName
    feed: ShortText
    version: Count
    first: Position
    count: Positions
    at_ms: EventTimeMs
    served: EventName | None = None
    client: EventName | None = None

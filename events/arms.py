"""The arms of a running experiment in a feed: differences become settings, and bad ones refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import msgspec

from feedmill.events.errors import BadSetting
from feedmill.events.experiment import Arm, Experiment, decode_experiment
from feedmill.events.feeds import BUILT_IN_FEEDS
from feedmill.events.gates import GatePolicy, GatePolicyPatch, gates_struct
from feedmill.events.signal import SignalNames
from feedmill.events.weights import Weights, weights_decoder

_MOST_FOUND = 60


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
    running = (name for name, one in experiments.items() if not one.stopped and feed in one.feeds)
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
    return {gate: one.patched(_patch(patches, gate)) for gate, one in policy.gates.items()}


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


def _differences(one: GatePolicy, other: GatePolicy) -> Iterator[tuple[str, Any, Any]]:
    for field in GatePolicy.__struct_fields__:
        if getattr(one, field) != getattr(other, field):
            yield field, getattr(one, field), getattr(other, field)


def _short(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _MOST_FOUND else f"{text[:_MOST_FOUND]}…"

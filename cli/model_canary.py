"""What `feedmill models` does about canaries: it begins one, and shows what became of it."""

from __future__ import annotations

from collections.abc import Iterator

from feedmill.events.errors import UsageError
from feedmill.events.instance import Instance
from feedmill.events.release import CANARY, Canary, ModelRelease
from feedmill.streams.environment import Environment
from feedmill.streams.kafka.topic_reader import open_topic
from feedmill.streams.releases.loading import BY_TEXT
from feedmill.streams.releases.release_log import StartedCanary

# How long a canary lasts unless the command says otherwise.
CANARY_MS = 600_000


def check_canary(environment: Environment, model: str, partitions: int) -> None:
    """Refuse with `UsageError` a canary that could not be one."""
    if model not in BY_TEXT:
        raise UsageError(
            f"`{model}` has no canaries, only {', '.join(BY_TEXT)} have; release it to all"
        )
    with open_topic(environment, "posts") as reader:
        count = reader.partitions
    if partitions >= count:
        raise UsageError(
            f"--canary {partitions}: `posts` has {count} partitions; give fewer, or release the"
            " version to all of them without --canary"
        )


def canary_of(release: ModelRelease, partitions: int, after_ms: int) -> Canary:
    """Return the record that begins a canary of a tried version."""
    tried = {name: getattr(release, name) for name in ("sha256", "answers", "by", "note")}
    return Canary(**tried, partitions=partitions, after_ms=after_ms)


def canary_rows(
    model: str, name: str, instance: Instance, canary: StartedCanary | None
) -> Iterator[dict[str, str]]:
    """Yield the row of `health` about a canary of a model on an instance, if there is one."""
    if canary is None:
        return
    refusals = (one for one in instance.refused_releases if one.model == CANARY + model)
    reasons = {one.offset: one.reason for one in refusals}
    reason = reasons.get(canary.offset, "")
    if not canary.is_under_way:
        state, reason = "went back", canary.reason
    elif reason:
        state = "stopped"
    elif instance.canaries.get(model) == canary.canary.version:
        state = "canary"
    else:
        state = "loading"
    yield {
        "model": CANARY + model,
        "instance": name,
        "version": canary.canary.version,
        "state": state,
        "reason": reason,
    }

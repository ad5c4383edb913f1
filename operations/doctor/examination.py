"""Makes every check of an installation: one that fails is a finding, and the others go on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import kafka.errors
import redis

from feedmill.operations.doctor import (
    brokers,
    clocks,
    groups,
    instances,
    producers,
    redis_server,
    settings,
    store,
    surroundings,
    topics,
)
from feedmill.operations.doctor.finding import Finding
from feedmill.operations.doctor.installation import Installation
from feedmill.operations.doctor.unreachable import Unreachable

Check = Callable[[Installation], Iterator[Finding]]

CHECKS: tuple[Check, ...] = (
    *(surroundings.variables, surroundings.home, surroundings.port, instances.libraries),
    *(brokers.addresses, brokers.leaders, brokers.replicas, brokers.internal_topics),
    *(brokers.broker_settings, brokers.broker_switches, brokers.broker_version),
    *(topics.missing_topics, topics.partitions, topics.topic_settings, topics.windows),
    *(topics.undeclared_signals, topics.recreated_topics),
    *(producers.partitioners, producers.keys, producers.contracts, producers.event_times),
    producers.authors,
    *(producers.batches, clocks.host_clock, clocks.instance_clocks, clocks.redis_clock),
    *(redis_server.redis_kind, redis_server.redis_memory, redis_server.redis_encodings),
    *(redis_server.redis_writes, redis_server.redis_scripts, redis_server.redis_keys),
    *(redis_server.redis_prefix, store.store, store.models_in_force, store.lists_in_force),
    *(store.refused_releases, instances.builds, instances.names, instances.stages),
    *(instances.model_versions, instances.declared_signals, instances.refused_settings),
    *(instances.writers, settings.refused_records, settings.lost_feeds, settings.thresholds),
    *(settings.filters_without_effect, settings.overrides, groups.members, groups.strangers),
    *(groups.owners, groups.positions, groups.waiting_records, groups.silent_instances),
    *(groups.hanging_transactions, groups.open_transactions, groups.dead_letters),
)

_NO_RIGHT = (
    kafka.errors.ClusterAuthorizationFailedError,
    kafka.errors.GroupAuthorizationFailedError,
    kafka.errors.TopicAuthorizationFailedError,
    redis.exceptions.NoPermissionError,
)


class Examination(NamedTuple):
    """What came of all checks; findings the worst first, and how many checks were made."""

    findings: list[Finding]
    checks: int
    skipped: int


def examine(inst: Installation, checks: Sequence[Check] = CHECKS) -> Examination:
    """Make the checks; waits some seconds at most for each server that is away."""
    findings: list[Finding] = []
    unreachable: dict[Finding, int] = {}
    for check in checks:
        try:
            findings += check(inst)
        except Unreachable as error:
            unreachable[error.finding] = unreachable.get(error.finding, 0) + 1
        except Exception as error:  # noqa: BLE001 - a check that fails is a finding
            findings.append(_failed(inst, check, error))
    skipped = sum(unreachable.values())
    found = list(dict.fromkeys([*unreachable, *findings]))
    found.sort(key=lambda one: one.severity != "wrong")
    return Examination(found, len(checks) - skipped, skipped)


def _failed(inst: Installation, check: Check, error: Exception) -> Finding:
    name = check.__name__.replace("_", " ")
    is_redis = isinstance(error, redis.RedisError)
    where = f"Kafka at {inst.environment.kafka}"
    if is_redis:
        where = f"Redis at {inst.environment.redis_address}"
    reason = str(error).strip() or type(error).__name__
    if isinstance(error, _NO_RIGHT):
        way_out = (
            "give the user the rights +config|get +info +acl|whoami +acl|dryrun +time +type"
            if is_redis
            else "give the user Describe and DescribeConfigs of cluster, topics and groups"
        )
        return Finding(
            name,
            "warn",
            f"this check needs a right: {reason}",
            where,
            f"{way_out}; then run it again",
        )
    way_out = "see the log of that server, and run `feedmill doctor` again"
    return Finding(name, "wrong", f"this check could not be made: {reason}", where, way_out)

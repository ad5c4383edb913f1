"""Servers that cannot be asked, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping

import redis

from feedmill.events.errors import FeedmillError
from feedmill.operations.doctor.finding import Finding
from feedmill.streams.environment import Environment, variable_of


class Unreachable(FeedmillError):
    """A server cannot be asked: no check that needs it can be made, and one finding says why."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.what)
        self.finding = finding


def no_kafka(addresses: str, reason: str) -> Finding:
    """Say that nobody answers at the addresses of Kafka, or not as it should."""
    return Finding(
        "kafka",
        "wrong",
        f"Kafka cannot be reached: {reason}",
        addresses,
        "start it (`feedmill local up` starts a local one), or correct FEEDMILL_KAFKA, --kafka or"
        " the credentials",
    )


def no_listener(brokers: Mapping[int, str], refused: Mapping[str, str]) -> Finding:
    """Say that Kafka answers, and that nobody can connect to the addresses that it advertises."""
    reasons = "; ".join(refused[address] for address in brokers.values())
    return Finding(
        "kafka",
        "wrong",
        f"Kafka answers, and advertises addresses that cannot be reached from here: {reasons}",
        ", ".join(brokers.values()),
        "set advertised.listeners of each broker to an address that this host and all workers reach"
        " (a name that resolves here, a port that is open), and restart the broker",
    )


def no_redis(environment: Environment, error: redis.RedisError) -> Finding:
    """Say why Redis cannot be used."""
    reason = str(error).rstrip(".") or type(error).__name__
    way_out = (
        "start it (`feedmill local up` starts a local one), or correct FEEDMILL_REDIS or --redis"
    )
    if isinstance(error, redis.AuthenticationError | redis.ResponseError):
        way_out = (
            f"it answers: correct user, password and database in {variable_of('redis')},"
            " redis://user:password@host:port/0"
        )
    return Finding("redis", "wrong", f"Redis: {reason}", environment.redis_address, way_out)

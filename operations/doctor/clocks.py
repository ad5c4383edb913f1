"""Which clocks differ: this host's, the brokers', those of instances, that of Redis."""

from __future__ import annotations

from collections.abc import Iterator

import redis

from feedmill.operations.doctor.finding import Finding
from feedmill.operations.doctor.installation import CLOCK_TOLERANCE_MS, Installation
from feedmill.streams.settings.instances import recent_instances

_SET = "set its clock (NTP, chrony)"


def host_clock(inst: Installation) -> Iterator[Finding]:
    """The clock of this host is not behind that of the brokers."""
    heartbeats = inst.heartbeats
    if not heartbeats:
        return
    newest_ms = max(one.at_ms for one in heartbeats)
    behind_ms = newest_ms - inst.now_ms()
    if behind_ms > CLOCK_TOLERANCE_MS:
        yield Finding(
            "host clock",
            "warn",
            f"the clock of this host is {_seconds(behind_ms)} behind that of the brokers, or theirs"
            " is ahead",
            f"Kafka at {inst.environment.kafka}",
            f"compare both with another clock; where one is wrong, {_SET}. Windows and freshness go"
            " by the brokers' clocks",
        )


def instance_clocks(inst: Installation) -> Iterator[Finding]:
    """Instances know the time of the brokers that stamp their heartbeats."""
    least: dict[str, int] = {}
    hosts: dict[str, str] = {}
    for record in inst.heartbeats:
        for found in recent_instances([record], record.at_ms).values():
            name = found.instance
            difference = found.at_ms - record.at_ms
            least[name] = min(least.get(name, difference), difference, key=abs)
            hosts[name] = found.host
    for name, difference in sorted(least.items()):
        if abs(difference) > CLOCK_TOLERANCE_MS:
            yield Finding(
                "instance clocks",
                "warn",
                f"an instance is {_apart(difference)} the clock of the brokers",
                f"instance {name} on {hosts[name]}",
                f"{_SET} or that of the broker; a worker keeps its time where the broker's jumped"
                " by more than two hours: restart all workers to follow it",
            )


def redis_clock(inst: Installation) -> Iterator[Finding]:
    """Redis' clock, by which keys expire, is near this host's."""
    for node in inst.redis_nodes:
        try:
            seconds, microseconds = node.client.time()
        except redis.ResponseError:
            return  # no right to ask
        difference = seconds * 1000 + microseconds // 1000 - inst.now_ms()
        if abs(difference) > CLOCK_TOLERANCE_MS:
            yield Finding(
                "redis clock",
                "warn",
                f"Redis' clock is {_apart(difference)} that of this host",
                f"Redis at {node.address}",
                f"compare both with another clock; where one is wrong, {_SET}. Posts of a feed"
                " expire by Redis' clock",
            )


def _apart(difference_ms: int) -> str:
    return f"{_seconds(difference_ms)} {'ahead of' if difference_ms > 0 else 'behind'}"


def _seconds(milliseconds: int) -> str:
    return f"{abs(milliseconds) / 1000:,.0f} s"

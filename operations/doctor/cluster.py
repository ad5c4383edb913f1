"""Topics and groups as the brokers tell of them."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Topic:
    """A topic as the brokers have it; `settings` are those in force, by Kafka's names.

    By partition: the brokers that have it, and those of them that have all of it.
    """

    id: str
    leaders: Mapping[int, int]
    replicas: Mapping[int, tuple[int, ...]]
    in_sync: Mapping[int, tuple[int, ...]]
    settings: Mapping[str, str] = field(default_factory=dict)

    @property
    def partitions(self) -> int:
        return len(self.replicas)


@dataclass(frozen=True)
class Member:
    """A member of a consumer group, and its partitions of `posts`."""

    client_id: str
    host: str
    posts: frozenset[int]


@dataclass(frozen=True)
class Group:
    """A consumer group of workers; `offsets` by topic, without the prefix, and partition."""

    state: str
    members: tuple[Member, ...]
    offsets: Mapping[tuple[str, int], int]
    texts: tuple[str, ...]


def values_of(entries: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    """Return the values of settings, by name."""
    return {name: str(entry["value"]) for name, entry in entries.items()}


def member_of(found: Mapping[str, Any], posts: str) -> Member:
    """Return a member of a group; `posts` is the full name of that topic."""
    assignment = found["member_assignment"]
    parts = assignment["assigned_partitions"] if isinstance(assignment, dict) else ()
    own = frozenset(n for part in parts if part["topic"] == posts for n in part["partitions"])
    return Member(found["client_id"], found["client_host"].lstrip("/"), own)


def committed_id(topic_id: str | None) -> str:
    """Return the id of a topic as workers commit it; "" from a broker that has none."""
    content = uuid.UUID(topic_id).bytes if topic_id else b""
    return base64.b64encode(content).decode().rstrip("=")

"""Topics as the brokers tell of them."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field


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


def values_of(entries: Mapping[str, Mapping[str, object]]) -> dict[str, str]:
    """Return the values of settings, by name."""
    return {name: str(entry["value"]) for name, entry in entries.items()}


def committed_id(topic_id: str | None) -> str:
    """Return the id of a topic as workers commit it; "" from a broker that has none."""
    content = uuid.UUID(topic_id).bytes if topic_id else b""
    return base64.b64encode(content).decode().rstrip("=")

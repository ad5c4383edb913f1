"""Moderators' overrides, and which of them is in force for a post."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from feedmill.events.override import Override, OverrideKey


@dataclass(frozen=True)
class ActiveOverride:
    """The override that decides one gate of one post."""

    key: OverrideKey
    override: Override


class OverrideTable:
    """All overrides, by the post or author they are about."""

    def __init__(self) -> None:
        self._by_subject: dict[str, dict[str, ActiveOverride]] = {}

    def __len__(self) -> int:
        """How many posts and authors have one."""
        return len(self._by_subject)

    def all_keys(self) -> Iterator[OverrideKey]:
        """The key of every override, in force or not."""
        return (active.key for gates in self._by_subject.values() for active in gates.values())

    def update(self, key: OverrideKey, override: Override | None) -> None:
        """Set an override, or withdraw it with None."""
        if override is None:
            gates = self._by_subject.get(key.subject, {})
            gates.pop(key.gate, None)
            if not gates:
                self._by_subject.pop(key.subject, None)
        else:
            self._by_subject.setdefault(key.subject, {})[key.gate] = ActiveOverride(key, override)

    def concerns(self, post_id: str, author_id: str) -> bool:
        """Whether any override, in force or not, is about this post or its author."""
        return f"post:{post_id}" in self._by_subject or f"author:{author_id}" in self._by_subject

    def in_force(
        self, post_id: str, author_id: str, post_offset: int, gates: Sequence[str], now_ms: int
    ) -> dict[str, ActiveOverride]:
        """By gate what decides it now: post beats author, a named gate beats `*`."""
        in_force: dict[str, ActiveOverride] = {}
        for subject in (f"author:{author_id}", f"post:{post_id}"):
            by_gate = self._by_subject.get(subject)
            if not by_gate:
                continue
            for name in ("*", *gates):
                active = by_gate.get(name)
                if active is not None and _is_in_force(active.override, post_offset, now_ms):
                    in_force.update(dict.fromkeys(gates if name == "*" else (name,), active))
        return in_force

    def expired(self, since_ms: int, now_ms: int) -> Iterator[OverrideKey]:
        """Keys of the overrides that ran out in (since_ms, now_ms]."""
        for gates in self._by_subject.values():
            for active in gates.values():
                end_ms = active.override.expires_at_ms
                if end_ms is not None and since_ms < end_ms <= now_ms:
                    yield active.key


def _is_in_force(override: Override, post_offset: int, now_ms: int) -> bool:
    if override.expires_at_ms is not None and override.expires_at_ms <= now_ms:
        return False
    # `allow` holds for the version that was reviewed; a hidden post stays hidden when edited.
    approved_offset = override.post_offset if override.verdict == "allow" else None
    return approved_offset is None or approved_offset == post_offset

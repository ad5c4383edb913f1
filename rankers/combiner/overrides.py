"""Moderators' overrides, and which of them is in force for a post."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from feedmill.events.override import Override, OverrideKey

# So many ends are kept, and twice as many as there are overrides: some were replaced or withdrawn.
_FEW_ENDS = 1024


@dataclass(frozen=True)
class ActiveOverride:
    """The override that decides one gate of one post."""

    key: OverrideKey
    override: Override


class OverrideTable:
    """All overrides, by the post or author they are about."""

    def __init__(self) -> None:
        self._by_subject: dict[str, dict[str, ActiveOverride]] = {}
        self._count = 0
        # When overrides run out, the next first; some were replaced or withdrawn.
        self._ends: list[tuple[int, OverrideKey]] = []

    def __len__(self) -> int:
        """How many posts and authors have one."""
        return len(self._by_subject)

    def update(self, key: OverrideKey, override: Override | None) -> None:
        """Set an override, or withdraw it with None."""
        gates = self._by_subject.get(key.subject, {})
        before = len(gates)
        if override is None:
            gates.pop(key.gate, None)
        else:
            gates[key.gate] = ActiveOverride(key, override)
            if override.expires_at_ms is not None:
                heapq.heappush(self._ends, (override.expires_at_ms, key))
        self._count += len(gates) - before
        if not gates:
            self._by_subject.pop(key.subject, None)
        elif not before:
            self._by_subject[key.subject] = gates
        if len(self._ends) > 2 * self._count + _FEW_ENDS:
            self.collect_ends()

    def has(self, kind: str, subject_id: str) -> bool:
        """Whether any override, in force or not, is about this post or author."""
        return f"{kind}:{subject_id}" in self._by_subject

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

    def take_expired(self, now_ms: int) -> Iterator[OverrideKey]:
        """Keys of the overrides that ran out by now, each once; the next is all that is looked at.

        Some may have been replaced or withdrawn meanwhile.
        """
        while self._ends and self._ends[0][0] <= now_ms:
            yield heapq.heappop(self._ends)[1]

    def collect_ends(self) -> None:
        """Note anew when overrides run out, of those that are there."""
        self._ends = [
            (end_ms, active.key)
            for gates in self._by_subject.values()
            for active in gates.values()
            if (end_ms := active.override.expires_at_ms) is not None
        ]
        heapq.heapify(self._ends)


def _is_in_force(override: Override, post_offset: int, now_ms: int) -> bool:
    if override.expires_at_ms is not None and override.expires_at_ms <= now_ms:
        return False
    # `allow` holds for the version that was reviewed; a hidden post stays hidden when edited.
    approved_offset = override.post_offset if override.verdict == "allow" else None
    return approved_offset is None or approved_offset == post_offset

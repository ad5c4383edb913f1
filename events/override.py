"""A moderator's decision: beats every model at once."""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec import Struct

from feedmill.events.errors import BadEvent
from feedmill.events.limits import Offset, Short, TimeMs

OverrideVerdict = Literal["allow", "demote", "hide"]


class Override(Struct, frozen=True, gc=False, omit_defaults=True):
    """The value under the key ``<subject>|<gate>``."""

    verdict: OverrideVerdict
    by: Short
    reason: Short
    at_ms: TimeMs
    expires_at_ms: TimeMs | None = None
    post_offset: Offset | None = None


class OverrideKey(NamedTuple):
    """Whom an override is about, and which gate it decides (`*`: all of them)."""

    kind: Literal["post", "author"]
    id: str
    gate: str

    @property
    def subject(self) -> str:
        return f"{self.kind}:{self.id}"

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}|{self.gate}"


def parse_subject(subject: str) -> tuple[Literal["post", "author"], str]:
    """Split ``post:<post_id>`` or ``author:<author_id>``."""
    kind, _, name = subject.partition(":")
    if kind == "post" and name:
        return "post", name
    if kind == "author" and name:
        return "author", name
    raise BadEvent(f"Expected `post:<post_id>` or `author:<author_id>`, got {subject[:80]!r}")

"""Overrides: decisions of moderators, which go before every model."""

from __future__ import annotations

from typing import Literal, NamedTuple

from msgspec import Struct

from feedmill.events.errors import BadEvent
from feedmill.events.limits import Offset, ShortText, TimeMs

OverrideVerdict = Literal["allow", "demote", "hide"]


class Override(Struct, frozen=True, gc=False, omit_defaults=True):
    """The value of a record of `overrides`, whose key is ``<subject>|<gate>``.

    `expires_at_ms` None is for ever; `post_offset` is the one version of a post that it is about,
    None for all versions.
    """

    verdict: OverrideVerdict
    by: ShortText
    reason: ShortText
    at_ms: TimeMs
    expires_at_ms: TimeMs | None = None
    post_offset: Offset | None = None


class Withdrawal(Struct, frozen=True, gc=False, omit_defaults=True):
    """The value of a record of `overrides` that withdraws the override; so does an empty value."""

    value: None
    by: ShortText | None = None
    note: ShortText | None = None


class OverrideKey(NamedTuple):
    """Which post or author an override is about, and which gate it decides (`*` for all)."""

    kind: Literal["post", "author"]
    id: str
    gate: str

    @property
    def subject(self) -> str:
        """``post:<post_id>`` or ``author:<author_id>``."""
        return f"{self.kind}:{self.id}"

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}|{self.gate}"


def parse_subject(subject: str) -> tuple[Literal["post", "author"], str]:
    """Split ``post:<post_id>`` or ``author:<author_id>``; raises `BadEvent` for anything else."""
    kind, _, name = subject.partition(":")
    if kind == "post" and name:
        return "post", name
    if kind == "author" and name:
        return "author", name
    raise BadEvent(f"Expected `post:<post_id>` or `author:<author_id>`, got {subject[:80]!r}")
